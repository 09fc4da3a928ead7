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

Outcome State::apply(const Brief& brief) {
  const std::int64_t rank = brief.rank.value_or(kNoRank);
  World& world = world_of(rank);
  Outcome outcome;
  if (brief.rewind != nullptr) outcome = Applier(*this, world, rank, 0, nullptr).on(*brief.rewind);
  ++next_;
  return outcome;
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
