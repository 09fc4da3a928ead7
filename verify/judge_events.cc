// SPDX-License-Identifier: Apache-2.0
// The judge's frame, and the rules of whole events.
#include "verify/judge.h"

namespace pagetape {

Finding Judge::start(Rule rule) const {
  Finding f;
  f.rule = rule;
  f.event = event_;
  f.rank = rank_;
  f.step = current_->step;
  f.launch = launch_number_;
  return f;
}

Finding Judge::start(Rule rule, const LaunchView& view, const Target& target) const {
  Finding f = start(rule);
  f.backend = view.backend->name;
  f.graph = view.graph_name;
  f.has_layer = true;
  f.layer = target.physical;
  f.logical_layer = target.logical;
  return f;
}

Findings& Judge::keeper(Rule rule, std::uint32_t object, bool seen) {
  if (seen || !options_.hold_back) return findings_;
  const auto key = std::tuple(rule, rank_, object);
  return held_.try_emplace(key, options_.max_findings).first->second;
}

void Judge::release(Rule rule, std::uint32_t object) {
  const auto held = held_.find(std::tuple(rule, rank_, object));
  if (held == held_.end()) return;
  findings_.merge(std::move(held->second));
  held_.erase(held);
}

void Judge::report_event(Finding finding, std::string message, std::vector<EventIndex> cause) {
  report(
      findings_, std::move(finding), [&] { return message; }, std::move(cause));
}

void Judge::finish() { held_.clear(); }

void Judge::append(Judge&& later, Renaming& renamed) {
  later_holds_ |= later.holds();
  findings_.append(std::move(later.findings_), renamed);
  coverage_.append(later.coverage_, renamed);
  launches_ += later.launches_;
}

Seen& Judge::meet_pool(const World& world, std::uint32_t pool) {
  std::vector<Seen*>& seen = cache_->pools;
  if (pool >= seen.size()) seen.resize(pool + 1);
  seen[pool] = &coverage_.pool(rank_, world.pool(pool).name);
  return *seen[pool];
}

Seen& Judge::seen_backend(const World& world, Name backend) {
  std::vector<Seen*>& seen = cache_->backends;
  const std::uint32_t index = world.backends.index(backend);
  if (index >= seen.size()) seen.resize(index + 1);
  if (seen[index] == nullptr) seen[index] = &coverage_.backend(rank_, backend);
  return *seen[index];
}

void Judge::note_pool(const World& world, Name name, bool Seen::*what) {
  const std::uint32_t index = world.pools.index(name);
  if (index == kNoPool) return;
  Seen& seen = seen_pool(world, index);
  if (seen.*what) return;
  seen.*what = true;
  const Pool* pool = &world.pool(index);
  if (what == &Seen::alloc) {
    // Owners are the space's: every pool addressed by it has seen them.
    for (std::uint32_t p : world.space_of(*pool).pools) {
      coverage_.pool(rank_, world.pool(p).name).alloc = true;
    }
    release(Rule::kFreedPage, pool->space);
    release(Rule::kWrongOwner, pool->space);
  } else if (what == &Seen::write) {
    release(Rule::kUninitRead, index);
  }
}

void Judge::miss_operations(const World& world) {
  for (std::uint32_t p = 0; p < world.pools.size(); ++p) miss_operations(world.pool(p).name);
}

// Has the map an entry of the event's that was never set since a gap?
static bool leads_nowhere_known(const MapState& map, const ev::MapFree& e) {
  return std::ranges::any_of(e.from, [&](std::int64_t from) {
    const MapEntry* entry = map.entries.find(static_cast<std::uint64_t>(from));
    return entry == nullptr || entry->by == kNever;
  });
}

// Most kinds are nothing to the rules as whole events.
template <class T>
void Judge::judge_whole(const World& world, const T& e) {
  if constexpr (std::is_same_v<T, ev::Pool>) {
    Seen& seen = coverage_.pool(rank_, e.pool);
    seen.reserved |= e.reserved && !e.reserved->empty();
    seen.offset |= e.page_bytes.has_value() && e.offset_bits.has_value();
    if (world.born_unknown) seen.miss({Rule::kInflightHazard});
    const Name space = e.space != kNone ? e.space : e.pool;
    if (const Space* s = world.spaces.find(space)) {
      for (std::uint32_t p : s->pools) {
        seen.alloc |= coverage_.pool(rank_, world.pool(p).name).alloc;
      }
    }
  } else if constexpr (std::is_same_v<T, ev::Backend>) {
    coverage_.backend(rank_, e.backend);
  } else if constexpr (std::is_same_v<T, ev::Alloc> || std::is_same_v<T, ev::Share>) {
    note_pool(world, e.pool, &Seen::alloc);
  } else if constexpr (std::is_same_v<T, ev::Free>) {
    note_pool(world, e.pool, &Seen::free);
  } else if constexpr (std::is_same_v<T, ev::Evict>) {
    note_pool(world, e.pool, &Seen::evict);
    note_pool(world, e.pool, &Seen::free);
  } else if constexpr (std::is_same_v<T, ev::Fill>) {
    note_pool(world, e.pool, &Seen::write);
    if (e.digest) note_pool(world, e.pool, &Seen::digest);
  } else if constexpr (std::is_same_v<T, ev::AsyncBegin>) {
    note_pool(world, e.pool, &Seen::async);
  } else if constexpr (std::is_same_v<T, ev::MapSet> || std::is_same_v<T, ev::MapFree>) {
    if (const MapState* map = world.maps.find(e.map)) {
      note_pool(world, world.pool(map->to).name, &Seen::free);
      if constexpr (std::is_same_v<T, ev::MapFree>) {
        if (map->unknown && leads_nowhere_known(*map, e)) {
          seen_pool(world, map->to).miss({Rule::kFreelist});
        }
      }
    }
  } else if constexpr (std::is_same_v<T, ev::Gap>) {
    // Operations may have begun that were never seen to.
    if (e.pools) {
      for (const Name pool : *e.pools) {
        if (world.pools.find(pool) != nullptr) miss_operations(pool);
      }
    } else {
      miss_operations(world);
    }
  } else if constexpr (std::is_same_v<T, ev::Dropped>) {
    miss_operations(world);
  } else if constexpr (std::is_same_v<T, ev::FreeCount>) {
    note_pool(world, e.pool, &Seen::free);
    judge_free_count(world, e);
  } else if constexpr (std::is_same_v<T, ev::Table>) {
    judge_table(world, e);
  } else if constexpr (std::is_same_v<T, ev::Extent>) {
    judge_extent(world, e);
  } else if constexpr (std::is_same_v<T, ev::View>) {
    judge_view(e);
  } else if constexpr (std::is_same_v<T, ev::Access>) {
    judge_access(e);
  }
}

void Judge::on_event(const World& world, const Event& event, EventIndex index) {
  current_ = &world;
  event_ = index;
  const std::int64_t rank = event.rank.value_or(INT64_MIN);
  if (rank != rank_ || cache_ == nullptr) cache_ = &caches_[rank];
  rank_ = rank;
  judged_.clear();
  stream_ = event.stream;
  launch_number_ = -1;
  view_ = nullptr;
  coverage_.note(event, names_);
  std::visit([&](const auto& body) { judge_whole(world, body); }, event.body);
}

void Judge::judge_view(const ev::View& e) {
  coverage_.judged(Rule::kGeometry, 1);
  if (e.allocator == e.kernel) return;
  Finding f = start(Rule::kGeometry);
  f.object = e.object;
  report_event(f,
               "the allocator counts " + std::to_string(e.allocator) + ", the kernel " +
                   std::to_string(e.kernel),
               {});
}

void Judge::judge_access(const ev::Access& e) {
  coverage_.judged(Rule::kShortTable, 1);
  if (e.used <= e.capacity) return;
  Finding f = start(Rule::kShortTable);
  f.object = e.object;
  report_event(f,
               std::to_string(e.used) + " entries are used of an object that holds " +
                   std::to_string(e.capacity),
               {});
}

void Judge::judge_table(const World& world, const ev::Table& e) {
  const BufferState* buffer = world.buffers.find(e.buffer);
  if (buffer == nullptr || (buffer->rows < 0 && buffer->cols < 0)) return;
  coverage_.judged(Rule::kShortTable, 1);
  const std::int64_t end = e.col + static_cast<std::int64_t>(e.pages.size());
  const bool wide = buffer->cols >= 0 && end > buffer->cols;
  const bool high = buffer->rows >= 0 && e.row >= buffer->rows;
  if (!wide && !high) return;
  Finding f = start(Rule::kShortTable);
  f.buffer = e.buffer;
  f.req = e.req;
  f.row = e.row;
  f.column = wide ? std::max(e.col, buffer->cols) : e.col;
  report_event(f,
               "a cell at row " + std::to_string(e.row) + ", column " + std::to_string(f.column) +
                   " of a table of " + (buffer->rows < 0 ? "?" : std::to_string(buffer->rows)) +
                   " by " + (buffer->cols < 0 ? "?" : std::to_string(buffer->cols)),
               {buffer->by});
}

void Judge::judge_extent(const World& world, const ev::Extent& e) {
  const ArenaState* arena = world.arenas.find(e.arena);
  if (arena == nullptr) return;
  coverage_.judged(Rule::kGeometry, 1);
  Finding f = start(Rule::kGeometry);
  f.object = e.owner;
  const std::string span = '[' + std::to_string(e.begin) + ", " + std::to_string(e.end) + ')';
  if (e.begin < 0 || e.end > arena->bytes || e.begin > e.end) {
    return report_event(f, span + " leaves the arena of " + std::to_string(arena->bytes) + " bytes",
                        {arena->by});
  }
  for (const ArenaExtent& other : arena->extents) {
    if (other.owner == e.owner || other.begin >= e.end || e.begin >= other.end) continue;
    return report_event(f,
                        span + " overlaps the extent of " + std::string(names_.text(other.owner)),
                        {arena->by, other.by});
  }
}

void Judge::judge_free_count(const World& world, const ev::FreeCount& e) {
  const Pool* pool = world.pools.find(e.pool);
  if (pool == nullptr) return;
  coverage_.judged(Rule::kFreelist, 1);
  const std::int64_t most = pool->pages - static_cast<std::int64_t>(pool->reserved.size());
  if (e.free >= 0 && e.free <= most) return;
  Finding f = start(Rule::kFreelist);
  f.pool = e.pool;
  f.bound = pool->pages;
  report_event(
      f, std::to_string(e.free) + " pages free of a pool that can have " + std::to_string(most),
      {pool->by});
}

void Judge::on_graph_launch(const World& world, Name name, const GraphState& graph) {
  coverage_.judged(Rule::kGraphStale, 1);
  const auto stale = [&](Name object, std::string message, EventIndex since) {
    Finding f = start(Rule::kGraphStale);
    f.graph = name;
    f.object = object;
    report_event(f, std::move(message), {graph.by, since});
  };
  for (const FrozenPointer& pointer : graph.buffers) {
    const BufferState* buffer = world.buffers.find(pointer.buffer);
    if (buffer->version != pointer.version) {
      stale(pointer.buffer, "the graph froze a pointer to a buffer that was reallocated since",
            buffer->by);
    }
  }
  const auto plain = [&](Name json) {
    std::string_view text = names_.text(json);
    if (text.size() >= 2 && text.front() == '"') text = text.substr(1, text.size() - 2);
    return text;
  };
  for (const auto& [scalar, value] : graph.scalars) {
    const ScalarState* now = world.scalars.find(scalar);
    if (now == nullptr || plain(now->json) == plain(value)) continue;
    stale(scalar,
          "the graph froze " + std::string(plain(value)) + ", the value today is " +
              std::string(plain(now->json)),
          now->by);
  }
  for (Name input : graph.inputs) {
    const BufferState* buffer = world.buffers.find(input);
    const EventIndex last = graph.launched == kNever ? graph.by : graph.launched;
    if (buffer->rewritten != kNever && buffer->rewritten > last) continue;
    stale(input,
          "an input that was not rewritten since " +
              std::string(graph.launched == kNever ? "the capture" : "the last launch"),
          last);
  }
  std::vector<Name> told;
  for (const CapturedLaunch& launch : graph.launches) {
    for (std::size_t g = 0; g < launch.targets.groups.size(); ++g) {
      const std::uint32_t p = launch.targets.groups[g].pool;
      if (p == kNoPool || world.pool(p).version == launch.pool_versions[g]) continue;
      const Name pool = world.pool(p).name;
      if (std::ranges::find(told, pool) != told.end()) continue;
      told.push_back(pool);
      stale(pool, "the graph binds a pool that was resized or rebuilt since", world.pool(p).by);
    }
  }
}

}  // namespace pagetape
