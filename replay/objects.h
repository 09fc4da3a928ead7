// SPDX-License-Identifier: Apache-2.0
// The objects of one rank's state: pools, buffers, maps, backends, graphs, pending operations.
// Each knows the event that set it, and so does each of its parts.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "replay/extents.h"
#include "replay/name_table.h"
#include "replay/space.h"
#include "replay/sparse_array.h"
#include "replay/touch_log.h"
#include "traces/event.h"

namespace pagetape {

inline constexpr std::uint32_t kNoPool = UINT32_MAX;

struct ReservedPage {
  PageId page{};
  bool is_null = false;  // A read sentinel that nobody writes; else `pad`.
  bool operator==(const ReservedPage&) const = default;
  template <class A>
  void visit(A& a) {
    a(page, is_null);
  }
};

struct PrefixKeyState {
  Name key = kNone;
  bool scheduled = false;  // Published before the step that writes the page.
  EventIndex by = kNever;
  template <class A>
  void visit(A& a) {
    a(key, scheduled, by);
  }
};

struct Pool {
  Name name = kNone, kind = kNone;
  std::int64_t pages = 0;              // The bound: valid ids are 0 … pages - 1.
  std::uint32_t page_size = 1;         // Tokens.
  std::uint32_t space = 0;             // Index of its Space.
  std::vector<ReservedPage> reserved;  // Ascending.
  std::int64_t page_bytes = 0;         // 0: not known.
  std::int64_t offset_bits = 0;        // 0: not known.
  std::uint32_t version = 0;           // Moves when it is said again.
  EventIndex by = kNever;
  Extents extents;
  LayerSet layers_written = kNoLayers;                       // Seen written so far, one by one.
  SparseArray<Name, 1024> digests;                           // kNone: not known.
  std::map<std::int32_t, std::vector<PrefixKeyState>> keys;  // Offered now.

  bool in_bounds(PageId page) const { return raw(page) >= 0 && raw(page) < pages; }
  // May a request own it?
  bool ordinary(PageId page) const { return in_bounds(page) && reserved_page(page) == nullptr; }
  const ReservedPage* reserved_page(PageId page) const {
    if (reserved.empty() || raw(page) > raw(reserved.back().page)) return nullptr;
    for (const ReservedPage& r : reserved) {
      if (r.page == page) return &r;
    }
    return nullptr;
  }

  template <class A>
  void visit(A& a) {
    a(name, kind, pages, page_size, space, reserved, page_bytes, offset_bits, version, by, extents,
      layers_written, digests, keys);
  }
};

// Pools and spaces that draw on one id supply.
struct Allocator {
  std::vector<std::uint32_t> spaces;
  template <class A>
  void visit(A& a) {
    a(spaces);
  }
};

struct PoolSetState {
  std::vector<std::uint32_t> pools;
  std::uint32_t version = 0;
  EventIndex by = kNever;
  template <class A>
  void visit(A& a) {
    a(pools, version, by);
  }
};

struct MapEntry {
  std::int64_t to = 0;  // 0: unmapped.
  EventIndex by = kNever;
  bool operator==(const MapEntry&) const = default;
  template <class A>
  void visit(A& a) {
    a(to, by);
  }
};

struct MapState {
  std::uint32_t from = kNoPool, to = kNoPool;
  bool by_slot = false;
  bool unknown = false;  // Entries never set since a gap are not known.
  std::uint32_t version = 0;
  EventIndex by = kNever;
  SparseArray<MapEntry> entries;
  SparseArray<std::int64_t> back;  // `to` page → 1 + the `from` page mapped there last.
  template <class A>
  void visit(A& a) {
    a(from, to, by_slot, unknown, version, by, entries, back);
  }
};

struct Cell {
  PageId page = kUnknownPage;
  std::uint32_t tag = 0;  // Index into World::tags: space and unit said with it.
  EventIndex by = kNever;
  bool operator==(const Cell&) const = default;
  template <class A>
  void visit(A& a) {
    a(page, tag, by);
  }
};

struct TableRow {
  std::vector<Cell> cells;
  std::map<std::int64_t, Cell> far;  // Written far beyond those (a number in a file).
  ChangeLog changes;                 // By column.

  const Cell* find(std::int64_t col) const {
    if (col >= 0 && col < static_cast<std::int64_t>(cells.size())) [[likely]]
      return &cells[col];
    if (far.empty()) return nullptr;
    auto it = far.find(col);
    return it == far.end() ? nullptr : &it->second;
  }
  bool operator==(const TableRow&) const = default;
  template <class A>
  void visit(A& a) {
    a(cells, far, changes);
  }
};

struct Value {
  std::int64_t value = INT64_MIN;  // INT64_MIN: not known.
  EventIndex by = kNever;
  bool known() const { return value != INT64_MIN; }
  bool operator==(const Value&) const = default;
  template <class A>
  void visit(A& a) {
    a(value, by);
  }
};

struct BufferState {
  std::int64_t rows = -1, cols = -1;  // -1: not said.
  std::uint32_t version = 0;          // Moves when it is said again: it was reallocated.
  EventIndex by = kNever;
  EventIndex rewritten = kNever;  // The event that rewrote (part of) it last.
  SparseArray<TableRow, 64> table;
  SparseArray<Value> lens;
  SparseArray<Value> slots;
  TouchLog touched;  // Rows of `table`, with each touch of their logs.

  // What `lens` says of the row; -1: nothing.
  std::int64_t length_at(std::int64_t row) const {
    const Value* value = lens.find(static_cast<std::uint64_t>(row));
    return value != nullptr && value->known() ? value->value : -1;
  }
  template <class A>
  void visit(A& a) {
    a(rows, cols, version, by, rewritten, table, lens, slots);
  }
};

struct Tag {
  Name space = kNone, unit = kNone;
  bool operator==(const Tag&) const = default;
  template <class A>
  void visit(A& a) {
    a(space, unit);
  }
};

struct Binding {
  std::uint32_t pool = kNoPool;
  Name set = kNone;  // The object through which it is bound.
  EventIndex by = kNever;
  bool operator==(const Binding&) const = default;
  template <class A>
  void visit(A& a) {
    a(pool, set, by);
  }
};

enum class ObjectKind : std::uint8_t { kPool, kSet, kMap, kBuffer, kNone };

// A fact that a backend copied from an object: swa_state (attr kNone) or cached.
struct Fact {
  Name attr = kNone;
  ObjectKind kind = ObjectKind::kNone;
  Name object = kNone;
  std::uint32_t version = 0;  // Of the object when the fact was copied.
  bool uses_swa = false;
  Name swa_pool = kNone;
  EventIndex by = kNever;
  bool operator==(const Fact&) const = default;
  template <class A>
  void visit(A& a) {
    a(attr, kind, object, version, uses_swa, swa_pool, by);
  }
};

struct Remap {
  Layer to;
  EventIndex by = kNever;
  template <class A>
  void visit(A& a) {
    a(to, by);
  }
};

// What one layer of a launch dereferences.
struct Target {
  Layer logical, physical;
  Binding binding;
  EventIndex remapped_by = kNever;
  template <class A>
  void visit(A& a) {
    a(logical, physical, binding, remapped_by);
  }
};

// The targets of a launch, and the layers that share a pool gathered: a launch's rows are judged
// once for each group.
struct Targets {
  struct Group {
    std::uint32_t pool = kNoPool;
    LayerSet layers = kNoLayers;         // Physical.
    std::vector<std::uint32_t> members;  // Indices of `list`.
    template <class A>
    void visit(A& a) {
      a(pool, layers, members);
    }
  };
  std::vector<Target> list;
  std::vector<Group> groups;
  template <class A>
  void visit(A& a) {
    a(list, groups);
  }
};

struct BackendState {
  Name name = kNone, role = kNone, klass = kNone;
  EventIndex by = kNever;
  Binding all;                      // Bound for layers not bound by themselves.
  std::map<Layer, Binding> layers;  // By physical layer.
  std::map<Layer, Remap> remap;     // Logical → physical.
  std::vector<Fact> facts;
  std::uint32_t changes = 0;  // Moves with every binding and remap.
  template <class A>
  void visit(A& a) {
    a(name, role, klass, by, all, layers, remap, facts, changes);
  }
};

// A launch as a graph holds it: pointers, bindings, remaps and facts of capture.
struct CapturedLaunch {
  ev::Launch body;
  Targets targets;
  std::vector<Fact> facts;
  std::vector<std::uint32_t> pool_versions;  // One a group of `targets`.
  std::uint32_t rows_like = 0;  // The first launch of the graph whose rows are the same.
  template <class A>
  void visit(A& a) {
    a(body, targets, facts, pool_versions, rows_like);
  }
};

struct FrozenPointer {
  Name buffer = kNone;
  std::uint32_t version = 0;
  template <class A>
  void visit(A& a) {
    a(buffer, version);
  }
};

struct GraphState {
  EventIndex by = kNever;
  EventIndex launched = kNever;  // Its own last launch.
  std::vector<FrozenPointer> buffers;
  std::vector<std::pair<Name, Name>> scalars;  // Name and JSON text of capture.
  NameList inputs;
  std::vector<CapturedLaunch> launches;
  bool stepped = false;
  std::optional<ev::Rows> rows;  // Of its last launch: a stepped graph's launches use them.
  template <class A>
  void visit(A& a) {
    a(by, launched, buffers, scalars, inputs, launches, stepped, rows);
  }
};

struct ScalarState {
  Name json = kNone;
  EventIndex by = kNever;
  template <class A>
  void visit(A& a) {
    a(json, by);
  }
};

// A pending asynchronous operation.
struct Op {
  Name name = kNone, by = kNone;
  bool writes = false;
  std::uint32_t pool = kNoPool;
  std::vector<PageId> pages;  // Ascending.
  LayerSet layers = kAllLayers;
  std::int32_t stream = 0;
  std::vector<std::int32_t> ordered;  // Streams that have waited for it.
  EventIndex event = kNever;
  template <class A>
  void visit(A& a) {
    a(name, by, writes, pool, pages, layers, stream, ordered, event);
  }
};

struct ArenaExtent {
  Name owner = kNone;
  std::int64_t begin = 0, end = 0;
  EventIndex by = kNever;
  template <class A>
  void visit(A& a) {
    a(owner, begin, end, by);
  }
};

struct ArenaState {
  std::int64_t bytes = 0;
  EventIndex by = kNever;
  std::vector<ArenaExtent> extents;  // By `begin`.
  template <class A>
  void visit(A& a) {
    a(bytes, by, extents);
  }
};

}  // namespace pagetape
