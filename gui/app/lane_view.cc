// SPDX-License-Identifier: Apache-2.0
#include "gui/app/lane_view.h"

#include <algorithm>

namespace pagetape {

static constexpr std::size_t kGraphsShown = 3;

std::vector<LaneView> lanes_of(const TraceIndex& index, const Names& names) {
  std::vector<LaneView> out;
  const auto add = [&](LaneView lane) {
    lane.index = &index;
    lane.names = &names;
    out.push_back(std::move(lane));
  };
  const auto add_density = [&](std::string name, const Density& density, LaneTint tint) {
    add({.kind = LaneKind::kDensity, .name = std::move(name), .density = &density, .tint = tint});
  };
  if (!index.steps.empty()) add({.kind = LaneKind::kSteps, .name = "step"});
  if (index.total > 0) add({.kind = LaneKind::kFindings, .name = "findings"});
  if (!index.incidents.empty()) add({.kind = LaneKind::kIncidents, .name = "errors"});
  if (index.backends.empty() && index.launches > 0)
    add_density("launches", index.summary, LaneTint::kLaunches);
  for (const BackendLane& lane : index.backends) {
    const std::string name(names.text(lane.name));
    add_density(name + " launches", lane.launches, LaneTint::kLaunches);
    out.back().marks = &lane.findings;
    const auto band = [&](const char* what, const Track& track) {
      if (!track.empty()) add({.kind = LaneKind::kBand, .name = name + what, .track = &track});
    };
    band(" pool bound", lane.pool);
    band(" swa_state", lane.swa);
  }
  for (std::size_t g = 0; g < index.graphs.size(); ++g) {
    const GraphLane& lane = index.graphs[g];
    add_density("graph " + std::string(names.text(lane.name)), lane.launches, LaneTint::kGraph);
    out.back().extra = g >= kGraphsShown;
  }
  // One stream alone says nothing.
  for (const StreamLane& lane : index.streams) {
    if (index.streams.size() < 2) break;
    add_density("stream " + std::to_string(lane.stream) + " events", lane.events,
                LaneTint::kStream);
  }
  if (!index.ops.empty()) {
    add({.kind = LaneKind::kCount, .name = "pending operations", .track = &index.ops});
  }
  if (!index.lives.empty()) add({.kind = LaneKind::kRequests, .name = "requests"});
  return out;
}

std::vector<LaneView> lanes_of_other(const OpenTrace& other) {
  std::vector<LaneView> out = lanes_of(other.index, other.names);
  for (LaneView& lane : out) {
    // Findings as a density: the filters are of the trace that is viewed.
    if (lane.kind == LaneKind::kFindings) {
      lane.kind = LaneKind::kDensity;
      lane.density = &other.index.finding_density;
      lane.tint = LaneTint::kFindings;
    }
    lane.name = "other " + lane.name;
  }
  return out;
}

static bool holds(std::string_view text, std::string_view part) {
  const auto alike = [](char a, char b) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c; };
    return lower(a) == lower(b);
  };
  return !std::ranges::search(text, part, alike).empty();
}

std::vector<LaneView> LaneChoice::of(std::vector<LaneView> lanes) const {
  std::vector<LaneView> out;
  for (const std::string& name : pinned) {
    const auto lane = std::ranges::find(lanes, name, &LaneView::name);
    if (lane == lanes.end()) continue;
    out.push_back(std::move(*lane));
    out.back().pinned = true;
    lanes.erase(lane);
  }
  for (LaneView& lane : lanes) {
    const bool is_hidden = std::ranges::find(hidden, lane.name) != hidden.end();
    const bool is_wanted = filter.empty() ? !lane.extra : holds(lane.name, filter);
    if (!is_hidden && is_wanted) out.push_back(std::move(lane));
  }
  return out;
}

static void toggle(std::vector<std::string>& names, const std::string& name) {
  if (std::erase(names, name) == 0) names.push_back(name);
}

void LaneChoice::pin(const std::string& name) {
  std::erase(hidden, name);
  toggle(pinned, name);
}

void LaneChoice::hide(const std::string& name) {
  std::erase(pinned, name);
  toggle(hidden, name);
}

}  // namespace pagetape
