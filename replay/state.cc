// SPDX-License-Identifier: Apache-2.0
#include "replay/state.h"

#include <algorithm>

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

bool State::apply(const Briefs& briefs) {
  const std::int64_t rank = briefs.rank.value_or(kNoRank);
  const std::size_t known = worlds_.size();
  if (!Applier(*this, world_of(rank), rank, 0, nullptr).run(briefs.rewinds)) {
    if (worlds_.size() != known) worlds_.erase(rank);
    return false;
  }
  next_ += briefs.count;
  return true;
}

Outcome State::imply(const Event& event, Observer* observer) {
  const std::int64_t rank = event.rank.value_or(kNoRank);
  const std::size_t known = worlds_.size();
  const Outcome outcome = Applier(*this, world_of(rank), rank, event.stream, observer).run(event);
  // The first event of a rank makes its world: one that cannot apply makes none.
  if (!outcome.applied() && worlds_.size() != known) worlds_.erase(rank);
  return outcome;
}

const State& State::settled(std::optional<State>& scratch) const {
  const auto open = [](const auto& of) { return !of.second.fronts.empty(); };
  if (std::ranges::none_of(worlds_, open)) return *this;
  scratch.emplace(*this);
  for (auto& [rank, world] : scratch->worlds_) world.settle();
  return *scratch;
}

const World* State::world(std::int64_t rank) const {
  auto it = worlds_.find(rank);
  return it == worlds_.end() ? nullptr : &it->second;
}

}  // namespace pagetape
