// SPDX-License-Identifier: Apache-2.0
// Launches: bindings, table widths, and which entries of a lane have to be judged (again).
#include <algorithm>
#include <span>
#include <utility>

#include "verify/judge.h"

namespace pagetape {

void Judge::on_launch(World& world, const LaunchView& view) {
  launch_number_ = view.number;
  view_ = &view;
  stream_ = view.stream;
  // What a store or a copy changed within a graph launch is judged anew behind it.
  if (view.attention == nullptr) judged_.clear();
  if (view.store != nullptr) {
    store_unit_ = unit_of(*view.store);
    store_ = view.targets == nullptr ? UsualStore() : usual_store(world, view);
    if (view.targets != nullptr && view.slot_lanes == nullptr) miss_slots(world, view);
  }
  if (view.targets == nullptr) return;  // A copy: its pages are judged one by one.
  launches_ += view.targets->list.size();
  Seen& seen = seen_backend(world, view.backend->name);
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
      known ? judge_group(world, view, g) : judge_bounds_alone(world, view, g);
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

// Of the object that a fact was copied from: its version, and the event that said it last.
static std::pair<std::uint32_t, EventIndex> today(const World& world, const Fact& fact) {
  const auto of = [](const auto* object) { return std::pair(object->version, object->by); };
  switch (fact.kind) {
    case ObjectKind::kPool:
      return of(world.pools.find(fact.object));
    case ObjectKind::kSet:
      return of(world.sets.find(fact.object));
    case ObjectKind::kMap:
      return of(world.maps.find(fact.object));
    case ObjectKind::kBuffer:
      return of(world.buffers.find(fact.object));
    case ObjectKind::kNone:
      break;
  }
  return {fact.version, kNever};
}

// Slots of a request's that nobody said: no page is known to be written by them.
void Judge::miss_slots(const World& world, const LaunchView& view) {
  const bool unknown = std::ranges::any_of(view.lanes, [&](const Lane& lane) {
    const auto slots = std::span(view.slots).subspan(lane.slots_begin, lane.slots_count);
    return lane.req != kNone && std::ranges::find(slots, SlotId{INT64_MIN}) != slots.end();
  });
  if (!unknown) return;
  seen_backend(world, view.backend->name).miss({Rule::kOobPage, Rule::kWrongSpace});
  for (const Targets::Group& group : view.targets->groups) {
    if (group.pool == kNoPool) continue;
    seen_pool(world, group.pool)
        .miss({Rule::kPadLane, Rule::kFreedPage, Rule::kWrongOwner, Rule::kAliasedWrite});
  }
}

static bool rebuilt_since(const World& world, const Fact& fact) {
  return today(world, fact).first != fact.version;
}

EventIndex Judge::said_again(const World& world, const Fact& fact) {
  const auto [version, by] = today(world, fact);
  return version != fact.version && by != kNever && by > fact.by ? by : kNever;
}

static bool of_other_pool(const World& world, const Fact& fact, const Binding& binding) {
  const bool of_pool = fact.kind == ObjectKind::kPool || fact.kind == ObjectKind::kSet;
  if (!of_pool || binding.pool == kNoPool) return false;
  if (world.pool(binding.pool).name == fact.object || binding.set == fact.object) return false;
  const PoolSetState* set = world.sets.find(binding.set);
  return set == nullptr || std::ranges::none_of(set->pools, [&](std::uint32_t p) {
           return world.pool(p).name == fact.object;
         });
}

bool Judge::fact_stale(const World& world, const Fact& fact, const Binding& binding) {
  return rebuilt_since(world, fact) || of_other_pool(world, fact, binding);
}

std::string Judge::why_stale(const World& world, const Fact& fact, const Binding& binding) const {
  const std::string derived =
      (fact.attr == kNone ? "its sliding-window state" : std::string(names_.text(fact.attr))) +
      " was derived from " + std::string(names_.text(fact.object)) + ", ";
  if (rebuilt_since(world, fact)) return derived + "which was rebuilt since";
  return derived + "the pool bound is " + std::string(names_.text(world.pool(binding.pool).name));
}

void Judge::judge_binding(World& world, const LaunchView& view) {
  const auto& bound = view.attention != nullptr ? view.attention->bound : view.store->bound;
  if (view.facts->empty() && !bound) return;
  seen_backend(world, view.backend->name).fact = true;
  coverage_.judged(Rule::kStaleBinding, view.targets->list.size());
  const Binding* right = nullptr;  // Layers bound alike are right alike.
  for (const Target& target : view.targets->list) {
    const Binding& binding = target.binding;
    if (right != nullptr && right->pool == binding.pool && right->set == binding.set) continue;
    std::string why;
    EventIndex by = kNever, again = kNever;
    const auto stale = std::ranges::find_if(
        *view.facts, [&](const Fact& fact) { return fact_stale(world, fact, binding); });
    if (stale != view.facts->end()) {
      why = why_stale(world, *stale, binding);
      by = stale->by;
      again = said_again(world, *stale);
    }
    if (by == kNever && bound && binding.pool != kNoPool) {
      const Pool& pool = world.pool(binding.pool);
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
    if (by == kNever) {
      right = &binding;
      continue;
    }
    Finding f = start(Rule::kStaleBinding, view, target);
    if (binding.pool != kNoPool) {
      f.pool = world.pool(binding.pool).name;
      f.bound = world.pool(binding.pool).pages;
    }
    report(findings_, std::move(f), [&] { return why; },
           {by, again, binding.by, target.remapped_by,
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

// How many pages, counted from 0, the kernel's signed offset can express to the last byte.
static std::int64_t pages_that_fit(const Pool& pool) {
  if (pool.page_bytes <= 0 || pool.offset_bits <= 0) return INT64_MAX;
  const unsigned __int128 limit = static_cast<unsigned __int128>(1) << (pool.offset_bits - 1);
  return static_cast<std::int64_t>(limit / static_cast<std::uint64_t>(pool.page_bytes));
}

// Entries that stood as judged before count as they did then.
void Judge::count_skipped(Ground& ground) {
  const auto count = [&](Rule rule, std::uint64_t n) {
    ground.counts[static_cast<std::size_t>(rule)] += n;
  };
  for (Rule rule : {Rule::kOobPage, Rule::kWindowEvicted}) count(rule, ground.skipped);
  for (Rule rule : {Rule::kFreedPage, Rule::kWrongOwner, Rule::kUninitRead}) {
    count(rule, ground.skipped - ground.skipped_unknown);
  }
  count(Rule::kWrongSpace, ground.skipped_claimed);
  if (ground.fits != INT64_MAX) count(Rule::kOffsetOverflow, ground.skipped);
}

void Judge::judge_group(World& world, const LaunchView& view, std::uint32_t g) {
  const ev::Attention& e = *view.attention;
  const Targets::Group& targets = view.targets->groups[g];
  Pool& pool = world.pool(targets.pool);
  const std::int64_t tokens = e.page_size.value_or(pool.page_size);
  std::int64_t bound = quotient(pool.pages * pool.page_size, tokens);
  if (e.bound && e.bound->pages.has_value()) bound = *e.bound->pages;
  bool several = false;
  const MapState* map = map_into(world, targets.pool, several);
  Ground ground{
      .world = world,
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
      .fits = pages_that_fit(pool),
      .cols = e.table_cols.value_or(-1),
      .front = pool.extents.front_in(world.layers, targets.layers) ? pool.extents.front() : 0};
  if (!several) ground.memos = memos_for(ground);
  ground.kept = ground.memos != nullptr && (view.rows_like >= 0 || ground.front != 0);
  if (!same_as_before(ground)) {
    judge_lanes(ground);
    count_skipped(ground);
    keep_judged(ground);
  }
  Seen& seen = seen_backend(world, view.backend->name);
  seen.space |= ground.counts[static_cast<std::size_t>(Rule::kWrongSpace)] > 0;
  seen.entries |= ground.counts[static_cast<std::size_t>(Rule::kShortTable)] > 0;
  if (ground.missed.entries || ground.missed.lengths) {
    seen.miss({Rule::kOobPage, Rule::kWrongSpace});
    if (ground.missed.lengths) seen.miss({Rule::kShortTable});
    seen_pool(world, targets.pool)
        .miss({Rule::kFreedPage, Rule::kWrongOwner, Rule::kUninitRead, Rule::kWindowEvicted,
               Rule::kAliasedWrite});
  }
  for (std::size_t r = 0; r < kRuleCount; ++r) {
    coverage_.judged(kRules[r].rule, ground.counts[r] * targets.members.size());
  }
}

// Nothing is bound that the trace knows, but the tensor's page count and page size: ids can be
// judged against that, and nothing else.
void Judge::judge_bounds_alone(const World& world, const LaunchView& view, std::uint32_t g) {
  const ev::Attention& e = *view.attention;
  if (!e.bound || !e.bound->pages.has_value() || !e.page_size.has_value()) return;
  const std::int64_t tokens = *e.page_size, bound = *e.bound->pages;
  bool known = true;  // Each live entry of a request's lane.
  for (std::size_t i = 0; i < view.lanes.size(); ++i) {
    view.refresh(i);
    const Lane& lane = view.lanes[i];
    if (lane.len < 0 || (lane.pages == nullptr && lane.table == nullptr)) {
      known = known && lane.req == kNone;
      continue;
    }
    const std::int64_t live =
        e.window.has_value() ? std::max<std::int64_t>(0, lane.q_pos + 1 - *e.window) : 0;
    const std::int64_t all = (lane.len + tokens - 1) / tokens - lane.first;
    // Cells far beyond the others are left out: how far they are is a number in a file.
    const std::int64_t end =
        std::min(all, lane.pages != nullptr ? lane.held()
                                            : static_cast<std::int64_t>(lane.table->cells.size()));
    known = known && (end == all || lane.req == kNone || lane.pages != nullptr);
    for (std::int64_t j = std::max<std::int64_t>(live / tokens - lane.first, 0); j < end; ++j) {
      Cell cell;
      if (!lane.entry(j, cell)) {
        known = known && lane.req == kNone;
        continue;
      }
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
  if (!known) seen_backend(world, view.backend->name).miss({Rule::kOobPage});
}

bool Judge::says_the_same(const Judged& before, const Ground& ground) {
  const ev::Attention& e = *ground.view.attention;
  return before.table == e.table && before.lens == e.lens && before.unit == e.unit &&
         before.pool == ground.targets.pool && before.claim == ground.view.claim &&
         before.window == ground.window && before.bound == ground.bound &&
         before.tokens == ground.entry_tokens && before.cols == ground.cols &&
         ground.world.layers.contains(before.covered, ground.targets.layers);
}

// Within one graph launch nothing changes between two attentions, nor between layers of which
// stores widen a front: the same lanes of the same table in the same pool are as clean for this
// layer as they were for that, if they were whole in it.
bool Judge::same_as_before(Ground& ground) {
  if (ground.memos == nullptr) return false;
  const LaunchView& view = ground.view;
  const Judged* same = nullptr;
  for (const Judged& j : judged_) {
    if (j.rows_like == view.rows_like && says_the_same(j, ground)) same = &j;
  }
  if (same == nullptr && ground.front != 0) {
    const ev::Attention& e = *view.attention;
    for (const Judged& j : cache_->of_fronts) {
      const bool lanes = view.rows_like >= 0 ? j.event == event_ && j.rows_like == view.rows_like
                                             : j.rows_like < 0 && j.rows.is(e.rows);
      if (lanes && j.front == ground.front && j.pool_version == ground.pool.version &&
          j.table_by == ground.world.rewritten(e.table) &&
          j.lens_by == ground.world.rewritten(e.lens) && says_the_same(j, ground)) {
        same = &j;
      }
    }
  }
  if (same == nullptr) return false;
  ground.counts = same->counts;
  ground.missed = same->missed;
  if (same->front != 0) stood_ += view.lanes.size();
  return true;
}

void Judge::keep_judged(const Ground& ground) {
  if (!ground.kept || !ground.clean) return;
  const World& world = ground.world;
  const ev::Attention& e = *ground.view.attention;
  const bool of_graph = ground.view.rows_like >= 0;
  Judged judged{.rows_like = ground.view.rows_like,
                .event = event_,
                .rows = {},
                .table = e.table,
                .lens = e.lens,
                .unit = e.unit,
                .pool = ground.targets.pool,
                .claim = ground.view.claim,
                .window = ground.window,
                .bound = ground.bound,
                .tokens = ground.entry_tokens,
                .cols = ground.cols,
                .covered = ground.covered,
                .counts = ground.counts,
                .missed = ground.missed,
                .front = ground.front,
                .pool_version = ground.pool.version,
                .table_by = world.rewritten(e.table),
                .lens_by = world.rewritten(e.lens)};
  if (judged.front == 0) return judged_.push_back(std::move(judged));
  if (!of_graph) judged.rows = e.rows;
  std::vector<Judged>& kept = cache_->of_fronts;
  std::erase_if(kept, [&](const Judged& old) {
    const bool over = old.rows_like >= 0 && old.event != event_;
    return over || (old.pool == judged.pool && old.front != judged.front);
  });
  constexpr std::size_t kMost = 64;  // Kinds of attentions to each pool; of engines' there are few.
  if (kept.size() == kMost) kept.clear();
  kept.push_back(std::move(judged));
}

// The lane's live entries [lo, hi) are not all in its row.
void Judge::report_width(Ground& ground, std::size_t row, std::int64_t lo, std::int64_t hi) {
  const Lane& lane = ground.view.lanes[row];
  const std::int64_t width = ground.width(lane);
  const bool starts_late = lo < lane.first;
  const std::uint32_t table = ground.view.table;
  const EventIndex of_buffer = table == UINT32_MAX ? kNever : ground.world.buffers[table].by;
  ground.clean = false;
  for (std::uint32_t member : ground.targets.members) {
    const Target& target = ground.view.targets->list[member];
    Finding f = start(Rule::kShortTable, ground.view, target);
    f.req = lane.req;
    f.row = static_cast<std::int64_t>(row);
    f.column = starts_late ? 0 : width;
    f.pool = ground.pool.name;
    f.bound = ground.bound;
    f.buffer = ground.view.attention->table;
    report(
        findings_, std::move(f),
        [&] {
          return "live entries " + std::to_string(lo) + " to " + std::to_string(hi - 1) +
                 " of a row that holds " + std::to_string(lane.first) + " to " +
                 std::to_string(lane.first + width - 1);
        },
        cause_of(ground, target, kNever, of_buffer));
  }
}

}  // namespace pagetape
