// SPDX-License-Identifier: Apache-2.0
// Other orders of a stretch of a trace, none of which breaks a recorded dependency.
#pragma once

#include <cstdint>
#include <vector>

#include "verify/dice.h"
#include "verify/event_dependencies.h"

namespace pagetape {

// Consecutive events of a trace.
struct Stretch {
  EventIndex begin = 0;
  std::vector<Event> events;

  EventIndex end() const { return begin + events.size(); }
};

// The places in a stretch, in another order: of the event that comes first, and so on.
using Order = std::vector<std::uint32_t>;

// The order in which the stretch's last event comes before its first, and as little else as
// possible changes places: what the last depends on goes before the first with it. Empty where the
// last depends on the first.
Order reversed(const Stretch& stretch, const Acknowledged& acknowledged);

// A drawn order: streams, the host and completions take turns of random length, as far as what
// comes next does not wait for another.
Order drawn(const Stretch& stretch, const Acknowledged& acknowledged, Dice& dice);

// By place in the stretch: the place in the order.
std::vector<std::uint32_t> places_of(const Order& order);
// The events in that order; those that name another by its index name it where it is then.
std::vector<Event> reordered(const Stretch& stretch, const Order& order);
// The same for an event behind the stretch.
void redirect(const Stretch& stretch, const Order& order, Event& event);

}  // namespace pagetape
