// SPDX-License-Identifier: Apache-2.0
// Delta debugging of a trace.
#pragma once

#include <functional>
#include <string>

#include "verify/oracle.h"

namespace pagetape {

// Takes out of `tape`, which holds `goal`, whatever can go while it holds: the events of a request,
// runs of events, elements of lists, optional fields. The event of the finding stays, and so do
// pinned events, but for what stands in them.
class Reducer {
 public:
  // Stops where the oracle has applied `budget` events. `progress` gets a line now and then.
  Reducer(Oracle& oracle, const Goal& goal, Names& names, std::uint64_t budget,
          const std::function<void(const std::string&)>& progress)
      : oracle_(oracle), goal_(goal), names_(names), budget_(budget), progress_(progress) {}

  void drop_requests(Tape& tape);
  // True where something went.
  bool drop_events(Tape& tape);
  bool thin_events(Tape& tape);

  bool out_of_budget() const { return oracle_.applied() >= budget_; }

 private:
  bool try_without(Tape& tape, std::size_t begin, std::size_t end);
  bool thin_event(Tape& tape, std::size_t& at);
  bool try_event(Tape& tape, std::size_t& at, const std::string& text);

  Oracle& oracle_;
  const Goal& goal_;
  Names& names_;
  std::uint64_t budget_;
  const std::function<void(const std::string&)>& progress_;
};

}  // namespace pagetape
