// SPDX-License-Identifier: Apache-2.0
// The part of a recording that a finding can depend on, cut out in one pass.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "traces/status.h"
#include "verify/oracle.h"

namespace pagetape {

struct SliceOptions {
  // Pages kept, by number, of whatever pool (a wrong table names a page of another pool by the
  // number of its own). Absent: all.
  std::optional<std::set<std::int64_t>> pages;
  bool only_request = true;  // Of the launch that raises the finding, just the finding's lane.
  bool tail = false;  // What comes behind the finding, too, and launches that change nothing.
};

// Reads the trace up to the finding's event. What never matters to rules is left out: times, call
// sites, notes, what refers to events by their number, the engine's name; and of what is written
// over before the finding's event, what was written before.
Status slice(const std::string& path, Names& names, const Goal& goal, const SliceOptions& options,
             Tape& tape);

}  // namespace pagetape
