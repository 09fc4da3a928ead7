// SPDX-License-Identifier: Apache-2.0
// Faults of whole events: a number that cannot be, an order that must not be.
#include <algorithm>

#include "verify/mutation.h"

namespace pagetape {
namespace {

template <class T>
T& changed(const Scene& s, Planted& fault) {
  fault.instead = s.event;
  return std::get<T>(fault.instead->body);
}

// One of the `n` numbers above `most`, where there are so many.
bool put_above(const Scene& s, std::int64_t most, std::int64_t n, std::int64_t& out) {
  if (most > INT64_MAX - n) return false;
  out = most + 1 + s.dice.below(n);
  return true;
}

bool cells_past_the_last_column(const Scene& s, Planted& fault) {
  const auto& e = std::get<ev::Table>(s.event.body);
  const BufferState* buffer = s.world.buffers.find(e.buffer);
  if (buffer == nullptr || buffer->cols < 0 || e.pages.empty()) return false;
  const auto n = static_cast<std::int64_t>(e.pages.size());
  changed<ev::Table>(s, fault).col =
      std::max<std::int64_t>(0, buffer->cols - n + 1) + s.dice.below(n);
  return true;
}

bool more_used_than_held(const Scene& s, Planted& fault) {
  auto& e = changed<ev::Access>(s, fault);
  return put_above(s, e.capacity, 4, e.used);
}

bool reserved_given_out(const Scene& s, Planted& fault) {
  const auto& e = std::get<ev::Alloc>(s.event.body);
  const Pool* pool = s.world.pools.find(e.pool);
  if (pool == nullptr || pool->reserved.empty() || e.pages.empty()) return false;
  fault.object = e.pool;
  const auto r = s.dice.below(static_cast<std::int64_t>(pool->reserved.size()));
  auto& alloc = changed<ev::Alloc>(s, fault);
  alloc.pages[static_cast<std::size_t>(s.dice.below(static_cast<std::int64_t>(e.pages.size())))] =
      pool->reserved[static_cast<std::size_t>(r)].page;
  return pool->in_bounds(pool->reserved[static_cast<std::size_t>(r)].page);
}

// A lane that stores into a page of its own forgets whose it is.
bool padding_stores(const Scene& s, Planted& fault) {
  const LaunchView& view = *s.view;
  if (!std::holds_alternative<ev::Store>(s.event.body) || view.lanes.empty()) return false;
  const auto i =
      static_cast<std::size_t>(s.dice.below(static_cast<std::int64_t>(view.lanes.size())));
  const Lane& lane = view.lanes[i];
  const std::uint32_t p = view.targets->groups.empty() ? kNoPool : view.targets->groups[0].pool;
  if (p == kNoPool || lane.req == kNone || lane.slots_count == 0) return false;
  const Pool& pool = s.world.pool(p);
  const std::int64_t slot = raw(view.slots[lane.slots_begin]);
  if (slot < 0 || slot / pool.page_size >= pool.pages) return false;
  const PageId page{static_cast<std::int32_t>(slot / pool.page_size)};
  auto& rows = changed<ev::Store>(s, fault).rows.edit();
  if (pool.reserved_page(page) != nullptr || i >= rows.size()) return false;
  fault.object = pool.name;
  rows[i].req = kNone;
  return true;
}

bool frozen_buffer_reallocated(const Scene& s, Planted& fault) {
  const auto& e = std::get<ev::GraphLaunch>(s.event.body);
  const GraphState* graph = s.world.graphs.find(e.graph);
  if (graph == nullptr || graph->buffers.empty()) return false;
  fault.object = e.graph;
  const auto i = s.dice.below(static_cast<std::int64_t>(graph->buffers.size()));
  ev::Buffer again;
  again.buffer = graph->buffers[static_cast<std::size_t>(i)].buffer;
  const BufferState& buffer = *s.world.buffers.find(again.buffer);
  if (buffer.rows >= 0) again.rows = buffer.rows;
  if (buffer.cols >= 0) again.cols = buffer.cols;
  fault.before.push_back(planted(s, again));
  return true;
}

bool frozen_scalar_moved(const Scene& s, Planted& fault) {
  const auto& e = std::get<ev::GraphLaunch>(s.event.body);
  const GraphState* graph = s.world.graphs.find(e.graph);
  if (graph == nullptr || graph->scalars.empty()) return false;
  fault.object = e.graph;
  const auto i = s.dice.below(static_cast<std::int64_t>(graph->scalars.size()));
  const auto& [name, value] = graph->scalars[static_cast<std::size_t>(i)];
  const Name other = s.names.intern("\"selfcheck\"");
  fault.before.push_back(planted(s, ev::Scalar{name, {other}}));
  return other != value;
}

// Launched twice: nobody rewrote its inputs in between.
bool launched_twice(const Scene& s, Planted& fault) {
  const auto& e = std::get<ev::GraphLaunch>(s.event.body);
  const GraphState* graph = s.world.graphs.find(e.graph);
  if (graph == nullptr || graph->inputs.empty()) return false;
  fault.object = e.graph;
  fault.before.push_back(s.event);
  return true;
}

// Is the page of a hit such that its key alone decides?
bool hit_stands(const Scene& s, const ev::PrefixHit& e) {
  const Pool* pool = s.world.pools.find(e.pool);
  if (pool == nullptr || !pool->in_bounds(e.page) || pool->reserved_page(e.page) != nullptr) {
    return false;
  }
  const PageInfo info = s.world.space_of(*pool).info(e.page);
  const auto keys = pool->keys.find(raw(e.page));
  return !info.unknown && info.owner != kNone && keys != pool->keys.end() &&
         std::ranges::find(keys->second, e.key, &PrefixKeyState::key) != keys->second.end();
}

bool key_never_offered(const Scene& s, Planted& fault) {
  const auto& e = std::get<ev::PrefixHit>(s.event.body);
  fault.object = e.pool;
  if (!hit_stands(s, e)) return false;
  changed<ev::PrefixHit>(s, fault).key = s.names.intern("#selfcheck");
  return true;
}

bool key_dropped(const Scene& s, Planted& fault) {
  const auto& e = std::get<ev::PrefixHit>(s.event.body);
  fault.object = e.pool;
  if (!hit_stands(s, e)) return false;
  fault.before.push_back(planted(s, ev::PrefixDrop{e.pool, e.page, e.key}));
  return true;
}

bool freed_twice(const Scene& s, Planted& fault) {
  const auto& e = std::get<ev::Free>(s.event.body);
  const Pool* pool = s.world.pools.find(e.pool);
  fault.object = e.pool;
  if (pool == nullptr || e.pages.empty()) return false;
  const Space& space = s.world.space_of(*pool);
  const bool owned = std::ranges::all_of(e.pages, [&](PageId page) {
    return pool->in_bounds(page) && !space.info(page).unknown && space.owns(page, e.req);
  });
  if (!owned) return false;
  fault.before.push_back(s.event);
  return true;
}

bool more_free_than_pages(const Scene& s, Planted& fault) {
  const auto& e = std::get<ev::FreeCount>(s.event.body);
  const Pool* pool = s.world.pools.find(e.pool);
  if (pool == nullptr) return false;
  fault.object = e.pool;
  changed<ev::FreeCount>(s, fault).free =
      pool->pages - static_cast<std::int64_t>(pool->reserved.size()) + 1 + s.dice.below(4);
  return true;
}

bool figures_disagree(const Scene& s, Planted& fault) {
  auto& e = changed<ev::View>(s, fault);
  return put_above(s, e.allocator, 4, e.kernel);
}

bool extent_leaves_the_arena(const Scene& s, Planted& fault) {
  auto& e = changed<ev::Extent>(s, fault);
  const ArenaState* arena = s.world.arenas.find(e.arena);
  if (arena == nullptr) return false;
  return put_above(s, arena->bytes, 4096, e.end);
}

template <class T>
constexpr Mutation of_event(Rule rule, std::string_view name,
                            bool (*make)(const Scene&, Planted&)) {
  return {rule, name, Site::kEvent, kKindOf<T>, make};
}

constexpr Mutation kMutations[] = {
    of_event<ev::Table>(Rule::kShortTable, "cells past the last column",
                        cells_past_the_last_column),
    of_event<ev::Access>(Rule::kShortTable, "more used than there is", more_used_than_held),
    of_event<ev::Alloc>(Rule::kPadLane, "a reserved page given out", reserved_given_out),
    {Rule::kPadLane, "a padding lane that stores into a page", Site::kStore, kKinds,
     padding_stores},
    of_event<ev::GraphLaunch>(Rule::kGraphStale, "a frozen buffer reallocated",
                              frozen_buffer_reallocated),
    of_event<ev::GraphLaunch>(Rule::kGraphStale, "a frozen scalar changed", frozen_scalar_moved),
    of_event<ev::GraphLaunch>(Rule::kGraphStale, "launched twice on the same inputs",
                              launched_twice),
    of_event<ev::PrefixHit>(Rule::kStaleContent, "a key that was never offered", key_never_offered),
    of_event<ev::PrefixHit>(Rule::kStaleContent, "a key dropped before it is used", key_dropped),
    of_event<ev::Free>(Rule::kFreelist, "pages freed twice", freed_twice),
    of_event<ev::FreeCount>(Rule::kFreelist, "more free than there is", more_free_than_pages),
    of_event<ev::View>(Rule::kGeometry, "two figures that disagree", figures_disagree),
    of_event<ev::Extent>(Rule::kGeometry, "an extent that leaves its arena",
                         extent_leaves_the_arena),
};

}  // namespace

std::span<const Mutation> event_mutations() { return kMutations; }

}  // namespace pagetape
