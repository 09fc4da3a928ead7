// SPDX-License-Identifier: Apache-2.0
// The whole state as bytes, and back; and its digest, which is the hash of those bytes.
#include <xxhash.h>

#include <algorithm>

#include "replay/archive.h"
#include "replay/state.h"

namespace pagetape {

// Moves when what a keyframe holds changes: an older one is then rebuilt, not read. Not where logs
// of touches would say less today: with those of an older one more is judged again, and parts that
// begin with one do not join, which is all. Nor where the same stands in another order, as the side
// tables of extents do in older ones.
static constexpr std::uint32_t kKeyframeVersion = 3;

template <class A>
static void visit_world(A& a, World& w) {
  a.use(w.layers);
  a(w.pools, w.spaces, w.allocators, w.sets, w.maps, w.buffers, w.backends, w.graphs, w.scalars,
    w.arenas, w.ops, w.tags, w.born_unknown, w.ops_unknown, w.step, w.step_mode);
}

// Names that ever owned a page or were requests, in the order of their text's first use.
static std::vector<Name> parties(const World& world) {
  std::vector<Name> out;
  for (std::uint32_t i = 0; i < world.parties.size(); ++i) {
    if (world.parties[i] != 0) out.push_back(Name{i});
  }
  return out;
}

std::string State::save() const {
  std::optional<State> scratch;
  const State& settled = this->settled(scratch);
  SaveArchive archive(*names_);
  archive(kKeyframeVersion, next_, static_cast<std::uint64_t>(worlds_.size()));
  for (const auto& [rank, world] : settled.worlds_) {
    archive(rank);
    visit_world(archive, const_cast<World&>(world));
    std::vector<Name> names = parties(world);
    // By text: two readers may have interned them in different orders.
    std::ranges::sort(names, {}, [&](Name n) { return names_->text(n); });
    archive(names);
  }
  return archive.take();
}

std::uint64_t State::digest() const { return digest_of(save()); }

std::uint64_t State::digest_of(std::string_view saved) {
  return XXH3_64bits(saved.data(), saved.size());
}

// Does a captured launch name what exists?
static bool body_ok(const World& w, const ev::Launch& launch) {
  return std::visit(
      [&]<class L>(const L& body) {
        if constexpr (std::is_same_v<L, ev::Copy>) {
          return w.pools.find(body.from_pool) != nullptr && w.pools.find(body.to_pool) != nullptr &&
                 body.from.size() == body.to.size();
        } else {
          return w.backends.find(body.backend) != nullptr && (body.layer || body.layers);
        }
      },
      launch);
}

// Do all indices from one object to another lead somewhere?
static bool consistent(World& w) {
  const auto pool_ok = [&](std::uint32_t p) { return p == kNoPool || p < w.pools.size(); };
  const auto targets_ok = [&](const Targets& targets) {
    for (const Targets::Group& group : targets.groups) {
      if (!pool_ok(group.pool) || static_cast<std::uint32_t>(group.layers) >= w.layers.size()) {
        return false;
      }
      for (std::uint32_t m : group.members) {
        if (m >= targets.list.size()) return false;
      }
    }
    return true;
  };
  const auto layers_ok = [&](LayerSet set) {
    return static_cast<std::size_t>(set) < w.layers.size();
  };
  const auto facts_ok = [&](const std::vector<Fact>& facts) {
    return std::ranges::all_of(facts, [&](const Fact& f) {
      return (f.kind == ObjectKind::kPool && w.pools.find(f.object) != nullptr) ||
             (f.kind == ObjectKind::kSet && w.sets.find(f.object) != nullptr) ||
             (f.kind == ObjectKind::kMap && w.maps.find(f.object) != nullptr) ||
             (f.kind == ObjectKind::kBuffer && w.buffers.find(f.object) != nullptr);
    });
  };
  bool ok = !w.tags.empty();
  for (std::uint32_t p = 0; p < w.pools.size(); ++p) {
    const Pool& pool = w.pools[p];
    ok = ok && pool.space < w.spaces.size() && pool.page_size > 0 &&
         pool.extents.consistent(w.layers.size(), pool.page_size) && layers_ok(pool.layers_written);
  }
  for (std::uint32_t s = 0; s < w.spaces.size(); ++s) {
    ok = ok && w.spaces[s].allocator < w.allocators.size() && w.spaces[s].consistent();
    for (std::uint32_t p : w.spaces[s].pools) ok = ok && p < w.pools.size();
  }
  for (std::uint32_t i = 0; i < w.allocators.size(); ++i) {
    for (std::uint32_t s : w.allocators[i].spaces) ok = ok && s < w.spaces.size();
  }
  for (std::uint32_t i = 0; i < w.sets.size(); ++i) {
    for (std::uint32_t p : w.sets[i].pools) ok = ok && p < w.pools.size();
  }
  for (std::uint32_t i = 0; i < w.maps.size(); ++i) {
    ok = ok && w.maps[i].from < w.pools.size() && w.maps[i].to < w.pools.size();
  }
  for (std::uint32_t i = 0; i < w.backends.size(); ++i) {
    ok = ok && pool_ok(w.backends[i].all.pool) && facts_ok(w.backends[i].facts);
    for (const auto& [layer, binding] : w.backends[i].layers) ok = ok && pool_ok(binding.pool);
  }
  for (std::uint32_t i = 0; i < w.graphs.size(); ++i) {
    for (const CapturedLaunch& launch : w.graphs[i].launches) {
      ok = ok && targets_ok(launch.targets) && facts_ok(launch.facts) && body_ok(w, launch.body) &&
           launch.pool_versions.size() == launch.targets.groups.size();
    }
    for (const FrozenPointer& pointer : w.graphs[i].buffers) {
      ok = ok && w.buffers.find(pointer.buffer) != nullptr;
    }
    for (Name input : w.graphs[i].inputs) ok = ok && w.buffers.find(input) != nullptr;
  }
  for (const Op& op : w.ops) ok = ok && op.pool < w.pools.size() && layers_ok(op.layers);
  for (std::uint32_t i = 0; i < w.buffers.size(); ++i) {
    w.buffers[i].table.for_each([&](std::uint64_t, const TableRow& row) {
      for (const Cell& cell : row.cells) ok = ok && cell.tag < w.tags.size();
      for (const auto& [col, cell] : row.far) ok = ok && cell.tag < w.tags.size();
    });
  }
  return ok;
}

Status State::load(std::string_view bytes, Names& names) {
  LoadArchive archive(bytes, names);
  std::uint32_t version = 0;
  std::uint64_t count = 0;
  EventIndex next = 0;
  std::map<std::int64_t, World> worlds;
  archive(version, next, count);
  if (version != kKeyframeVersion) return damaged("a keyframe of another version");
  bool good = true;
  for (; count > 0 && archive.ok() && good; --count) {
    std::int64_t rank = 0;
    archive(rank);
    World& world = worlds[rank];
    std::vector<Name> parties;
    visit_world(archive, world);
    archive(parties);
    for (Name name : parties) world.make_party(name);
    good = archive.ok() && consistent(world);
  }
  worlds_.clear();
  cache_ = {};
  next_ = 0;
  names_ = &names;
  if (!archive.ok() || !archive.at_end() || !good) return damaged("a keyframe that is damaged");
  worlds_ = std::move(worlds);
  next_ = next;
  return {};
}

}  // namespace pagetape
