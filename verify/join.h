// SPDX-License-Identifier: Apache-2.0
// A fault's address joined with a trace: which launch, layer, request and table entry led there.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "verify/address_map.h"
#include "verify/fault.h"
#include "verify/finding.h"

namespace pagetape {

// An entry of a launch (or a slot of a store) that leads to the address.
struct JoinEntry {
  EventIndex event = kNever;
  std::int64_t step = -1;
  std::int64_t launch = -1;  // Within a graph launch.
  std::int64_t rank = 0;
  Name backend = kNone, graph = kNone, kernel = kNone, table = kNone, req = kNone;
  Layer logical;
  PoolRegion region;
  std::int64_t row = -1;        // Lane of the launch.
  std::int64_t table_row = -1;  // Its row of the table; -1: the entries stand in the launch.
  std::int64_t column = -1;     // Entry of the lane, or slot in a store.
  std::int64_t id = 0;          // As the kernel gets it: an entry, or a slot.
  bool is_slot = false;
  std::int64_t page = 0;  // Of the pool.

  // Bytes from the pool layer's end to the address; negative: before it.
  std::int64_t past_end(std::uint64_t address) const {
    return static_cast<std::int64_t>(address - region.end());
  }
};

struct JoinReport {
  std::string trace;
  std::shared_ptr<Names> names;
  Status status;
  Fault fault;
  std::vector<std::string> places;   // Where the address lies.
  std::vector<std::string> missing;  // What the trace would have to say.
  // Launches looked at: those not completed, or where completions are not recorded, the last.
  std::vector<EventIndex> launches;
  bool completions_known = false;
  bool kernel_known = false;       // These are of the fault's kernel; others were left out.
  std::vector<JoinEntry> entries;  // In order; those that leave their pool, where any does.
  std::uint64_t total = 0;         // Entries, those beyond kJoinEntries included.
  std::vector<Finding> findings;   // Of these launches, the first of each rule.

  int exit_code() const;
};

inline constexpr std::size_t kJoinEntries = 20;

JoinReport join_trace(const std::string& path, const Fault& fault);

// In words, and one JSON object on a line.
std::string join_text(const JoinReport& report);
std::string join_json(const JoinReport& report);

}  // namespace pagetape
