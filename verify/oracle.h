// SPDX-License-Identifier: Apache-2.0
// Does a shortened trace still raise the finding it was shortened for?
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "traces/event.h"
#include "traces/names.h"
#include "verify/finding.h"

namespace pagetape {

// An event of a shortened trace, and which event of the recording it comes from.
struct Kept {
  Event event;
  EventIndex origin = kNever;
  bool pinned = false;  // Part of how the finding came about: stays.
};
using Tape = std::vector<Kept>;

// Rules by bit, in the order of kRules.
using RuleBits = std::uint32_t;
static_assert(kRuleCount <= 32);

// The rules that each event raises; events that raise none are absent.
using Raised = std::map<EventIndex, RuleBits>;

// What a shortened trace must keep. The event that raises the finding, the request, layers, pool,
// page and (of an attention) column must be those of `finding`; the position of the row among the
// rows is free, as rows in front of it may be gone. No event may raise a rule that it did not
// raise before.
struct Goal {
  Finding finding;  // The first of its rule.
  Raised allowed;
  bool by_column = false;  // The column is one of a lane's entries, not a position in a list.
};

// The verifier itself as a judge of shortened traces. Has identity; not thread-safe.
class Oracle {
 public:
  explicit Oracle(const Names& names) : names_(names) {}

  // Events that cannot apply any more are taken out of `tape`: what they depended on is gone.
  // False where the finding is gone, or where an event raises what it did not. `tape` is then
  // of no use.
  bool holds(Tape& tape, const Goal& goal);

  // Of the last tape that held: its finding, with event, row and column of that tape.
  const Finding& finding() const { return finding_; }
  std::uint64_t trials() const { return trials_; }
  std::uint64_t applied() const { return applied_; }  // Events, in all trials.

 private:
  const Names& names_;
  Finding finding_;
  std::uint64_t trials_ = 0, applied_ = 0;
};

// The rules whose counts differ.
RuleBits newly_raised(const std::array<std::uint64_t, kRuleCount>& before,
                      const std::array<std::uint64_t, kRuleCount>& after);

}  // namespace pagetape
