// SPDX-License-Identifier: Apache-2.0
// The timeline's lanes: which there are, and which of them are wanted.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gui/app/trace_index.h"

namespace pagetape {

enum class LaneKind : std::uint8_t {
  kSteps,
  kFindings,
  kIncidents,
  kDensity,   // How often.
  kBand,      // A value, in words.
  kCount,     // A value, a number.
  kRequests,  // All of them, in rows.
};
enum class LaneTint : std::uint8_t { kLaunches, kGraph, kStream, kFindings };

// A lane and what it shows, which lives as long as the index.
struct LaneView {
  LaneKind kind = LaneKind::kSteps;
  std::string name;
  const TraceIndex* index = nullptr;
  const Names* names = nullptr;
  const Density* density = nullptr;
  const Density* marks = nullptr;  // Findings of what the density counts; null: not known.
  const Track* track = nullptr;
  LaneTint tint = LaneTint::kLaunches;
  bool pinned = false;
  bool extra = false;  // One of many alike: shown where it is pinned or filtered for.
};

// All that a trace has, from the top down.
std::vector<LaneView> lanes_of(const TraceIndex& index, const Names& names);

// Of a trace that is compared, on the axis of the other: named "other …".
std::vector<LaneView> lanes_of_other(const OpenTrace& other);

// A value.
struct LaneChoice {
  std::vector<std::string> pinned;  // Above the others, in this order.
  std::vector<std::string> hidden;
  std::string filter;  // Lanes whose names hold it, case aside, and those pinned. Empty: all.

  std::vector<LaneView> of(std::vector<LaneView> lanes) const;
  void pin(const std::string& name);   // Again: no more.
  void hide(const std::string& name);  // Likewise.
  bool any() const { return !pinned.empty() || !hidden.empty() || !filter.empty(); }
  bool operator==(const LaneChoice&) const = default;
};

}  // namespace pagetape
