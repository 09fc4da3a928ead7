// SPDX-License-Identifier: Apache-2.0
#include "replay/missing.h"

#include <vector>

namespace pagetape {

void forget(State& state, std::int64_t rank, Observer* observer) {
  Event gap;
  gap.body = ev::Gap{};
  if (rank != State::kNoRank) gap.rank = rank;
  (void)state.imply(gap, observer);  // Without pools it names nothing undeclared.
}

void forget_all(State& state, Observer* observer) {
  std::vector<std::int64_t> ranks;
  for (const auto& [rank, world] : state.worlds()) ranks.push_back(rank);
  for (std::int64_t rank : ranks) forget(state, rank, observer);
}

}  // namespace pagetape
