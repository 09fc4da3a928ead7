// SPDX-License-Identifier: Apache-2.0
// Which launches used a cached fact that contradicted the pool bound: what STALE_BINDING is about.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "replay/state.h"

namespace pagetape {

// The event that made the fact contradict the binding: one of the two, whichever is later, or,
// where what it was derived from was rebuilt, the fact's own. kNever: it does not.
EventIndex stale_since(const World& world, const Fact& fact, const Binding& binding);

// By text: whoever looks a thing up may have names of his own.
class StaleUses {
 public:
  static constexpr std::size_t kMost = std::size_t{1} << 20;

  // What a launch at the event uses (of a graph: as captured). Whether its sliding-window state is
  // among what is stale. Events ascend.
  bool add(std::int64_t rank, const World& world, const Names& names, const LaunchView& view,
           EventIndex at);
  // The first launch that used the fact under the contradiction that began then; kNever: none.
  EventIndex first(std::int64_t rank, const std::string& backend, const std::string& attr,
                   EventIndex since) const;
  // Not all uses were kept.
  bool full() const { return kept_ >= kMost; }

 private:
  using Key = std::tuple<std::int64_t, std::string, std::string>;
  // When it began, and the first launch under it; ascending.
  using Spells = std::vector<std::pair<EventIndex, EventIndex>>;
  std::map<Key, Spells> uses_;
  std::size_t kept_ = 0;
};

}  // namespace pagetape
