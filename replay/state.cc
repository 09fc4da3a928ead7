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

Outcome State::imply(const Event& event, Observer* observer) {
  const std::int64_t rank = event.rank.value_or(kNoRank);
  // Most traces are of one rank.
  const bool first = !worlds_.empty() && worlds_.begin()->first == rank;
  World& world = first ? worlds_.begin()->second : worlds_[rank];
  return Applier(*this, world, rank, event, observer).run();
}

const World* State::world(std::int64_t rank) const {
  auto it = worlds_.find(rank);
  return it == worlds_.end() ? nullptr : &it->second;
}

}  // namespace pagetape
