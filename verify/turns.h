// SPDX-License-Identifier: Apache-2.0
// A trace turn by turn: what each request, and the engine beside them, does in one step.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "traces/source.h"
#include "verify/diff.h"
#include "verify/meaning.h"

namespace pagetape {

// Who does something, by the trace's own name; `request` "": the engine of that rank.
struct Doer {
  std::int64_t rank = INT64_MIN;
  std::string request;
  auto operator<=>(const Doer&) const = default;
};

// What is done in one step (by an engine: in one event), as hashes by aspect.
struct Turn {
  std::array<std::uint64_t, kAspects> said{};
  EventIndex event = kNever;  // The first of it.
  std::int64_t step = -1;
};

// Reads a trace forward. Turns end with their rank's step; where a trace has no steps, with it.
class Turns {
 public:
  using GoesOn = std::function<bool(EventIndex)>;
  using OnDeed = std::function<void(const Doer&, EventIndex turn, const Deed&, const DiffSide&)>;

  // What is said of requests calls them by `aliases`, which outlive this. Both of the rest may be
  // empty: `goes_on` is asked now and then, and `on_deed` is told of every deed as it comes, in the
  // turn that began with that event.
  Turns(const std::string& path, const Aliases& aliases, GoesOn goes_on, OnDeed on_deed = {});

  // Adds the turns that end next, in the order in which they began. False at the end, where
  // nothing was added.
  bool next(std::vector<std::pair<Doer, Turn>>& out);

  const Status& status() const { return source_ == nullptr ? status_ : source_->status(); }
  const std::string& engine() const { return engine_; }
  const std::string& version() const { return version_; }
  std::uint64_t deeds() const { return deeds_; }
  std::uint64_t steps() const { return steps_; }  // Begun, of all ranks.

 private:
  struct Rank {
    Rank(const Names& names, const Aliases& aliases) : meaning(names, aliases) {}
    Meaning meaning;
    std::int64_t step = -1;
    std::vector<std::pair<Doer, Turn>> turns;           // Of the step at hand.
    std::unordered_map<std::uint32_t, std::size_t> of;  // By raw request: its turn among them.
  };
  Rank& rank_of(std::int64_t rank);
  bool read();
  void tell(std::int64_t number, Rank& rank, const Deed& deed);

  const std::string path_;
  const Aliases& aliases_;
  GoesOn goes_on_;
  OnDeed on_deed_;
  Names names_;
  Status status_;
  std::unique_ptr<Source> source_;
  Event event_;
  std::map<std::int64_t, Rank> ranks_;
  std::string engine_, version_;
  std::uint64_t deeds_ = 0, steps_ = 0;
};

}  // namespace pagetape
