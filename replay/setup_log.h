// SPDX-License-Identifier: Apache-2.0
// The events that say what exists and who dereferences what, as far as they still matter: what a
// trace has to begin with that begins in the middle of a run.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "traces/event.h"
#include "traces/names.h"

namespace pagetape {

// A copyable value. Holds no event that a later one takes the place of, but where a graph or a fact
// was derived in between, so that versions move as they did: bounded by what there is, not by how
// long it is watched.
class SetupLog {
 public:
  // Keeps the event if it is one of these. `names` is the table of all of them.
  void see(const Event& event, const Names& names);
  // In their order.
  const std::vector<Event>& events();
  // What was said last of each request that has not ended, by rank and name.
  const std::map<std::pair<std::int64_t, Name>, Event>& requests() const { return requests_; }
  // Did prefix keys ever come? A hit under a key that is not offered is a fault only then.
  bool has_keys() const { return has_keys_; }

 private:
  void compact();

  std::vector<Event> kept_;
  std::map<std::pair<std::int64_t, Name>, Event> requests_;
  bool has_keys_ = false;
  std::size_t compacted_ = 0;  // Events that were left by compact().
};

}  // namespace pagetape
