// SPDX-License-Identifier: Apache-2.0
// Launches: bindings, table widths, and which entries of a lane have to be judged (again).
#include <algorithm>

#include "verify/judge.h"

namespace pagetape {

void Judge::on_launch(World& world, const LaunchView& view) {
  launch_number_ = view.number;
  stream_ = view.stream;
  if (view.targets == nullptr) return;  // A copy: its pages are judged one by one.
  launches_ += view.targets->list.size();
  Seen& seen = coverage_.backend(rank_, view.backend->name);
  seen.launched = true;
  seen.attended |= view.attention != nullptr;
  judge_binding(world, view);
  const auto& bound = view.attention != nullptr ? view.attention->bound : view.store->bound;
  for (std::uint32_t g = 0; g < view.targets->groups.size(); ++g) {
    const bool known = view.targets->groups[g].pool != kNoPool;
    (known || (bound && bound->pages.has_value()) ? seen.bound : seen.unbound) = true;
    if (known && view.attention != nullptr) judge_group(world, view, g);
    if (view.store != nullptr && view.claim != kNoSpace) seen.space = true;
  }
  if (view.attention == nullptr || !view.attention->table_rows.has_value()) return;
  coverage_.judged(Rule::kShortTable, 1);
  const std::int64_t most = *view.attention->table_rows;
  if (static_cast<std::int64_t>(view.lanes.size()) <= most) return;
  for (const Target& target : view.targets->list) {
    Finding f = start(Rule::kShortTable);
    f.backend = view.backend->name;
    f.graph = view.graph_name;
    f.has_layer = true;
    f.layer = target.physical;
    f.logical_layer = target.logical;
    f.row = most;
    report_event(f, std::to_string(view.lanes.size()) + " lanes of a table of " +
                        std::to_string(most) + " rows",
                 {view.graph == nullptr ? kNever : view.graph->by});
  }
}

bool Judge::fact_stale(const World& world, const Fact& fact, const Binding& binding,
                       std::string& why) const {
  std::uint32_t today = fact.version;
  switch (fact.kind) {
    case ObjectKind::kPool: today = world.pools.find(fact.object)->version; break;
    case ObjectKind::kSet: today = world.sets.find(fact.object)->version; break;
    case ObjectKind::kMap: today = world.maps.find(fact.object)->version; break;
    case ObjectKind::kBuffer: today = world.buffers.find(fact.object)->version; break;
    case ObjectKind::kNone: break;
  }
  const std::string what =
      fact.attr == kNone ? "its sliding-window state" : std::string(names_.text(fact.attr));
  const std::string object(names_.text(fact.object));
  if (today != fact.version) {
    why = what + " was derived from " + object + ", which was rebuilt since";
    return true;
  }
  const bool of_pool = fact.kind == ObjectKind::kPool || fact.kind == ObjectKind::kSet;
  if (!of_pool || binding.pool == kNoPool) return false;
  if (world.pool(binding.pool).name == fact.object || binding.set == fact.object) return false;
  if (const PoolSetState* set = world.sets.find(binding.set)) {
    for (std::uint32_t p : set->pools) {
      if (world.pool(p).name == fact.object) return false;
    }
  }
  why = what + " was derived from " + object + ", the pool bound is " +
        std::string(names_.text(world.pool(binding.pool).name));
  return true;
}

void Judge::judge_binding(World& world, const LaunchView& view) {
  const auto& bound = view.attention != nullptr ? view.attention->bound : view.store->bound;
  Seen& seen = coverage_.backend(rank_, view.backend->name);
  if (view.facts->empty() && !bound) return;
  seen.fact = true;
  coverage_.judged(Rule::kStaleBinding, view.targets->list.size());
  for (const Target& target : view.targets->list) {
    std::string why;
    EventIndex by = kNever;
    for (const Fact& fact : *view.facts) {
      if (!fact_stale(world, fact, target.binding, why)) continue;
      by = fact.by;
      break;
    }
    if (by == kNever && bound && target.binding.pool != kNoPool) {
      const Pool& pool = world.pool(target.binding.pool);
      const bool other = bound->pool != kNone && bound->pool != pool.name;
      const std::int64_t tokens = view.attention != nullptr
                                      ? view.attention->page_size.value_or(pool.page_size)
                                      : pool.page_size;
      const bool resized = bound->pages.has_value() &&
                           *bound->pages != pool.pages * pool.page_size / tokens;
      if (other) {
        why = "the tensor passed is of pool " + std::string(names_.text(bound->pool)) +
              ", the binding says " + std::string(names_.text(pool.name));
      } else if (resized) {
        why = "the tensor passed has " + std::to_string(*bound->pages) + " pages, pool " +
              std::string(names_.text(pool.name)) + " has " + std::to_string(pool.pages);
      }
      if (other || resized) by = pool.by;
    }
    if (by == kNever) continue;
    Finding f = start(Rule::kStaleBinding);
    f.backend = view.backend->name;
    f.graph = view.graph_name;
    f.has_layer = true;
    f.layer = target.physical;
    f.logical_layer = target.logical;
    if (target.binding.pool != kNoPool) {
      f.pool = world.pool(target.binding.pool).name;
      f.bound = world.pool(target.binding.pool).pages;
    }
    report(findings_, std::move(f), [&] { return why; },
           {by, target.binding.by, target.remapped_by,
            view.graph == nullptr ? kNever : view.graph->by});
  }
}

// The one map into the pool whose `from` pool has the same page size; null where none or several.
static const MapState* map_into(const World& world, std::uint32_t pool, bool& several) {
  const MapState* found = nullptr;
  several = false;
  for (std::uint32_t m = 0; m < world.maps.size(); ++m) {
    const MapState& map = world.maps[m];
    if (map.to != pool || world.pool(map.from).page_size != world.pool(pool).page_size) continue;
    several = found != nullptr;
    found = &map;
  }
  return found;
}

void Judge::judge_group(World& world, const LaunchView& view, std::uint32_t g) {
  const ev::Attention& e = *view.attention;
  const Targets::Group& targets = view.targets->groups[g];
  Pool& pool = world.pool(targets.pool);
  const std::int64_t tokens = e.page_size.value_or(pool.page_size);
  std::int64_t bound = pool.pages * pool.page_size / tokens;
  if (e.bound && e.bound->pages.has_value()) bound = *e.bound->pages;
  bool several = false;
  const MapState* map = map_into(world, targets.pool, several);
  Ground ground{.world = world,
                .view = view,
                .group = g,
                .targets = targets,
                .pool = pool,
                .space = world.space_of(pool),
                .entry_tokens = tokens,
                .bound = bound,
                .window = e.window.value_or(0),
                .map = several ? nullptr : map,
                .from_space = map == nullptr ? nullptr : &world.space_of(world.pool(map->from)),
                .pending = !world.ops.empty(),
                .unit = e.unit};
  for (std::size_t i = 0; i < view.lanes.size(); ++i) judge_lane(ground, i);
}

void Judge::judge_width(Ground& ground, std::size_t row, std::int64_t lo, std::int64_t hi) {
  const Lane& lane = ground.view.lanes[row];
  const ev::Attention& e = *ground.view.attention;
  std::int64_t width = lane.entries;
  if (e.table_cols.has_value()) width = width < 0 ? *e.table_cols : std::min(width, *e.table_cols);
  if (width < 0 || lane.logical != nullptr) return;
  coverage_.backend(rank_, ground.view.backend->name).entries = true;
  coverage_.judged(Rule::kShortTable, ground.targets.members.size());
  const bool starts_late = lo < lane.first;
  if (!starts_late && hi - lane.first <= width) return;
  for (std::uint32_t member : ground.targets.members) {
    const Target& target = ground.view.targets->list[member];
    Finding f = start(Rule::kShortTable);
    f.backend = ground.view.backend->name;
    f.graph = ground.view.graph_name;
    f.has_layer = true;
    f.layer = target.physical;
    f.logical_layer = target.logical;
    f.req = lane.req;
    f.row = static_cast<std::int64_t>(row);
    f.column = starts_late ? 0 : width;
    f.pool = ground.pool.name;
    f.bound = ground.bound;
    report(findings_, std::move(f),
           [&] {
             return "live entries " + std::to_string(lo) + " to " + std::to_string(hi - 1) +
                    " of a row that holds " + std::to_string(lane.first) + " to " +
                    std::to_string(lane.first + width - 1);
           },
           cause_of(ground, target, kNever, kNever));
  }
}

Judge::Memo* Judge::memo_of(Ground& ground, const Lane& lane) {
  const std::uint64_t table = ground.view.table, pool = ground.targets.pool;
  const bool plain = lane.table != nullptr && lane.req != kNone && lane.logical == nullptr &&
                     lane.spaces == nullptr && !ground.pending && !options_.strict_window &&
                     ground.entry_tokens == ground.pool.page_size && table < 0x10000 &&
                     pool < 0x10000 && lane.row <= INT32_MAX &&
                     (ground.map != nullptr || ground.from_space == nullptr);
  if (!plain) return nullptr;
  return &memos_[rank_][table << 48 | pool << 32 | static_cast<std::uint64_t>(lane.row)];
}

// From which entry on a lane has to be judged again; `lo` where from the start.
std::int64_t Judge::judged_from(const Ground& ground, const Lane& lane, const Memo& memo,
                                std::int64_t lo) const {
  const Holder* holder = ground.space.holder(lane.req);
  if (holder == nullptr || memo.req != lane.req || memo.birth != holder->birth ||
      memo.epoch != ground.space.epoch() || memo.pool_version != ground.pool.version ||
      memo.claim != ground.view.claim || memo.bound != ground.bound || memo.first != lane.first ||
      lo < memo.lo || !ground.world.layers.contains(memo.layers, ground.targets.layers)) {
    return lo;
  }
  std::int64_t from = memo.hi;
  const std::int64_t changed_row = lane.table->changes.low_since(memo.row_version);
  if (changed_row != INT32_MAX) from = std::min(from, changed_row + lane.first);
  from = std::min(from, holder->changes.low_since(memo.holder_version));
  if (ground.from_space != nullptr) {
    const Holder* other = ground.from_space->holder(lane.req);
    if (memo.from_epoch != ground.from_space->epoch()) return lo;
    if (other != nullptr) from = std::min(from, other->changes.low_since(memo.from_version));
  }
  return std::max(lo, from);
}

void Judge::remember(Memo& memo, const Ground& ground, const Lane& lane, std::int64_t lo,
                     std::int64_t hi, LayerSet covered) const {
  const Holder* holder = ground.space.holder(lane.req);
  if (holder == nullptr) {
    memo = {};
    return;
  }
  memo.req = lane.req;
  memo.birth = holder->birth;
  memo.row_version = lane.table->changes.version();
  memo.holder_version = holder->changes.version();
  memo.epoch = ground.space.epoch();
  memo.from_version = 0;
  memo.from_epoch = 0;
  if (ground.from_space != nullptr) {
    const Holder* other = ground.from_space->holder(lane.req);
    memo.from_version = other == nullptr ? 0 : other->changes.version();
    memo.from_epoch = ground.from_space->epoch();
  }
  memo.pool_version = ground.pool.version;
  memo.claim = ground.view.claim;
  memo.bound = ground.bound;
  memo.first = lane.first;
  memo.layers = covered;
  memo.lo = lo;
  memo.hi = lane.len / ground.entry_tokens;  // The last one may be written further.
  memo.distinct = hi;
}

void Judge::judge_lane(Ground& ground, std::size_t row) {
  const Lane& lane = ground.view.lanes[row];
  if (lane.len < 0) return;
  const std::int64_t tokens = ground.entry_tokens;
  const std::int64_t live = ground.window > 0 && !options_.strict_window
                                ? std::max<std::int64_t>(0, lane.q_pos + 1 - ground.window)
                                : 0;
  const std::int64_t lo = live / tokens;
  const std::int64_t hi = (lane.len + tokens - 1) / tokens;
  judge_width(ground, row, lo, hi);
  if (lane.pages == nullptr && lane.table == nullptr) return;
  LayerSet covered = kAllLayers;
  Memo* memo = memo_of(ground, lane);
  if (memo == nullptr) {
    judge_entries(ground, row, lo, lo, hi, covered);
    judge_distinct(ground, row, lo, hi);
    return;
  }
  const std::int64_t from = judged_from(ground, lane, *memo, lo);
  const bool reused = from > lo || (lo == memo->lo && from == memo->hi);
  if (reused) covered = memo->layers;
  const std::uint64_t skipped = static_cast<std::uint64_t>(std::max<std::int64_t>(from - lo, 0));
  for (Rule rule : {Rule::kOobPage, Rule::kWrongSpace, Rule::kFreedPage, Rule::kWrongOwner,
                    Rule::kUninitRead, Rule::kWindowEvicted}) {
    coverage_.judged(rule, skipped * ground.targets.members.size());
  }
  bool clean = judge_entries(ground, row, std::min(from, hi), lo, hi, covered);
  const bool told_apart = reused && hi <= memo->distinct && from >= memo->hi;
  if (!told_apart) clean = judge_distinct(ground, row, lo, hi) && clean;
  if (clean) {
    remember(*memo, ground, lane, lo, hi, covered);
  } else {
    *memo = {};
  }
}

bool Judge::judge_distinct(Ground& ground, std::size_t row, std::int64_t lo, std::int64_t hi) {
  const Lane& lane = ground.view.lanes[row];
  if (lane.req == kNone) return true;
  bool clean = true;
  ++stamp_;
  const std::int64_t shift = lane.logical == nullptr ? lane.first : 0;
  std::int64_t begin = lo - shift, end = hi - shift;
  if (lane.logical != nullptr) {
    begin = 0;
    end = static_cast<std::int64_t>(lane.logical->size());
  }
  if (lane.pages != nullptr) end = std::min(end, static_cast<std::int64_t>(lane.pages->size()));
  if (lane.table != nullptr && lane.table->far.empty()) {
    end = std::min(end, static_cast<std::int64_t>(lane.table->cells.size()));
  }
  for (std::int64_t j = std::max<std::int64_t>(begin, 0); j < end; ++j) {
    Entry entry{.index = j, .logical = j + shift, .cell = {}};
    if (!lane.entry(j, entry.cell)) continue;
    const std::int64_t value = raw(entry.cell.page);
    if (value < 0 || value >= ground.bound) continue;
    if (lane.logical != nullptr) {
      entry.logical = (*lane.logical)[static_cast<std::size_t>(j)];
      if (entry.logical < lo || entry.logical >= hi) continue;
    }
    const std::int64_t page = value * ground.entry_tokens / ground.pool.page_size;
    if (ground.pool.reserved_page(PageId{static_cast<std::int32_t>(page)}) != nullptr) continue;
    std::uint64_t& stamp = stamps_.at(static_cast<std::uint64_t>(value));
    if (stamp == stamp_) {
      clean = report_entry(ground, row, entry, Rule::kAliasedWrite,
                           "stands twice among the row's live entries", kAllLayers, 0, true);
    }
    stamp = stamp_;
  }
  return clean;
}

}  // namespace pagetape
