// SPDX-License-Identifier: Apache-2.0
// Another trace of the same work on the axis of the one that is viewed.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gui/app/background.h"
#include "gui/app/trace_index.h"
#include "verify/diff.h"

namespace pagetape {

// Which events of two traces stand side by side. Both ascend: what was done in another order keeps
// its own place.
class Alignment {
 public:
  static constexpr std::size_t kMost = std::size_t{1} << 16;  // Pairs that are kept.

  Alignment() = default;
  // Of two traces with so many events.
  Alignment(EventIndex first, EventIndex second);

  void add(EventIndex first, EventIndex second);
  void finish();

  // In between, in proportion.
  double to_first(double second) const;
  EventIndex first_of(EventIndex second) const;
  double to_second(double first) const;
  std::size_t pairs() const { return anchors_.size(); }

 private:
  using Pair = std::pair<EventIndex, EventIndex>;
  EventIndex first_ = 0, second_ = 0, bin_ = 1;
  std::vector<Pair> bins_;  // The earliest of each stretch of the first trace.
  std::vector<Pair>
      anchors_;  // After finish(): ascending in both, from the beginnings to the ends.
};

// A value, once it is made.
struct Comparison {
  DiffReport report;
  Alignment alignment;
  std::vector<EventIndex> differing;  // Where steps of requests differ: events of the first trace.
  bool more_differing = false;        // Than are kept.
  std::unique_ptr<OpenTrace> other;   // Its index is on the axis of the first.
};

// What `diff` finds, and the other's lanes. `doing` is told what goes on, and the event at hand; it
// is asked whether to go on. Comparison::report has the status.
std::shared_ptr<const Comparison> compare(
    const std::string& first, const std::string& second,
    const std::function<bool(const std::string& doing, EventIndex at)>& doing);

// A comparison that is made in a thread.
struct CompareTold {
  std::string doing;  // "comparing"; empty: over.
  EventIndex at = 0;
  std::shared_ptr<const Comparison> comparison;  // Null until it is over.
};
using CompareRun = Background<CompareTold>;
std::unique_ptr<CompareRun> run_compare(const std::string& first, const std::string& second);

// Of the steps of a trace those that hold one of the events: 1 in such a step, else 0.
Track differing_steps(const std::vector<EventIndex>& events, const TraceIndex& index);

}  // namespace pagetape
