// SPDX-License-Identifier: Apache-2.0
// The live table entries of a launch's lanes, as a machine gets them.
#pragma once

#include <cstdint>
#include <vector>

#include "replay/attention.h"
#include "replay/observer.h"

namespace pagetape {

// What one entry of the launch's tables stands for in a pool.
struct EntryUnit {
  std::int64_t tokens = 1;  // Of the view that the kernel got.
  std::int64_t bound = 0;   // Valid ids: 0 … bound - 1.
};
EntryUnit entry_unit(const ev::Attention& launch, const Pool& pool);

struct LaneList {
  std::vector<AttentionLane> lanes;
  std::vector<std::int32_t> entries;              // Of all lanes; kNoEntry: not known.
  std::vector<Name> reqs;                         // A lane.
  std::vector<std::int64_t> columns;              // Of a lane's first entry that was given.
  std::vector<std::vector<std::int64_t>> listed;  // Columns by entry, where a lane lists pages.

  // The column in which the row of the launch gives this entry of the lane.
  std::int64_t column(std::size_t lane, std::size_t entry) const {
    return listed[lane].empty() ? columns[lane] + static_cast<std::int64_t>(entry)
                                : listed[lane][entry];
  }
  std::int32_t* entries_of(std::size_t lane) { return entries.data() + lanes[lane].entries_begin; }
  const std::int32_t* entries_of(std::size_t lane) const {
    return entries.data() + lanes[lane].entries_begin;
  }
};

// The lanes of a launch; `window` 0: full. What `request` is, is left to the caller. False where a
// lane has numbers that no kernel takes.
bool gather_lanes(const LaunchView& view, std::int64_t entry_tokens, std::int64_t window,
                  LaneList& out);

// Known ids outside the pool are moved to its first or last, as a defensive patch would.
void clamp_entries(LaneList& list, std::int64_t bound);

}  // namespace pagetape
