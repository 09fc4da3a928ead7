// SPDX-License-Identifier: Apache-2.0
#include "replay/state.h"

#include "replay/applier.h"

namespace pagetape {

State::State(const Names& names) : names_(&names) {}
State::State(const State&) = default;
State::State(State&&) noexcept = default;
State& State::operator=(const State&) = default;
State& State::operator=(State&&) noexcept = default;
State::~State() = default;

Outcome State::apply(const Event& event, Observer* observer) {
  const Outcome outcome = imply(event, observer);
  ++next_;
  return outcome;
}

std::size_t State::apply(std::span<const Brief> briefs, Outcome& outcome) {
  for (std::size_t i = 0; i < briefs.size();) {
    // Mostly all are of one rank.
    const OptInt rank = briefs[i].rank;
    const std::size_t begin = i;
    while (i < briefs.size() && briefs[i].rank == rank) ++i;
    const std::int64_t of = rank.value_or(kNoRank);
    const std::size_t applied =
        Applier(*this, world_of(of), of, 0, nullptr).run(briefs.subspan(begin, i - begin), outcome);
    next_ += applied;
    if (begin + applied == i) continue;
    ++next_;
    return begin + applied;
  }
  return briefs.size();
}

Outcome State::imply(const Event& event, Observer* observer) {
  const std::int64_t rank = event.rank.value_or(kNoRank);
  return Applier(*this, world_of(rank), rank, event.stream, observer).run(event);
}

const World* State::world(std::int64_t rank) const {
  auto it = worlds_.find(rank);
  return it == worlds_.end() ? nullptr : &it->second;
}

}  // namespace pagetape
