// SPDX-License-Identifier: Apache-2.0
// Faults that are planted into a healthy trace: each is one by construction, as the state says.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "replay/observer.h"
#include "replay/world.h"
#include "traces/event.h"
#include "traces/names.h"
#include "verify/dice.h"
#include "verify/rules.h"

namespace pagetape {

// Where a fault may be planted: an event about to be applied, and a launch of it about to run.
struct Scene {
  const World& world;
  const Event& event;
  const LaunchView* view;  // Null for mutations of whole events.
  Names& names;            // Of `event`.
  Dice& dice;
};

// What an event becomes. The rule must be raised by `before` or by the event itself.
struct Planted {
  std::vector<Event> before;     // Applied in front of it.
  std::optional<Event> instead;  // Applied in its place; absent: the event as it is.
  Name object = kNone;           // Of which the rule is judged, as in NotChecked.
};

// Where a mutation looks for a place.
enum class Site : std::uint8_t {
  kEntry,  // An attention: one of its live entries.
  kStore,
  kEvent,  // An event of `kind`.
};

struct Mutation {
  Rule rule;
  std::string_view name;  // What is done, in words.
  Site site;
  std::size_t kind;  // Of kEvent; else kKinds.
  // False where the place gives no fault of this kind.
  bool (*make)(const Scene& scene, Planted& fault);
};

// Each in the order of the rules.
std::span<const Mutation> entry_mutations();
std::span<const Mutation> event_mutations();
std::span<const Mutation> write_mutations();

// A planted event, with the rank and the stream of the scene's.
Event planted(const Scene& scene, EventBody body);
std::int32_t other_stream(const Scene& scene, std::int32_t stream);

// A request that no trace has.
Name stranger(const Scene& scene);
// A page of the pool below `bound` that nobody owns, and one that others own: known to be so, and
// not reserved. kUnknownPage where none was met.
PageId free_page(const Scene& scene, const Pool& pool, std::int64_t bound);
PageId page_of_others(const Scene& scene, const Pool& pool, std::int64_t bound, Name req);

}  // namespace pagetape
