// SPDX-License-Identifier: Apache-2.0
// Commands about another trace that is compared with the one viewed.
#include <algorithm>
#include <filesystem>

#include "gui/app/links.h"
#include "gui/app/viewer.h"
#include "verify/report.h"

namespace pagetape {

bool Viewer::compare_with(const std::string& path) {
  compare_run_ = run_compare(trace_->path, path);
  compared_ = {.doing = "comparing", .at = 0, .comparison = nullptr};
  compared_path_ = path;
  differing_ = Track();
  pane_ = LowPane::kCompare;
  tick(0);
  return true;
}

void Viewer::take_compared() {
  if (compare_run_ == nullptr || compared_.comparison != nullptr) return;
  compared_ = compare_run_->told();
  if (compared_.comparison != nullptr) mark_differing();
}

// Its steps are known as far as the trace was read.
void Viewer::mark_differing() {
  const bool any = compared_.comparison != nullptr && !compared_.comparison->differing.empty();
  differing_ = any ? differing_steps(compared_.comparison->differing, index()) : Track();
}

bool Viewer::go_difference(bool forward) {
  const Comparison* comparison = compared_.comparison.get();
  if (comparison == nullptr) return fail("no other trace was compared (--compare)");
  const std::vector<EventIndex>& at = comparison->differing;
  if (at.empty()) return fail("the traces do not differ");
  const auto it =
      forward ? std::ranges::upper_bound(at, selected_) : std::ranges::lower_bound(at, selected_);
  if (forward && it == at.end()) return fail("there is no difference behind this event");
  if (!forward && it == at.begin()) return fail("there is no difference before this event");
  return go(std::min(forward ? *it : *std::prev(it), index().events - 1));
}

std::vector<LaneView> Viewer::lanes() const {
  std::vector<LaneView> all = lanes_of(index(), trace_->names);
  const Comparison* comparison = compared_.comparison.get();
  if (comparison != nullptr && comparison->other != nullptr) {
    // Above the requests, which take the room that is left.
    const bool requests = !all.empty() && all.back().kind == LaneKind::kRequests;
    const std::vector<LaneView> others = lanes_of_other(*comparison->other);
    all.insert(all.end() - (requests ? 1 : 0), others.begin(), others.end());
  }
  return lane_choice_.of(std::move(all));
}

static Line side_of(const char* name, const std::optional<DiffSide>& side, EventIndex link,
                    const Names& names) {
  Line line{{std::string(name) + "  ", Tone::kStrong}};
  if (!side) {
    line.push_back({"nothing there", Tone::kDim});
    return line;
  }
  line.push_back({"event " + grouped(side->event), Tone::kPlain, to_event(link)});
  if (side->step >= 0) line.push_back({", step " + std::to_string(side->step), Tone::kDim});
  line.push_back({": "});
  std::ranges::move(linked(side->text, names), std::back_inserter(line));
  return line;
}

Block Viewer::compared_block() const {
  const std::string other = std::filesystem::path(compared_path_).filename().string();
  Block out{.title = "Compared with " + other, .note = "", .tone = {}, .lines = {}};
  if (compared_.comparison == nullptr) {
    out.note = compared_.doing + ", event " + grouped(compared_.at) + " (x stops)";
    return out;
  }
  const DiffReport& report = compared_.comparison->report;
  if (!report.status.ok()) {
    out.tone = Tone::kBad;
    out.lines.push_back({{report.status.message(), Tone::kBad}});
    return out;
  }
  out.note = "aligned at " + grouped(compared_.comparison->alignment.pairs()) + " events";
  if (report.total == 0) {
    out.lines.push_back({{"The same: ", Tone::kGood},
                         {grouped(report.compared) + " steps of requests say the same."}});
    return out;
  }
  out.tone = Tone::kBad;
  out.lines.push_back({{grouped(report.total) + " of " + grouped(report.compared), Tone::kBad},
                       {" steps of requests differ."}});
  const std::string whose = report.request.empty()
                                ? "of the engine itself"
                                : "step " + grouped(report.turn) + " of request " + report.request;
  out.lines.push_back(
      {{"The first, in " + std::string(kAspectInfos[static_cast<std::size_t>(report.aspect)].text) +
        ", " + whose + ':'}});
  const EventIndex here = report.in_good ? report.in_good->event : kNever;
  const EventIndex there =
      report.in_bad ? compared_.comparison->alignment.first_of(report.in_bad->event) : kNever;
  out.lines.push_back(side_of("here", report.in_good, here, trace_->names));
  out.lines.push_back(side_of("there", report.in_bad, there, trace_->names));
  out.lines.push_back({{"By what differs:", Tone::kDim}});
  for (std::size_t a = 0; a < kAspects; ++a) {
    if (report.counts[a] == 0) continue;
    out.lines.push_back(
        {{grouped(report.counts[a]) + "  ", Tone::kStrong}, {kAspectInfos[a].text}});
  }
  return out;
}

}  // namespace pagetape
