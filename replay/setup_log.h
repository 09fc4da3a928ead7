// SPDX-License-Identifier: Apache-2.0
// The events that say what exists and who dereferences what, as far as they still matter: what a
// trace has to begin with that begins in the middle of a run.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "traces/event.h"

namespace pagetape {

// A copyable value. Holds no event that a later one takes the place of, but where a graph or a fact
// was derived in between, so that versions move as they did: bounded by what there is, not by how
// long it is watched.
class SetupLog {
 public:
  // Keeps the event if it is one of these.
  void see(const Event& event);
  // In their order.
  const std::vector<Event>& events();

 private:
  void compact();

  std::vector<Event> kept_;
  std::size_t compacted_ = 0;  // Events that were left by compact().
};

}  // namespace pagetape
