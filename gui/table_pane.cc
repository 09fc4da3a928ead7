// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>

#include "gui/panes.h"
#include "verify/report.h"

namespace pagetape {
namespace {

// How a cell looks: told by shade and sign besides colour.
void draw_cell(Ink& ink, const CellView& cell, ImU32 owner, ImVec2 a, ImVec2 b) {
  ImDrawList* draw = ImGui::GetWindowDrawList();
  const bool live = cell.kind == CellKind::kLive;
  const bool broken = cell.rule != kRuleCount;
  ImU32 fill = ink.theme.empty;
  if (live && cell.owner != 0) fill = over((owner & ~IM_COL32_A_MASK) | 0x90000000U, fill);
  draw->AddRectFilled(a, b, fill);
  if (cell.outside && live) draw->AddRectFilled(a, b, ink.theme.bad);
  if (broken) {
    draw->AddTriangleFilled({b.x - ink.px(9), a.y}, {b.x, a.y}, {b.x, a.y + ink.px(9)},
                            ink.rule(static_cast<Rule>(cell.rule)));
    draw->AddRect(a, b, ink.theme.bad, 0, 0, ink.px(2));
  }
  if (cell.kind == CellKind::kLeftWindow) draw->AddLine({a.x, b.y}, {b.x, a.y}, ink.theme.line);
  std::string text = cell.kind == CellKind::kNeverWritten ? "·" : std::to_string(cell.id);
  ImU32 colour = live ? ink.theme.strong : ink.theme.dim;
  if (cell.outside && live) colour = IM_COL32(0, 0, 0, 255);
  ink.put({a.x + ink.px(5), a.y + ink.px(2)}, b.x - a.x - ink.px(6), text, colour, ink.mono);
  if (live && cell.right && *cell.right != cell.id) {
    ink.put({a.x + ink.px(5), a.y + ink.line_height()}, b.x - a.x - ink.px(6),
            "→ " + std::to_string(*cell.right), cell.outside ? colour : ink.theme.text, ink.mono);
  }
}

void tell_cell(Ink& ink, const Viewer& viewer, const RowView& row, std::size_t r, std::size_t c) {
  const CellView& cell = row.cells[c];
  std::string text = row.label + ", column " + std::to_string(c) + ": id " +
                     std::to_string(cell.id) + ", " + std::string(words_of(cell.kind));
  if (cell.outside) text += "\noutside the pool bound";
  if (cell.owner != 0) text += "\nits owner: " + viewer.moment().table->owners[cell.owner - 1];
  if (cell.right) text += "\nright would be " + std::to_string(*cell.right);
  if (cell.rule != kRuleCount) text += "\nbreaks " + std::string(kRules[cell.rule].name);
  ImGui::SetTooltip("%s\nclick: blame, right click: copy", text.c_str());
  const std::string cell_place = std::to_string(r) + ' ' + std::to_string(c);
  if (ImGui::IsMouseClicked(0)) ink.run("blame " + cell_place);
  if (ImGui::IsMouseClicked(1)) ink.run("copy " + cell_place);
}

std::string text_of(const CellView& cell) {
  if (cell.kind == CellKind::kNeverWritten) return "·";
  std::string out = std::to_string(cell.id);
  if (cell.kind != CellKind::kLive) return '(' + out + ')';
  if (cell.right && *cell.right != cell.id) out += "→" + std::to_string(*cell.right);
  return cell.rule == kRuleCount ? out : out + '!' + std::string(kRules[cell.rule].name);
}

// Row and column; 0, 0 where nothing is wrong.
std::pair<std::size_t, std::size_t> first_wrong(const TableGrid& table) {
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    for (std::size_t c = 0; c < table.rows[r].cells.size(); ++c) {
      if (table.rows[r].cells[c].rule != kRuleCount) return {r, c};
    }
  }
  return {0, 0};
}

// The row of a column that is worth a question: the first that is wrong, else the first that is
// live. Nothing where none is.
std::optional<std::size_t> row_to_blame(const TableGrid& table, std::size_t column) {
  std::optional<std::size_t> live;
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    const std::vector<CellView>& cells = table.rows[r].cells;
    if (column >= cells.size() || cells[column].kind != CellKind::kLive) continue;
    if (cells[column].rule != kRuleCount) return r;
    if (!live) live = r;
  }
  return live;
}

void draw_head(Ink& ink, const TableGrid& table, std::size_t column, ImVec2 at, float width) {
  ink.put({at.x + ink.px(5), at.y}, width, std::to_string(column), ink.theme.dim, ink.mono);
  const ImVec2 end{at.x + width, at.y + ink.line_height()};
  if (!ImGui::IsWindowHovered() || !ImGui::IsMouseHoveringRect(at, end)) return;
  const auto row = row_to_blame(table, column);
  if (!row) return;
  ImGui::SetTooltip("column %zu: click to blame its entry of row %zu", column, *row);
  if (ImGui::IsMouseClicked(0)) {
    ink.run("blame " + std::to_string(*row) + ' ' + std::to_string(column));
  }
}

// `find`: brings the first wrong entry into view.
void draw_rows(Ink& ink, const Viewer& viewer, const TableGrid& table, bool find) {
  const float digits = static_cast<float>(std::to_string(table.widest).size()) + 1;
  const float cell_width = ink.mono->FallbackAdvanceX * digits + ink.px(12);
  const float height = ink.line_height() * (table.any_other_right ? 2.0F : 1.0F) + ink.px(2);
  const float label = ink.px(112);
  const ImVec2 origin = ImGui::GetCursorScreenPos();
  const float head = ink.line_height();
  ImGui::Dummy({label + cell_width * static_cast<float>(table.columns),
                head + height * static_cast<float>(table.rows.size())});
  if (find) {
    const auto [r, c] = first_wrong(table);
    ImGui::SetScrollX(std::max(0.0F, cell_width * (static_cast<float>(c) - 3)));
    ImGui::SetScrollY(std::max(0.0F, height * (static_cast<float>(r) - 1)));
  }
  const ImVec2 low = ImGui::GetWindowPos();
  const ImVec2 high{low.x + ImGui::GetWindowWidth(), low.y + ImGui::GetWindowHeight()};
  const bool inside = ImGui::IsWindowHovered();
  std::vector<ImU32> owners{0};
  for (const std::string& owner : table.owners) {
    owners.push_back(ink.owner(viewer.trace().names.find(owner)));
  }
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    const RowView& row = table.rows[r];
    const float y = origin.y + head + height * static_cast<float>(r);
    std::string words =
        row.label + (row.len >= 0 ? ", " + std::to_string(row.len) + " tokens:" : ":");
    for (std::size_t c = 0; c < std::min<std::size_t>(row.cells.size(), 64); ++c) {
      words += ' ' + text_of(row.cells[c]);
    }
    ink.note(words);
    if (y + height < low.y || y > high.y) continue;
    const std::string len = row.len >= 0 ? "  " + grouped(static_cast<std::uint64_t>(row.len)) : "";
    // Names stay while columns scroll.
    ink.put({low.x, y + ink.px(2)}, label - ink.px(6), row.label + len, ink.theme.text);
    if (inside && ImGui::IsMouseHoveringRect({low.x, y}, {low.x + label, y + height}) &&
        row.label != "padding") {
      ImGui::SetTooltip("request %s: click for where it began", row.label.c_str());
      if (ImGui::IsMouseClicked(0)) ink.run("request " + row.label);
    }
    for (std::size_t c = 0; c < row.cells.size(); ++c) {
      const ImVec2 a{origin.x + label + cell_width * static_cast<float>(c), y};
      const ImVec2 b{a.x + cell_width - 2, a.y + height - 2};
      if (a.x < low.x + label || a.x > high.x) continue;
      draw_cell(ink, row.cells[c], owners[row.cells[c].owner], a, b);
      if (inside && ImGui::IsMouseHoveringRect(a, b)) tell_cell(ink, viewer, row, r, c);
    }
  }
  // Numbers stay while rows scroll.
  const float top = std::max(origin.y, low.y);
  if (top > origin.y) {
    ImGui::GetWindowDrawList()->AddRectFilled({low.x, top}, {high.x, top + head}, ink.theme.panel);
  }
  for (std::size_t c = 0; c < table.columns; ++c) {
    const float x = origin.x + label + cell_width * static_cast<float>(c);
    if (x < high.x && x >= low.x + label) {
      draw_head(ink, table, c, {x, top}, cell_width);
    }
  }
}

}  // namespace

void draw_table(Ink& ink, const Viewer& viewer, Rect rect, Arrangement& arrangement) {
  const Moment& moment = viewer.moment();
  std::string note = "no attention is launched at event " + grouped(moment.at);
  if (moment.table) {
    note = moment.table->title + "  ·  launch " + std::to_string(moment.launch + 1) + " of " +
           std::to_string(moment.launches.size());
  }
  if (const std::string seeking = viewer.seeking_text(); !seeking.empty()) note = seeking;
  if (ink.begin("Table", note, rect.at, rect.size)) {
    if (!moment.table) {
      ink.write(viewer.index().total == 0
                    ? "The page table of a launch is shown here."
                    : "The page table of a launch is shown here. Press n for the next finding.",
                Tone::kDim);
    } else {
      const TableGrid& table = *moment.table;
      Line line{{grouped(static_cast<std::uint64_t>(table.bound)) + " ids are valid in pool " +
                 table.pool}};
      if (table.window > 0)
        line.push_back(
            {",  window of " + grouped(static_cast<std::uint64_t>(table.window)) + " tokens"});
      if (table.broken > 0) {
        line.push_back({table.broken == 1 ? ",  1 entry wrong"
                                          : ",  " + grouped(table.broken) + " entries wrong",
                        Tone::kBad});
        if (table.lucky > 0) {
          const char* all = table.broken == 1 ? "" : "all ";
          line.push_back({", " +
                          (table.lucky < table.broken ? grouped(table.lucky) + " of them " : all) +
                          "the right page by accident"});
        }
      }
      line.push_back(
          {"   (id → what should stand there; colour: owner; corner: rule broken; struck out: not "
           "read)",
           Tone::kDim});
      ink.write(line);
      if (ImGui::BeginChild("cells", {0, 0}, false, ImGuiWindowFlags_HorizontalScrollbar)) {
        const bool is_new =
            arrangement.table_event != moment.at || arrangement.table_launch != moment.launch;
        arrangement.table_event = moment.at;
        arrangement.table_launch = moment.launch;
        draw_rows(ink, viewer, table, is_new);
      }
      ImGui::EndChild();
    }
  }
  ink.end();
}

}  // namespace pagetape
