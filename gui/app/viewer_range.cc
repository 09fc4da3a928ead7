// SPDX-License-Identifier: Apache-2.0
// Commands about what part is meant: ranges that are measured, lanes, and text to take along.
#include <algorithm>

#include "gui/app/numbers.h"
#include "gui/app/viewer.h"
#include "verify/report.h"

namespace pagetape {

bool Viewer::measure(std::string_view name, const Words& words) {
  EventRange range;
  if (name == "measure") {
    const bool measures = this->range().has_value();
    range_.reset();
    measured_from_ = measures ? kNever : selected_;
  } else if (words.empty()) {
    range_.reset();
    measured_from_ = kNever;
  } else if (words.size() == 2 && number_in(words[0], range.begin) &&
             number_in(words[1], range.end)) {
    const auto [begin, end] = std::minmax(range.begin, range.end);
    range_ = EventRange{begin, std::min(end, index().events)};
    measured_from_ = kNever;
  } else {
    return fail("it is: range BEGIN END");
  }
  return true;
}

std::optional<EventRange> Viewer::range() const {
  if (range_ || measured_from_ == kNever) return range_;
  return EventRange{std::min(measured_from_, selected_), std::max(measured_from_, selected_)};
}

std::string Viewer::measured() const {
  const std::optional<EventRange> range = this->range();
  if (!range) return "";
  std::string out = grouped(range->end - range->begin) + " events";
  // Those that begin in it.
  const auto first = std::ranges::lower_bound(index().steps, range->begin, {}, &StepStart::event);
  const auto end = std::ranges::lower_bound(index().steps, range->end, {}, &StepStart::event);
  if (first < end) {
    out += ", " + grouped(static_cast<std::uint64_t>(end - first)) + " steps";
    const StepStart& last = *std::prev(end);
    if (first->t && last.t && end - first > 1) {
      char text[48];
      const double ms = static_cast<double>(*last.t - *first->t) / 1e6;
      std::snprintf(text, sizeof text, ", %.3f ms between their steps", ms);
      out += text;
    }
  }
  std::uint64_t findings = 0;
  for (std::size_t i = index().first_finding_from(range->begin);
       i < index().findings.size() && index().findings[i].event < range->end; ++i) {
    if (shows(index().findings[i])) findings += index().findings[i].count;
  }
  return out + ", " + grouped(findings) + " findings";
}

std::string Viewer::time_of(EventIndex event) const {
  const StepStart* step = index().step_at(event);
  if (step == nullptr || !step->t || !index().steps.front().t) return "";
  const double ms = static_cast<double>(*step->t - *index().steps.front().t) / 1e6;
  char text[48];
  ms < 1'000 ? std::snprintf(text, sizeof text, "%.1f ms", ms)
             : std::snprintf(text, sizeof text, "%.2f s", ms / 1e3);
  return text;
}

bool Viewer::choose_lanes(std::string_view name, const Words& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  if (name == "lanes") {
    lane_choice_.filter = text;
    return true;
  }
  if (name == "all-lanes") {
    lane_choice_ = LaneChoice();
    return true;
  }
  if (name != "pin-lane" && name != "hide-lane") {
    return fail("there is no command \"" + std::string(name) + '"');
  }
  const std::vector<LaneView> all = lanes_of(index(), trace_->names);
  if (std::ranges::find(all, text, &LaneView::name) == all.end()) {
    return fail("there is no lane \"" + text + '"');
  }
  name == "pin-lane" ? lane_choice_.pin(text) : lane_choice_.hide(text);
  return true;
}

// A cell in one line.
static std::string cell_text(const TableGrid& table, const RowView& row, std::size_t column) {
  const CellView& cell = row.cells[column];
  std::string out = table.title + ", " + row.label + ", column " + std::to_string(column) + ": ";
  if (cell.kind == CellKind::kNeverWritten) return out + "never written";
  out += "id " + std::to_string(cell.id) + ", " + std::string(words_of(cell.kind));
  if (cell.outside) out += ", outside the " + std::to_string(table.bound) + " ids of " + table.pool;
  if (cell.owner != 0) out += ", owned by " + table.owners[cell.owner - 1];
  if (cell.right) out += ", right would be " + std::to_string(*cell.right);
  if (cell.rule != kRuleCount) out += ", breaks " + std::string(kRules[cell.rule].name);
  return out;
}

bool Viewer::copy(const Words& words) {
  if (words.size() == 2) {
    std::size_t row = 0, column = 0;
    if (!number_in(words[0], row) || !number_in(words[1], column)) {
      return fail("it is: copy ROW COLUMN");
    }
    const auto& table = moment_.table;
    if (!table || row >= table->rows.size() || column >= table->rows[row].cells.size()) {
      return fail("there is no such cell");
    }
    copied_ = "event " + std::to_string(moment_.at) + ": " +
              cell_text(*table, table->rows[row], column) + '\n';
    message_ = "copied the cell";
    return true;
  }
  copied_ =
      "event " + std::to_string(moment_.at) + ": " + moment_.sentence + '\n' + moment_.json + '\n';
  for (const FindingHere& finding : moment_.findings) {
    copied_ += finding.place + ": " + finding.message + '\n';
  }
  for (const Line& line : explained_.lines) copied_ += text_of(line) + '\n';
  message_ = "copied what is said of event " + std::to_string(moment_.at);
  return true;
}

}  // namespace pagetape
