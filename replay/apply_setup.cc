// SPDX-License-Identifier: Apache-2.0
// Geometry and binding: what exists, and who dereferences what.
#include <algorithm>
#include <array>

#include "replay/applier.h"

namespace pagetape {

// Kinds of events that leave pages and their owners as they are, or are launches, which know of
// fronts. They come between the layers of a step. What was judged stands from one launch to the
// next while a front does: so none of these may change a pool, a space, a map, a backend or the
// operations under way, but the launches, which settle what they change otherwise.
static constexpr auto kKeepsFronts = [] {
  std::array<bool, kKinds> out{};
  for (const std::size_t kind :
       {kKindOf<ev::Attention>, kKindOf<ev::Store>, kKindOf<ev::GraphLaunch>,
        kKindOf<ev::GraphStep>, kKindOf<ev::Table>, kKindOf<ev::Lens>, kKindOf<ev::SlotList>,
        kKindOf<ev::Scalar>, kKindOf<ev::Refresh>, kKindOf<ev::LaunchDone>, kKindOf<ev::Kernel>,
        kKindOf<ev::Note>}) {
    out[kind] = true;
  }
  return out;
}();

Outcome Applier::run(const Event& event) {
  if (!world_.fronts.empty() && !kKeepsFronts[event.body.index()]) world_.settle();
  if (observer_ != nullptr) observer_->on_event(world_, event, index_);
  return std::visit([this](const auto& body) { return on(body); }, event.body);
}

std::uint32_t Applier::space_named(Name name) const {
  if (const Pool* pool = world_.pools.find(name)) return pool->space;
  return world_.spaces.index(name);
}

ObjectKind Applier::object_named(Name name) const {
  if (world_.pools.find(name) != nullptr) return ObjectKind::kPool;
  if (world_.sets.find(name) != nullptr) return ObjectKind::kSet;
  if (world_.maps.find(name) != nullptr) return ObjectKind::kMap;
  if (world_.buffers.find(name) != nullptr) return ObjectKind::kBuffer;
  return ObjectKind::kNone;
}

std::uint32_t* Applier::version_of(ObjectKind kind, Name name) {
  switch (kind) {
    case ObjectKind::kPool:
      return &world_.pools.find(name)->version;
    case ObjectKind::kSet:
      return &world_.sets.find(name)->version;
    case ObjectKind::kMap:
      return &world_.maps.find(name)->version;
    case ObjectKind::kBuffer:
      return &world_.buffers.find(name)->version;
    case ObjectKind::kNone:
      break;
  }
  return nullptr;
}

// Pages became smaller: what was written behind their new end is nowhere.
static void cut_pages(Extents& extents, std::uint32_t tokens) {
  std::vector<std::uint32_t> longer;
  extents.pages().for_each([&](std::uint64_t i, const Extents::Page& page) {
    if (page.groups != 0 || page.prefix > tokens) longer.push_back(static_cast<std::uint32_t>(i));
  });
  for (const std::uint32_t page : longer) extents.cut(page, tokens);
}

Outcome Applier::on(const ev::Pool& e) {
  const Name space_name = e.space != kNone ? e.space : e.pool;
  const Name allocator_name = e.allocator != kNone ? e.allocator : space_name;
  const bool again = world_.pools.find(e.pool) != nullptr;
  if (again) {
    const Space& space = world_.space_of(*world_.pools.find(e.pool));
    const bool moved =
        space.name != space_name ||
        (e.allocator != kNone && world_.allocators.key(space.allocator) != allocator_name);
    if (moved) return {OutcomeCode::kSpaceMoved, e.pool};
  }
  const bool new_space = world_.spaces.find(space_name) == nullptr;
  const std::uint32_t s = world_.spaces.add(space_name);
  if (new_space) {
    world_.spaces[s].name = space_name;
    world_.spaces[s].allocator = world_.allocators.add(allocator_name);
    world_.allocators[world_.spaces[s].allocator].spaces.push_back(s);
    if (world_.born_unknown) world_.spaces[s].forget();
  }
  const std::uint32_t p = world_.pools.add(e.pool);
  Pool& pool = world_.pools[p];
  if (!again) {
    world_.spaces[s].pools.push_back(p);
  } else {
    ++pool.version;
    world_.spaces[s].bump_epoch();
    if (e.page_size < pool.page_size) {
      cut_pages(pool.extents, static_cast<std::uint32_t>(e.page_size));
    }
  }
  pool.name = e.pool;
  pool.kind = e.kind;
  pool.pages = e.pages;
  pool.page_size = static_cast<std::uint32_t>(e.page_size);
  pool.space = s;
  pool.page_bytes = e.page_bytes.value_or(0);
  pool.offset_bits = e.offset_bits.value_or(0);
  pool.by = index_;
  pool.reserved.clear();
  if (e.reserved) {
    for (const ev::Reserved& r : *e.reserved) {
      pool.reserved.push_back({r.page, state_.names().text(r.role) == "null"});
    }
    std::ranges::sort(pool.reserved, {}, &ReservedPage::page);
  }
  return {};
}

Outcome Applier::on(const ev::PoolLayer& e) {
  if (world_.pools.find(e.pool) == nullptr) {
    return undeclared(OutcomeCode::kUndeclaredPool, e.pool);
  }
  return {};
}

Outcome Applier::on(const ev::Arena& e) {
  ArenaState& arena = world_.arenas[world_.arenas.add(e.arena)];
  arena.bytes = e.bytes;
  arena.by = index_;
  return {};
}

Outcome Applier::on(const ev::Extent& e) {
  ArenaState* arena = world_.arenas.find(e.arena);
  if (arena == nullptr) return undeclared(OutcomeCode::kUndeclaredArena, e.arena);
  // Said again by its owner: it moved.
  std::erase_if(arena->extents, [&](const ArenaExtent& x) { return x.owner == e.owner; });
  const ArenaExtent fresh{e.owner, e.begin, e.end, index_};
  const auto at = std::ranges::upper_bound(arena->extents, e.begin, {}, &ArenaExtent::begin);
  arena->extents.insert(at, fresh);
  return {};
}

Outcome Applier::on(const ev::Buffer& e) {
  const bool again = world_.buffers.find(e.buffer) != nullptr;
  BufferState& buffer = world_.buffers[world_.buffers.add(e.buffer)];
  if (again) ++buffer.version;
  buffer.rows = e.rows.value_or(-1);
  buffer.cols = e.cols.value_or(-1);
  buffer.by = index_;
  if (again) {
    // New memory: what stood in the old one is not in it. Rows keep their logs, so that whoever
    // judged them judges again.
    std::vector<std::uint64_t> rows;
    buffer.table.for_each([&](std::uint64_t i, const TableRow& row) {
      if (!row.cells.empty() || !row.far.empty()) rows.push_back(i);
    });
    for (std::uint64_t i : rows) {
      TableRow& row = buffer.table.at(i);
      row.cells.clear();
      row.far.clear();
      row.changes.touch(0);
    }
    buffer.touched.touch_all();
    buffer.lens.clear();
    buffer.slots.clear();
  }
  return {};
}

Outcome Applier::on(const ev::Map& e) {
  const std::uint32_t from = world_.pools.index(e.from), to = world_.pools.index(e.to);
  if (from == kNoPool) return undeclared(OutcomeCode::kUndeclaredPool, e.from);
  if (to == kNoPool) return undeclared(OutcomeCode::kUndeclaredPool, e.to);
  const bool again = world_.maps.find(e.map) != nullptr;
  MapState& map = world_.maps[world_.maps.add(e.map)];
  const std::uint32_t version = again ? map.version + 1 : 0;
  map = {};
  map.from = from;
  map.to = to;
  map.by_slot = state_.names().text(e.unit) == "slot";
  map.unknown = world_.born_unknown;
  map.version = version;
  map.by = index_;
  world_.space_of(world_.pool(from)).bump_epoch();
  return {};
}

Outcome Applier::on(const ev::PoolSet& e) {
  PoolSetState set;
  for (Name name : e.pools) {
    const std::uint32_t p = world_.pools.index(name);
    if (p == kNoPool) return undeclared(OutcomeCode::kUndeclaredPool, name);
    set.pools.push_back(p);
  }
  if (const PoolSetState* old = world_.sets.find(e.set)) set.version = old->version + 1;
  set.by = index_;
  world_.sets[world_.sets.add(e.set)] = std::move(set);
  return {};
}

Outcome Applier::on(const ev::Backend& e) {
  BackendState& backend = world_.backends[world_.backends.add(e.backend)];
  const std::uint32_t changes = backend.changes + 1;
  backend = {};
  backend.name = e.backend;
  backend.role = e.role;
  backend.klass = e.klass;
  backend.by = index_;
  backend.changes = changes;
  return {};
}

Outcome Applier::on(const ev::PoolSwap& e) {
  BackendState* backend = world_.backends.find(e.backend);
  if (backend == nullptr) return undeclared(OutcomeCode::kUndeclaredBackend, e.backend);
  const std::uint32_t pool = world_.pools.index(e.pool);
  if (pool == kNoPool) return undeclared(OutcomeCode::kUndeclaredPool, e.pool);
  if (e.set != kNone && world_.sets.find(e.set) == nullptr) {
    return undeclared(OutcomeCode::kUndeclaredSet, e.set);
  }
  const Binding binding{pool, e.set, index_};
  if (e.layers.all) {
    backend->all = binding;
    backend->layers.clear();
  } else {
    for (Layer layer : e.layers.list) backend->layers[layer] = binding;
  }
  ++backend->changes;
  return {};
}

// Replaces the fact of that attribute, or adds it.
static void set_fact(std::vector<Fact>& facts, const Fact& fact) {
  for (Fact& old : facts) {
    if (old.attr == fact.attr) {
      old = fact;
      return;
    }
  }
  facts.push_back(fact);
}

Outcome Applier::on(const ev::SwaState& e) {
  BackendState* backend = world_.backends.find(e.backend);
  if (backend == nullptr) return undeclared(OutcomeCode::kUndeclaredBackend, e.backend);
  if (e.swa_pool != kNone && world_.pools.find(e.swa_pool) == nullptr) {
    return undeclared(OutcomeCode::kUndeclaredPool, e.swa_pool);
  }
  const ObjectKind kind = object_named(e.derived_from);
  if (kind == ObjectKind::kNone) {
    return undeclared(OutcomeCode::kUndeclaredObject, e.derived_from);
  }
  set_fact(backend->facts, {kNone, kind, e.derived_from, *version_of(kind, e.derived_from),
                            e.uses_swa, e.swa_pool, index_});
  return {};
}

Outcome Applier::on(const ev::Cached& e) {
  BackendState* backend = world_.backends.find(e.backend);
  if (backend == nullptr) return undeclared(OutcomeCode::kUndeclaredBackend, e.backend);
  const ObjectKind kind = object_named(e.derived_from);
  if (kind == ObjectKind::kNone) {
    return undeclared(OutcomeCode::kUndeclaredObject, e.derived_from);
  }
  set_fact(backend->facts,
           {e.attr, kind, e.derived_from, *version_of(kind, e.derived_from), false, kNone, index_});
  return {};
}

Outcome Applier::on(const ev::LayerRemap& e) {
  BackendState* backend = world_.backends.find(e.backend);
  if (backend == nullptr) return undeclared(OutcomeCode::kUndeclaredBackend, e.backend);
  backend->remap[e.layer] = {e.to, index_};
  ++backend->changes;
  return {};
}

Outcome Applier::on(const ev::Version& e) {
  const ObjectKind kind = object_named(e.object);
  if (kind == ObjectKind::kNone) return undeclared(OutcomeCode::kUndeclaredObject, e.object);
  ++*version_of(kind, e.object);
  return {};
}

void Applier::forget_pool(Pool& pool) {
  world_.space_of(pool).forget();
  pool.extents.clear();
  pool.layers_written = kNoLayers;
  pool.digests.clear();
  pool.keys.clear();
}

void Applier::make_map_unknown(MapState& map) {
  map.entries.clear();
  map.back.clear();
  map.unknown = true;
}

Outcome Applier::on(const ev::Gap& e) {
  std::vector<std::uint32_t> chosen;
  if (e.pools) {
    for (Name name : *e.pools) {
      const std::uint32_t p = world_.pools.index(name);
      if (p == kNoPool) return undeclared(OutcomeCode::kUndeclaredPool, name);
      chosen.push_back(p);
    }
  } else {
    for (std::uint32_t p = 0; p < world_.pools.size(); ++p) chosen.push_back(p);
    world_.born_unknown = true;
  }
  world_.ops_unknown = true;
  const auto is_chosen = [&](std::uint32_t p) {
    return std::ranges::find(chosen, p) != chosen.end();
  };
  for (std::uint32_t p : chosen) forget_pool(world_.pools[p]);
  for (std::uint32_t m = 0; m < world_.maps.size(); ++m) {
    if (is_chosen(world_.maps[m].from) || is_chosen(world_.maps[m].to)) {
      make_map_unknown(world_.maps[m]);
    }
  }
  std::erase_if(world_.ops, [&](const Op& op) { return is_chosen(op.pool); });
  // Tables, lengths and slots are of no pool: any of them may hold ids of these.
  for (std::uint32_t b = 0; b < world_.buffers.size(); ++b) {
    BufferState& buffer = world_.buffers[b];
    std::vector<std::uint64_t> rows;
    buffer.table.for_each([&](std::uint64_t i, const TableRow& row) {
      if (row.changes.version() != 0) rows.push_back(i);
    });
    for (std::uint64_t i : rows) {
      TableRow& row = buffer.table.at(i);
      row.cells.clear();
      row.far.clear();
      row.changes.touch(0);
    }
    buffer.touched.touch_all();
    buffer.lens.clear();
    buffer.slots.clear();
    buffer.rewritten = index_;
  }
  return {};
}

Outcome Applier::on(const ev::Dropped&) { return on(ev::Gap{}); }

}  // namespace pagetape
