// SPDX-License-Identifier: Apache-2.0
// What stands in words beside the pictures: the state, the findings and why.
#include <algorithm>
#include <bitset>
#include <filesystem>
#include <utility>

#include "gui/app/links.h"
#include "gui/panes.h"
#include "verify/report.h"

namespace pagetape {

void draw_status(Ink& ink, const Viewer& viewer, Rect rect) {
  const TraceIndex& index = viewer.index();
  const Moment& moment = viewer.moment();
  std::string where = std::filesystem::path(viewer.trace().path).filename().string() + "  ·  " +
                      counted(index.events, "event") + ", " + grouped(index.launches) +
                      " launches, " +
                      (index.total == 0 ? "no findings" : counted(index.total, "finding"));
  if (!index.whole()) {
    where += "  ·  reading: " + std::to_string(index.read_to * 100 / index.events) + "%";
  }
  if (viewer.playing()) where += "  ·  playing (Space stops)";
  if (ink.begin("pagetape", where, rect.at, rect.size)) {
    Line line{{"event " + grouped(moment.at), Tone::kStrong}};
    const std::string seeking = viewer.seeking_text();
    if (!seeking.empty()) line.insert(line.begin(), {seeking + "   ", Tone::kBad});
    if (moment.step >= 0) line.push_back({"   step " + std::to_string(moment.step)});
    if (moment.t) {
      char t[32];
      std::snprintf(t, sizeof t, "   %.3f ms", static_cast<double>(*moment.t) / 1e6);
      line.push_back({t, Tone::kDim});
    }
    line.push_back({"   " + moment.kind + "   ", Tone::kDim});
    line.push_back({moment.is_event ? moment.sentence : "the end of the trace"});
    if (!moment.source.empty()) line.push_back({"   " + moment.source, Tone::kDim});
    if (!viewer.message().empty()) line.push_back({"   " + viewer.message(), Tone::kBad});
    ink.note(text_of(line));
    const std::string text = text_of(line);
    float x = ImGui::GetCursorScreenPos().x;
    const float y = ImGui::GetCursorScreenPos().y, right = rect.at.x + rect.size.x - ink.px(300);
    for (const Phrase& phrase : line) {
      const float wide = ImGui::CalcTextSize(phrase.text.c_str()).x;
      ink.put({x, y}, std::max(right - x, 0.0F), phrase.text, ink.tone(phrase.tone));
      x += wide;
      if (x > right) break;
    }
    const char* keys = "n next finding   b blame   / find   ? keys";
    const float wide = ImGui::CalcTextSize(keys).x;
    ink.put({rect.at.x + rect.size.x - wide - ink.px(12), y}, wide + 1, keys, ink.theme.dim);
  }
  ink.end();
}

void draw_state(Ink& ink, const Viewer& viewer, Rect rect, Arrangement& arrangement) {
  const std::string seeking = viewer.seeking_text();
  const std::string note = "before event " + grouped(viewer.moment().at) + "; flags against facts";
  if (ink.begin("State", seeking.empty() ? note : seeking, rect.at, rect.size)) {
    for (const Block& block : viewer.moment().state) ink.write(block);
    if (viewer.moment().state.empty()) ink.write("Nothing is declared yet.", Tone::kDim);
    const float head = ImGui::GetWindowPos().y - rect.at.y;
    arrangement.state_needs =
        std::max(arrangement.state_needs, head + ImGui::GetCursorPosY() + ink.px(8));
  }
  ink.end();
}

namespace {

// What hides findings besides rules; a click takes it away.
void draw_only(Ink& ink, const Viewer& viewer) {
  const auto chip = [&](const char* what, const std::string& name) {
    if (name.empty()) return;
    const std::string text = std::string("only ") + what + ' ' + name + "  ×";
    if (ImGui::SmallButton(text.c_str())) ink.run("only " + std::string(what) + ' ' + name);
    ink.note(text);
  };
  chip("layer", viewer.only_layer());
  chip("request", viewer.only_request());
}

void draw_filters(Ink& ink, const Viewer& viewer) {
  float x = 0;
  for (const RuleInfo& rule : kRules) {
    const auto r = static_cast<std::size_t>(rule.rule);
    if (viewer.index().counts[r] == 0) continue;
    const std::string text = std::string(rule.name) + "  " + grouped(viewer.index().counts[r]);
    const float wide = ImGui::CalcTextSize(text.c_str()).x + ink.px(22);
    if (x > 0 && x + wide < ImGui::GetContentRegionAvail().x) {
      ImGui::SameLine(x, 0);
    } else {
      x = 0;
    }
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const bool on = viewer.rules()[r];
    if (ImGui::InvisibleButton(text.c_str(), {wide - ink.px(6), ink.line_height() + ink.px(2)})) {
      ink.run("rule " + std::string(rule.name));
    }
    const ImVec2 end{at.x + wide - ink.px(6), at.y + ink.line_height() + ink.px(2)};
    ImDrawList* draw = ImGui::GetWindowDrawList();
    draw->AddRectFilled(at, end, ImGui::IsItemHovered() ? ink.theme.line : ink.theme.grid,
                        ink.px(3));
    if (on) draw->AddRectFilled(at, {at.x + ink.px(4), end.y}, ink.rule(rule.rule));
    ink.put({at.x + ink.px(9), at.y + ink.px(1)}, wide, text, on ? ink.theme.text : ink.theme.dim);
    ink.note(text + (on ? "" : " (hidden)"));
    x += wide;
  }
}

void draw_list(Ink& ink, const Viewer& viewer) {
  const std::size_t from = viewer.finding_number();
  const std::size_t begin = from < 2 ? 0 : from - 2;
  const float number = ink.px(70);
  for (std::size_t i = begin; i < std::min(begin + 5, viewer.findings_shown()); ++i) {
    const FindingItem item = viewer.finding(i);
    const FindingGroup& group = viewer.index().findings[item.group];
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float wide = ImGui::GetContentRegionAvail().x;
    ImGui::PushID(static_cast<int>(i));
    if (ImGui::InvisibleButton("finding", {wide, ink.line_height()})) {
      ink.run("goto " + std::to_string(group.event));
    }
    ImGui::PopID();
    const ImVec2 end{at.x + wide, at.y + ink.line_height()};
    ImDrawList* draw = ImGui::GetWindowDrawList();
    if (item.here || ImGui::IsItemHovered()) draw->AddRectFilled(at, end, ink.theme.grid);
    draw->AddRectFilled(at, {at.x + ink.px(3), end.y}, ink.rule(group.rule));
    ink.put({at.x + ink.px(9), at.y}, number, grouped(group.event),
            item.here ? ink.theme.selection : ink.theme.link, ink.mono);
    const std::string text =
        std::string(info(group.rule).name) + "   " + counted(group.count, "place");
    ink.put({at.x + number + ink.px(12), at.y}, wide - number, text, ink.theme.text);
    ink.note(grouped(group.event) + ' ' + text + (item.here ? " (here)" : ""));
  }
}

}  // namespace

// A new one is brought into view, from its title on.
static void draw_explanation(Ink& ink, const Block& block, Arrangement& arrangement) {
  const float begin = ImGui::GetCursorPosY();
  ink.write(block);
  const std::string now = block.title + block.note;
  if (now != std::exchange(arrangement.explained, now)) arrangement.frames_to_bring = 2;
  if (arrangement.frames_to_bring == 0) return;
  --arrangement.frames_to_bring;
  const float end = ImGui::GetCursorPosY() - ImGui::GetWindowHeight();
  ImGui::SetScrollY(std::max(0.0F, std::min(begin, end)));
}

void draw_findings(Ink& ink, const Viewer& viewer, Rect rect, Arrangement& arrangement) {
  const TraceIndex& index = viewer.index();
  const std::string note = index.total == 0 && !index.whole() ? "none so far"
                           : index.total == 0 ? "none: no rule that could be judged is broken"
                                              : "at " + counted(viewer.events_shown(), "event");
  const std::string seeking = viewer.seeking_text();
  if (ink.begin("Findings", seeking.empty() ? note : seeking, rect.at, rect.size)) {
    if (!index.status.ok()) ink.write(index.status.message(), Tone::kBad);
    for (const std::string& warning : index.warnings) ink.write(warning, Tone::kDim);
    draw_filters(ink, viewer);
    draw_only(ink, viewer);
    draw_list(ink, viewer);
    ImGui::Dummy({1, ink.px(4)});
    ImGui::Separator();
    const std::vector<FindingHere>& here = viewer.moment().findings;
    std::bitset<kRuleCount> said;  // A launch may break a rule in many places.
    for (std::size_t i = 0; i < here.size(); ++i) {
      if (said[static_cast<std::size_t>(here[i].rule)]) continue;
      said.set(static_cast<std::size_t>(here[i].rule));
      const Names& names = viewer.trace().names;
      Line line = linked(here[i].place + ": ", names, Tone::kBad);
      std::ranges::move(linked(here[i].message, names), std::back_inserter(line));
      ink.write(line);
    }
    ImGui::Dummy({1, ink.px(4)});
    if (viewer.explained().lines.empty() && index.total > 0) {
      ink.write(here.empty() ? "Press n for the next finding." : "Press b: who brought this about?",
                Tone::kDim);
    } else if (!viewer.explained().lines.empty()) {
      draw_explanation(ink, viewer.explained(), arrangement);
    }
    if (!viewer.not_checked().lines.empty()) ink.write(viewer.not_checked());
  }
  ink.end();
}

// Where links are not concerned.
static constexpr const char* kMouse =
    "Mouse: the wheel zooms, a drag moves, Shift and drag measures, a click goes there, in maps "
    "and "
    "tables it blames; right click copies a cell";

void draw_help(Ink& ink, const Viewer& viewer) {
  if (!viewer.helping()) return;
  const ImVec2 size = ImGui::GetIO().DisplaySize;
  const std::span<const Command> commands = viewer_commands();
  // Two columns where there is room, so that all can be seen at once.
  const std::size_t columns = size.x >= ink.px(1200) ? 2 : 1;
  const std::size_t rows = (commands.size() + columns - 1) / columns;
  float names = 0, helps = 0;
  const auto name_of = [](const Command& command) {
    return std::string(command.name) + ' ' + std::string(command.arguments);
  };
  for (const Command& command : commands) {
    names = std::max(names, ImGui::CalcTextSize(name_of(command).c_str()).x);
    helps = std::max(helps, ImGui::CalcTextSize(command.help.data()).x);
  }
  // What is said of a command is worth more than its arguments.
  const float keys = ink.px(84), gap = ink.px(16);
  const float wide =
      std::min(keys + names + helps + 2 * gap, (size.x - 2 * gap) / static_cast<float>(columns));
  names = std::max(std::min(names, wide - keys - helps - 2 * gap), ink.px(150));
  const ImVec2 box{
      wide * static_cast<float>(columns) + 2 * gap,
      std::min(ink.px(48) + ink.line_height() * (static_cast<float>(rows) + 1), size.y)};
  const ImVec2 at{(size.x - box.x) / 2, std::max(0.0F, (size.y - box.y) / 2)};
  if (ink.begin("Keys", "? closes this; the palette (/) has every command", at, box, true)) {
    const ImVec2 origin = ImGui::GetCursorScreenPos();
    for (std::size_t i = 0; i < commands.size(); ++i) {
      const Command& command = commands[i];
      const ImVec2 place{origin.x + wide * static_cast<float>(i / rows),
                         origin.y + ink.line_height() * static_cast<float>(i % rows)};
      const std::string name = name_of(command);
      ink.put(place, keys, command.key, ink.theme.selection, ink.mono);
      ink.put({place.x + keys, place.y}, names + 1, name, ink.theme.strong);
      ink.put({place.x + keys + names + gap, place.y}, wide - keys - names - 2 * gap + 1,
              command.help, ink.theme.text);
      ink.note(std::string(command.key) + ' ' + name + ": " + std::string(command.help));
    }
    const float below = ink.line_height() * static_cast<float>(rows);
    ink.put({origin.x, origin.y + below}, box.x - 2 * gap, kMouse, ink.theme.dim);
    ink.note(kMouse);
    ImGui::Dummy({1, below + ink.line_height()});
  }
  ink.end();
}

void draw_palette(Ink& ink, const Viewer& viewer, Arrangement& arrangement) {
  const bool opens = viewer.palette_open() && !arrangement.was_palette;
  arrangement.was_palette = viewer.palette_open();
  if (!viewer.palette_open()) return;
  if (opens) arrangement.typed[0] = '\0';
  const ImVec2 size = ImGui::GetIO().DisplaySize;
  const ImVec2 box{std::min(ink.px(640), size.x), ink.px(64) + ink.line_height() * 14};
  if (ink.begin("Find", "", {(size.x - box.x) / 2, size.y * 0.15F}, box, true)) {
    if (opens) ImGui::SetKeyboardFocusHere();
    ImGui::SetNextItemWidth(-1);
    const bool entered = ImGui::InputTextWithHint(
        "##typed", "an event's number, POOL:PAGE, a request, pool, backend, rule, layer or command",
        arrangement.typed, sizeof arrangement.typed, ImGuiInputTextFlags_EnterReturnsTrue);
    // A trace may have a hundred thousand requests: they are gone over once a letter.
    const std::string asked = arrangement.typed + ('\n' + std::to_string(viewer.generation()));
    if (opens || asked != arrangement.asked) {
      arrangement.asked = asked;
      arrangement.found = viewer.palette(arrangement.typed, 12);
    }
    const std::vector<PaletteItem>& items = arrangement.found;
    const int last = static_cast<int>(items.size()) - 1;
    if (ImGui::IsKeyPressed(ImGui::GetKeyIndex(ImGuiKey_DownArrow))) ++arrangement.chosen;
    if (ImGui::IsKeyPressed(ImGui::GetKeyIndex(ImGuiKey_UpArrow))) --arrangement.chosen;
    if (ImGui::IsItemEdited() || opens) arrangement.chosen = 0;
    arrangement.chosen = std::clamp(arrangement.chosen, 0, std::max(last, 0));
    for (int i = 0; i <= last; ++i) {
      const PaletteItem& item = items[static_cast<std::size_t>(i)];
      ink.note(item.text);
      const bool clicked = ImGui::Selectable(item.text.c_str(), i == arrangement.chosen);
      if (clicked || (entered && i == arrangement.chosen)) {
        ink.run("palette");
        ink.run(item.command);
      }
    }
    if (ImGui::IsKeyPressed(ImGui::GetKeyIndex(ImGuiKey_Escape))) ink.run("palette");
  }
  ink.end();
}

}  // namespace pagetape
