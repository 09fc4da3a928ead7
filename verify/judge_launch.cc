// SPDX-License-Identifier: Apache-2.0
// Launches: bindings, table widths, and which entries of a lane have to be judged (again).
#include <algorithm>

#include "verify/judge.h"

namespace pagetape {

void Judge::on_launch(World& world, const LaunchView& view) {
  launch_number_ = view.number;
  stream_ = view.stream;
  // What a store or a copy changed within a graph launch is judged anew behind it.
  if (view.attention == nullptr) judged_.clear();
  if (view.targets == nullptr) return;  // A copy: its pages are judged one by one.
  launches_ += view.targets->list.size();
  Seen& seen = coverage_.backend(rank_, view.backend->name);
  seen.launched = true;
  seen.attended |= view.attention != nullptr;
  judge_binding(world, view);
  const auto& bound = view.attention != nullptr ? view.attention->bound : view.store->bound;
  for (std::uint32_t g = 0; g < view.targets->groups.size(); ++g) {
    const bool known = view.targets->groups[g].pool != kNoPool;
    const bool alone = bound && bound->pages.has_value() && view.attention != nullptr &&
                       view.attention->page_size.has_value();
    (known || alone ? seen.bound : seen.unbound) = true;
    if (view.attention != nullptr) {
      known ? judge_group(world, view, g) : judge_bounds_alone(view, g);
    }
    if (view.store != nullptr && view.claim != kNoSpace) seen.space = true;
  }
  if (view.attention == nullptr || !view.attention->table_rows.has_value()) return;
  coverage_.judged(Rule::kShortTable, 1);
  const std::int64_t most = *view.attention->table_rows;
  if (static_cast<std::int64_t>(view.lanes.size()) <= most) return;
  for (const Target& target : view.targets->list) {
    Finding f = start(Rule::kShortTable, view, target);
    f.row = most;
    report_event(f,
                 std::to_string(view.lanes.size()) + " lanes of a table of " +
                     std::to_string(most) + " rows",
                 {view.graph == nullptr ? kNever : view.graph->by});
  }
}

bool Judge::fact_stale(const World& world, const Fact& fact, const Binding& binding,
                       std::string& why) const {
  std::uint32_t today = fact.version;
  switch (fact.kind) {
    case ObjectKind::kPool:
      today = world.pools.find(fact.object)->version;
      break;
    case ObjectKind::kSet:
      today = world.sets.find(fact.object)->version;
      break;
    case ObjectKind::kMap:
      today = world.maps.find(fact.object)->version;
      break;
    case ObjectKind::kBuffer:
      today = world.buffers.find(fact.object)->version;
      break;
    case ObjectKind::kNone:
      break;
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
      const bool resized =
          bound->pages.has_value() && *bound->pages != pool.pages * pool.page_size / tokens;
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
    Finding f = start(Rule::kStaleBinding, view, target);
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

// The lanes' memos for this launch; null where its lanes cannot be judged by what changed.
std::vector<Judge::Memo>* Judge::memos_for(const World& world, const LaunchView& view,
                                           std::uint32_t group) {
  const std::uint32_t pool = view.targets->groups[group].pool;
  const bool direct =
      view.attention->page_size.value_or(world.pool(pool).page_size) == world.pool(pool).page_size;
  if (view.table == UINT32_MAX || !direct || !world.ops.empty() || options_.strict_window ||
      !options_.reuse) {
    return nullptr;
  }
  return &cache_->memos[{view.table, pool}];
}

// How many pages, counted from 0, the kernel's signed offset can express to the last byte.
static std::int64_t pages_that_fit(const Pool& pool) {
  if (pool.page_bytes <= 0 || pool.offset_bits <= 0) return INT64_MAX;
  const unsigned __int128 limit = static_cast<unsigned __int128>(1) << (pool.offset_bits - 1);
  return static_cast<std::int64_t>(limit / static_cast<std::uint64_t>(pool.page_bytes));
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
                .unit = e.unit,
                .seen = coverage_.backend(rank_, view.backend->name),
                .fits = pages_that_fit(pool),
                .memos = several ? nullptr : memos_for(world, view, g)};
  if (!same_as_before(ground)) {
    for (std::size_t i = 0; i < view.lanes.size(); ++i) judge_lane(ground, i);
    keep_judged(ground);
  }
  for (std::size_t r = 0; r < kRuleCount; ++r) {
    coverage_.judged(kRules[r].rule, ground.counts[r] * targets.members.size());
  }
}

// Nothing is bound that the trace knows, but the tensor's page count and page size: ids can be
// judged against that, and nothing else.
void Judge::judge_bounds_alone(const LaunchView& view, std::uint32_t g) {
  const ev::Attention& e = *view.attention;
  if (!e.bound || !e.bound->pages.has_value() || !e.page_size.has_value()) return;
  const std::int64_t tokens = *e.page_size, bound = *e.bound->pages;
  for (std::size_t i = 0; i < view.lanes.size(); ++i) {
    const Lane& lane = view.lanes[i];
    if (lane.len < 0 || (lane.pages == nullptr && lane.table == nullptr)) continue;
    const std::int64_t held = lane.pages != nullptr
                                  ? static_cast<std::int64_t>(lane.pages->size())
                                  : static_cast<std::int64_t>(lane.table->cells.size());
    const std::int64_t live =
        e.window.has_value() ? std::max<std::int64_t>(0, lane.q_pos + 1 - *e.window) : 0;
    const std::int64_t end = std::min((lane.len + tokens - 1) / tokens - lane.first, held);
    for (std::int64_t j = std::max<std::int64_t>(live / tokens - lane.first, 0); j < end; ++j) {
      Cell cell;
      if (!lane.entry(j, cell)) continue;
      coverage_.judged(Rule::kOobPage, view.targets->groups[g].members.size());
      if (raw(cell.page) >= 0 && raw(cell.page) < bound) continue;
      for (std::uint32_t member : view.targets->groups[g].members) {
        Finding f = start(Rule::kOobPage, view, view.targets->list[member]);
        f.req = lane.req;
        f.row = static_cast<std::int64_t>(i);
        f.column = j;
        f.page = raw(cell.page);
        f.bound = bound;
        report_event(f, "entry " + std::to_string(f.page) + " is outside the tensor passed",
                     {cell.by, view.graph == nullptr ? kNever : view.graph->by});
      }
    }
  }
}

// Within one graph launch nothing changes between two attentions: the same lanes of the same table
// in the same pool are as clean for this layer as they were for that, if they were whole in it.
bool Judge::same_as_before(Ground& ground) {
  if (ground.view.rows_like < 0 || ground.memos == nullptr) return false;
  const ev::Attention& e = *ground.view.attention;
  for (const Judged& j : judged_) {
    if (j.rows_like == ground.view.rows_like && j.table == e.table && j.lens == e.lens &&
        j.unit == e.unit && j.pool == ground.targets.pool && j.claim == ground.view.claim &&
        j.window == ground.window && j.bound == ground.bound && j.tokens == ground.entry_tokens &&
        j.cols == e.table_cols.value_or(-1) &&
        ground.world.layers.contains(j.covered, ground.targets.layers)) {
      ground.counts = j.counts;
      return true;
    }
  }
  return false;
}

void Judge::keep_judged(const Ground& ground) {
  if (ground.view.rows_like < 0 || ground.memos == nullptr || !ground.clean) return;
  const ev::Attention& e = *ground.view.attention;
  judged_.push_back({.rows_like = ground.view.rows_like,
                     .table = e.table,
                     .lens = e.lens,
                     .unit = e.unit,
                     .pool = ground.targets.pool,
                     .claim = ground.view.claim,
                     .window = ground.window,
                     .bound = ground.bound,
                     .tokens = ground.entry_tokens,
                     .cols = e.table_cols.value_or(-1),
                     .covered = ground.covered,
                     .counts = ground.counts});
}

void Judge::judge_width(Ground& ground, std::size_t row, std::int64_t lo, std::int64_t hi) {
  const Lane& lane = ground.view.lanes[row];
  const ev::Attention& e = *ground.view.attention;
  std::int64_t width = lane.entries;
  if (e.table_cols.has_value()) width = width < 0 ? *e.table_cols : std::min(width, *e.table_cols);
  if (width < 0 || lane.logical != nullptr) return;
  ground.seen.entries = true;
  ++ground.counts[static_cast<std::size_t>(Rule::kShortTable)];
  const bool starts_late = lo < lane.first;
  if (!starts_late && hi - lane.first <= width) return;
  ground.clean = false;
  for (std::uint32_t member : ground.targets.members) {
    const Target& target = ground.view.targets->list[member];
    Finding f = start(Rule::kShortTable, ground.view, target);
    f.req = lane.req;
    f.row = static_cast<std::int64_t>(row);
    f.column = starts_late ? 0 : width;
    f.pool = ground.pool.name;
    f.bound = ground.bound;
    report(
        findings_, std::move(f),
        [&] {
          return "live entries " + std::to_string(lo) + " to " + std::to_string(hi - 1) +
                 " of a row that holds " + std::to_string(lane.first) + " to " +
                 std::to_string(lane.first + width - 1);
        },
        cause_of(ground, target, kNever, kNever));
  }
}

Judge::Memo* Judge::memo_of(Ground& ground, const Lane& lane) {
  constexpr std::int64_t kMostRows = 1 << 16;
  const bool plain = ground.memos != nullptr && lane.table != nullptr && lane.req != kNone &&
                     lane.logical == nullptr && lane.spaces == nullptr && lane.row < kMostRows;
  if (!plain) return nullptr;
  const auto row = static_cast<std::size_t>(lane.row);
  if (row >= ground.memos->size()) ground.memos->resize(row + 1);
  return &(*ground.memos)[row];
}

// From which entry on a lane has to be judged again; -1 where the memo does not apply.
std::int64_t Judge::judged_from(const Ground& ground, const Lane& lane, const Memo& memo,
                                std::int64_t lo, std::int64_t live) const {
  const Holder* holder = ground.space.holder(lane.req);
  if (holder == nullptr || memo.req != lane.req || memo.birth != holder->birth ||
      memo.epoch != ground.space.epoch() || memo.pool_version != ground.pool.version ||
      memo.claim != ground.view.claim || memo.bound != ground.bound || memo.first != lane.first ||
      memo.unit != ground.unit || live < memo.live ||
      !ground.world.layers.contains(memo.layers, ground.targets.layers)) {
    return -1;
  }
  std::int64_t from = memo.hi;
  const std::int64_t changed_row = lane.table->changes.low_since(memo.row_version);
  if (changed_row != INT32_MAX) from = std::min(from, changed_row + lane.first);
  from = std::min(from, holder->changes.low_since(memo.holder_version));
  if (ground.from_space != nullptr) {
    const Holder* other = ground.from_space->holder(lane.req);
    if (memo.from_epoch != ground.from_space->epoch()) return -1;
    if (other != nullptr) from = std::min(from, other->changes.low_since(memo.from_version));
  }
  return std::max(lo, from);
}

void Judge::remember(Memo& memo, const Ground& ground, const Lane& lane, std::int64_t live,
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
  memo.live = live;
  memo.unit = ground.unit;
  memo.lo = live / ground.entry_tokens;
  memo.hi = lane.len / ground.entry_tokens;  // The last one may be written further.
  memo.distinct = hi;
  const Cell* last = lane.table->find(hi - 1 - lane.first);
  memo.tag = last == nullptr ? 0 : last->tag;
}

// Are entries [from, hi) clean, by the few looks that a lane costs which grew by some tokens?
// False says nothing: the full judgement follows.
bool Judge::quick(Ground& ground, const Lane& lane, const Memo& memo, std::int64_t from,
                  std::int64_t live, std::int64_t hi) const {
  const Holder* holder = ground.space.holder(lane.req);
  const auto cells = static_cast<std::int64_t>(lane.table->cells.size());
  if (hi - lane.first > cells || from < lane.first) return false;
  for (std::int64_t logical = from; logical < hi; ++logical) {
    const Cell& cell = lane.table->cells[static_cast<std::size_t>(logical - lane.first)];
    const Column* column = holder->columns.find(static_cast<std::uint64_t>(logical));
    // The column's own page is owned, unless something touched it: then it is looked at below.
    if (cell.tag != memo.tag || raw(cell.page) < 0 ||
        raw(cell.page) >= std::min(ground.bound, ground.fits) || column == nullptr ||
        column->evicted || column->page != cell.page ||
        ground.pool.reserved_page(cell.page) != nullptr) {
      return false;
    }
    const PageInfo* info = ground.space.find(cell.page);
    if (info == nullptr || info->unknown || info->owner != lane.req) return false;
    const std::int64_t position = logical * ground.entry_tokens;
    const auto begin = static_cast<std::uint32_t>(std::max<std::int64_t>(0, live - position));
    const auto end = static_cast<std::uint32_t>(std::min(ground.entry_tokens, lane.len - position));
    if (begin < end && !ground.pool.extents.plainly_covers(static_cast<std::uint32_t>(cell.page),
                                                           memo.layers, end)) {
      return false;
    }
    if (ground.map == nullptr) continue;
    const Column* source = nullptr;
    if (const Holder* other = ground.from_space->holder(lane.req)) {
      source = other->columns.find(static_cast<std::uint64_t>(logical));
    }
    if (source == nullptr || ground.map->by_slot || source->evicted) return false;
    const MapEntry* mapped = ground.map->entries.find(static_cast<std::uint32_t>(source->page));
    if (mapped == nullptr || mapped->to != raw(cell.page)) return false;
  }
  return true;
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
    const bool clean = judge_entries(ground, row, lo, lo, hi, covered);
    ground.clean = judge_distinct(ground, row, lo, hi) && clean && ground.clean;
    if (lane.req != kNone) ground.covered = kNoLayers;  // Not known entry by entry.
    return;
  }
  const std::int64_t kept = judged_from(ground, lane, *memo, lo, live);
  const bool reused = kept >= 0;
  const std::int64_t from = reused ? std::min(kept, hi) : lo;
  if (reused) covered = memo->layers;
  bool clean = true;
  ground.aligned = true;
  std::int64_t skipped = from - lo;
  if (reused && quick(ground, lane, *memo, from, live, hi)) {
    skipped = hi - lo;
  } else {
    clean = judge_entries(ground, row, from, lo, hi, covered);
  }
  const bool claimed = ground.view.claim != kNoSpace || ground.world.tags[memo->tag].space != kNone;
  for (Rule rule : {Rule::kOobPage, Rule::kWrongSpace, Rule::kFreedPage, Rule::kWrongOwner,
                    Rule::kUninitRead, Rule::kWindowEvicted}) {
    if (rule == Rule::kWrongSpace && !claimed) continue;
    ground.counts[static_cast<std::size_t>(rule)] += static_cast<std::uint64_t>(skipped);
  }
  if (ground.fits != INT64_MAX) {
    ground.counts[static_cast<std::size_t>(Rule::kOffsetOverflow)] +=
        static_cast<std::uint64_t>(skipped);
  }
  const std::int64_t moved = lane.table->changes.low_since(memo->row_version);
  const bool told_apart = reused && hi <= memo->distinct &&
                          (moved == INT32_MAX || moved + lane.first >= memo->distinct);
  if (!told_apart) clean = judge_distinct(ground, row, lo, hi) && clean;
  ground.clean = ground.clean && clean;
  // What changes is known by column: a lane that lists a page elsewhere is not remembered.
  if (clean && ground.aligned) {
    // What was reused was whole in the memo's layers; what was judged now has told its own.
    if (reused) ground.covered = ground.world.layers.intersect(ground.covered, memo->layers);
    remember(*memo, ground, lane, live, hi, covered);
  } else {
    *memo = {};
    ground.covered = kNoLayers;
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
