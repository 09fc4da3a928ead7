// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "gui/panes.h"
#include "verify/report.h"

namespace pagetape {
namespace {

// Where each column ends; the first begins at the left, numbers are aligned to the right.
constexpr float kEnds[] = {190, 290, 400, 490, 570, 690, 760, 830};

void draw_words(Ink& ink, ImVec2 at, const WhatIfRow& words, Tone first, Tone others) {
  const bool applies = !words[2].empty();
  ink.put(at, ink.px(kEnds[0]), words[0], ink.tone(first), ink.mono);
  if (!applies) {
    ink.put({at.x + ink.px(kEnds[0] + 10), at.y}, ink.px(500), words[1], ink.theme.dim);
    return;
  }
  for (std::size_t c = 1; c < words.size(); ++c) {
    const float wide = ImGui::CalcTextSize(words[c].c_str()).x;
    ink.put({at.x + ink.px(kEnds[c]) - wide, at.y}, wide + 1, words[c], ink.tone(others));
  }
}

void draw_line(Ink& ink, const VariantLine& line) {
  const ImVec2 at = ImGui::GetCursorScreenPos();
  const float wide = ImGui::GetContentRegionAvail().x;
  const std::string id = "##" + line.words[0];
  if (ImGui::InvisibleButton(id.c_str(), {wide, ink.line_height()}) && line.first) {
    ink.run("goto " + std::to_string(*line.first));
  }
  const ImVec2 end{at.x + wide, at.y + ink.line_height()};
  ImDrawList* draw = ImGui::GetWindowDrawList();
  if (ImGui::IsItemHovered()) draw->AddRectFilled(at, end, ink.theme.grid);
  const Tone tone = line.clean ? Tone::kGood : line.first ? Tone::kBad : Tone::kDim;
  draw->AddRectFilled(at, {at.x + ink.px(3), end.y}, ink.tone(tone));
  draw_words(ink, {at.x + ink.px(9), at.y}, line.words, tone, Tone::kPlain);
  std::string first = line.first ? "from event " + grouped(*line.first) : "";
  if (line.clean) first = "reads the right pages";
  const float x = at.x + ink.px(kEnds[7] + 30);
  ink.put({x, at.y}, at.x + wide - x, first, line.clean ? ink.theme.good : ink.theme.link);
  std::string words;
  for (const std::string& word : line.words) words += (words.empty() ? "" : "  ") + word;
  ink.note(words + "  " + first);
}

}  // namespace

void draw_compare(Ink& ink, const Viewer& viewer, Rect rect) {
  if (ink.begin("Compare",
                "the lanes \"other …\" are the other trace's; steps that differ are shaded: . goes "
                "to the next, , to the one before (C closes)",
                rect.at, rect.size)) {
    ink.write(viewer.compared_block());
  }
  ink.end();
}

void draw_what_if(Ink& ink, const Viewer& viewer, Rect rect) {
  const WhatIfTold& told = viewer.what_if();
  std::string note = "the same run, had the engine been patched (w closes)";
  if (!told.doing.empty()) {
    note = told.doing + ", event " + grouped(told.done) + " (x stops)";
  } else if (!told.failed.empty()) {
    note = told.failed;
  }
  if (ink.begin("What if", note, rect.at, rect.size)) {
    const ImVec2 at = ImGui::GetCursorScreenPos();
    draw_words(ink, {at.x + ink.px(9), at.y}, what_if_head(), Tone::kDim, Tone::kDim);
    ImGui::Dummy({1, ImGui::GetTextLineHeight()});
    for (const VariantLine& line : told.lines) draw_line(ink, line);
    ImGui::Dummy({1, ink.px(4)});
    ink.write(
        "Reads: live table entries, once a layer. Queries: the share of the draft's that read a "
        "page outside the pool or a wrong one. Error: of their outputs, relative to those of the "
        "right pages (CPU); -: not executed yet.",
        Tone::kDim);
  }
  ink.end();
}

}  // namespace pagetape
