// SPDX-License-Identifier: Apache-2.0
// The state of one rank: every object by name.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "replay/objects.h"

namespace pagetape {

struct World {
  NameTable<Pool> pools;
  NameTable<Space> spaces;
  NameTable<Allocator> allocators;
  NameTable<PoolSetState> sets;
  NameTable<MapState> maps;
  NameTable<BufferState> buffers;
  NameTable<BackendState> backends;
  NameTable<GraphState> graphs;
  NameTable<ScalarState> scalars;
  NameTable<ArenaState> arenas;
  std::vector<Op> ops;                // Pending, oldest first.
  std::vector<Tag> tags{Tag{}};       // Index 0: neither space nor unit said.
  std::vector<std::uint8_t> parties;  // By raw name: it owned a page, or `request` named it.
  LayerSets layers;
  bool born_unknown = false;  // A gap without pools came: what is declared after is unknown.
  bool ops_unknown = false;   // A gap came: operations may end that were never seen to begin.
  std::int64_t step = -1;
  Name step_mode = kNone;
  std::vector<std::uint32_t> fronts;  // Pools whose extents have a front.

  Pool& pool(std::uint32_t i) { return pools[i]; }
  const Pool& pool(std::uint32_t i) const { return pools[i]; }
  Space& space_of(const Pool& pool) { return spaces[pool.space]; }
  const Space& space_of(const Pool& pool) const { return spaces[pool.space]; }
  bool is_party(Name name) const { return raw(name) < parties.size() && parties[raw(name)] != 0; }
  void make_party(Name name) {
    if (raw(name) >= parties.size()) parties.resize(raw(name) + 1);
    parties[raw(name)] = 1;
  }
  // Is the page owned in any space that draws on this space's allocator?
  bool allocated(const Space& space, PageId page) const {
    for (std::uint32_t s : allocators[space.allocator].spaces) {
      if (spaces[s].owned(page)) return true;
    }
    return false;
  }
  // Is it known in each space of its allocator who owns it?
  bool known(const Space& space, PageId page) const {
    return std::ranges::all_of(allocators[space.allocator].spaces,
                               [&](std::uint32_t s) { return spaces[s].known(page); });
  }
  // The event that last wrote the buffer; kNever where there is none.
  EventIndex rewritten(Name buffer) const {
    const BufferState* b = buffers.find(buffer);
    return b == nullptr ? kNever : b->rewritten;
  }
  // Pages of fronts are told each: before whatever writes, gives or takes pages otherwise.
  void settle() {
    for (const std::uint32_t i : fronts) pools[i].extents.settle(layers);
    fronts.clear();
  }
  void settle(std::uint32_t pool) {
    if (std::erase(fronts, pool) > 0) pools[pool].extents.settle(layers);
  }
  // Another space of the same allocator in which the page has an owner; null where none.
  const Space* owner_elsewhere(const Space& space, PageId page) const {
    for (std::uint32_t s : allocators[space.allocator].spaces) {
      if (&spaces[s] != &space && spaces[s].owned(page)) return &spaces[s];
    }
    return nullptr;
  }
};

}  // namespace pagetape
