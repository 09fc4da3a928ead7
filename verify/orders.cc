// SPDX-License-Identifier: Apache-2.0
#include "verify/orders.h"

#include <algorithm>

namespace pagetape {
namespace {

// What each event of the stretch depends on within it, and whose turn it is part of.
struct Relation {
  std::vector<std::vector<std::uint32_t>> before;
  std::vector<std::uint32_t> turn;  // A stream's number, the host's, or a completion's own.
  std::uint32_t turns = 0;
};

Relation relation_of(const Stretch& stretch, const Acknowledged& acknowledged) {
  Dependencies dependencies(acknowledged);
  Relation out;
  std::vector<std::uint32_t> ends;
  for (std::uint32_t i = 0; i < stretch.events.size(); ++i) {
    std::vector<std::uint32_t>& before = out.before.emplace_back();
    for (EventIndex index : dependencies.before(stretch.events[i], stretch.begin + i)) {
      if (index >= stretch.begin)
        before.push_back(static_cast<std::uint32_t>(index - stretch.begin));
    }
    out.turn.push_back(dependencies.stream_chain());
    if (dependencies.actor() == Actor::kEnd) ends.push_back(i);
  }
  out.turns = dependencies.chains();
  for (std::uint32_t i : ends) out.turn[i] = out.turns++;
  return out;
}

// Where the event of an index stands in the new order.
EventIndex moved(const Stretch& stretch, const std::vector<std::uint32_t>& places,
                 std::int64_t index) {
  const auto at = static_cast<EventIndex>(index);
  if (index < 0 || at < stretch.begin || at >= stretch.end()) return at;
  return stretch.begin + places[at - stretch.begin];
}

void redirect_by(const Stretch& stretch, const std::vector<std::uint32_t>& places, Event& event) {
  if (auto* done = std::get_if<ev::LaunchDone>(&event.body)) {
    done->event = static_cast<std::int64_t>(moved(stretch, places, done->event));
  } else if (auto* error = std::get_if<ev::CudaError>(&event.body)) {
    if (error->after.has_value())
      error->after = static_cast<std::int64_t>(moved(stretch, places, *error->after));
  }
}

}  // namespace

std::vector<std::uint32_t> places_of(const Order& order) {
  std::vector<std::uint32_t> places(order.size());
  for (std::uint32_t k = 0; k < order.size(); ++k) places[order[k]] = k;
  return places;
}

Order reversed(const Stretch& stretch, const Acknowledged& acknowledged) {
  const Relation relation = relation_of(stretch, acknowledged);
  const auto n = static_cast<std::uint32_t>(stretch.events.size());
  std::vector<bool> needed(n);
  needed[n - 1] = true;
  for (std::uint32_t i = n; i-- > 0;) {
    if (!needed[i]) continue;
    for (std::uint32_t earlier : relation.before[i]) needed[earlier] = true;
  }
  if (needed[0]) return {};
  Order order;
  for (const bool wanted : {true, false}) {
    for (std::uint32_t i = 0; i < n; ++i) {
      if (needed[i] == wanted) order.push_back(i);
    }
  }
  return order;
}

Order drawn(const Stretch& stretch, const Acknowledged& acknowledged, Dice& dice) {
  const Relation relation = relation_of(stretch, acknowledged);
  const auto n = static_cast<std::uint32_t>(stretch.events.size());
  std::vector<std::uint32_t> waits(n);  // For so many events.
  std::vector<std::vector<std::uint32_t>> after(n);
  std::vector<std::uint32_t> ready;
  for (std::uint32_t i = 0; i < n; ++i) {
    for (std::uint32_t earlier : relation.before[i]) after[earlier].push_back(i);
    waits[i] = static_cast<std::uint32_t>(relation.before[i].size());
    if (waits[i] == 0) ready.push_back(i);
  }
  std::vector<std::uint64_t> rank(relation.turns);
  for (std::uint64_t& r : rank) r = dice.next();
  Order order;
  while (!ready.empty()) {
    const auto next = std::ranges::max_element(
        ready, {}, [&](std::uint32_t i) { return std::pair(rank[relation.turn[i]], n - i); });
    const std::uint32_t i = *next;
    ready.erase(next);
    order.push_back(i);
    for (std::uint32_t later : after[i]) {
      if (--waits[later] == 0) ready.push_back(later);
    }
    // A turn is of eight events at the mean.
    if (dice.below(8) == 0) rank[relation.turn[i]] = dice.next();
  }
  return order;
}

std::vector<Event> reordered(const Stretch& stretch, const Order& order) {
  const std::vector<std::uint32_t> places = places_of(order);
  std::vector<Event> out;
  out.reserve(order.size());
  for (std::uint32_t i : order) {
    redirect_by(stretch, places, out.emplace_back(stretch.events[i]));
  }
  return out;
}

void redirect(const Stretch& stretch, const Order& order, Event& event) {
  const bool names_one = std::holds_alternative<ev::LaunchDone>(event.body) ||
                         std::holds_alternative<ev::CudaError>(event.body);
  if (names_one) redirect_by(stretch, places_of(order), event);
}

}  // namespace pagetape
