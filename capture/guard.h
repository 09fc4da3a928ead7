// SPDX-License-Identifier: Apache-2.0
// The guard: before a launch it compares the live entries of the table with the pool bound, gives
// the launch a copy without the bad ones, and reports the first of them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "capture/guard_view.h"
#include "traces/status.h"

namespace pagetape {

// Written by the device, read by one thread of the host. The latest kReportsHeld are held.
struct GuardReports {
  GuardReport held[kReportsHeld];
};

// Takes the next report that is there; `next` (from 1) goes behind it. Reports written over are
// passed.
bool next_report(GuardReports& reports, std::uint64_t& next, GuardReport& report);

// The guard of one table, or of the tables of one stream by turns.
class GuardedTable {
 public:
  virtual ~GuardedTable() = default;
  // Puts the check on the stream, before the launch: allocates nothing, waits for nothing, may be
  // captured. `view`: the table it was added for, or another with cells as wide and no more of
  // them.
  virtual Status check(const TableView& view, const GuardedLaunch& launch, void* stream) = 0;
  // What the launch is to be given in the table's place, without gaps; null: the table itself.
  virtual void* copy() = 0;
};

// Reports and tables of one device, or of this process's memory.
class Guard {
 public:
  static std::unique_ptr<Guard> on_host();
  // Null and the reason where there is no GPU, or no CUDA in this build.
  static std::unique_ptr<Guard> on_device(Status& status);
  virtual ~Guard() = default;

  virtual GuardReports& reports() = 0;
  // `copies`: whether launches get a copy. It begins with `reserved` in every cell. Waits for the
  // device. Not to outlive the guard.
  virtual std::unique_ptr<GuardedTable> add(const TableView& view, bool copies,
                                            std::int64_t reserved, Status& status) = 0;
};

}  // namespace pagetape
