// SPDX-License-Identifier: Apache-2.0
#include "replay/state.h"

#include "replay/applier.h"

namespace pagetape {

Outcome State::apply(const Event& event, Observer* observer) {
  const Outcome outcome = imply(event, observer);
  ++next_;
  return outcome;
}

Outcome State::imply(const Event& event, Observer* observer) {
  const std::int64_t rank = event.rank.value_or(kNoRank);
  return Applier(*this, worlds_[rank], rank, event, observer).run();
}

const World* State::world(std::int64_t rank) const {
  auto it = worlds_.find(rank);
  return it == worlds_.end() ? nullptr : &it->second;
}

}  // namespace pagetape
