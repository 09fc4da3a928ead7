// SPDX-License-Identifier: Apache-2.0
// The defects that the simulated engine can plant.
#pragma once

#include <span>
#include <string_view>

namespace pagetape::sim {

enum class Bug {
  kNone,
  kStaleSwa,
  kClamp,
  // One a rule. Each is planted once, at one place of the trace.
  kPagePastPool,
  kFullTableForSwa,
  kReallocatedUnderBackend,
  kTableTooNarrow,
  kPadLaneWrites,
  kInputNotRefreshed,
  kFreedTooEarly,
  kNeighboursPage,
  kPageGivenTwice,
  kUnorderedTransfer,
  kStoredTooLate,
  kHitAfterDrop,
  kEvictedInWindow,
  kFreedByStranger,
  kOffsetPastInt32,
  kExtentsOverlap,
};

struct BugInfo {
  Bug bug;
  std::string_view name, sentence;
  // Rules that must have findings, then those that may have some too; no other rule may.
  std::string_view rules, may;  // Separated by blanks.
};

std::span<const BugInfo> bugs();
// Null where there is none of that name.
const BugInfo* find_bug(std::string_view name);

}  // namespace pagetape::sim
