// SPDX-License-Identifier: Apache-2.0
// One table entry of a launch: is it in bounds, of the right space, owned, written, not evicted?
#include <algorithm>

#include "verify/judge.h"

namespace pagetape {

bool Judge::judge_entries(Ground& ground, std::size_t row, std::int64_t lo, std::int64_t hi) {
  const Lane& lane = ground.view.lanes[row];
  Whole whole;
  bool clean = true;
  if (lane.logical != nullptr) {
    for (std::size_t j = 0; j < lane.logical->size(); ++j) {
      Entry entry{.index = static_cast<std::int64_t>(j), .logical = (*lane.logical)[j], .cell = {}};
      if (entry.logical < lo || entry.logical >= hi) continue;
      if (lane.entry(entry.index, entry.cell)) {
        clean = judge_entry(ground, row, entry, whole) && clean;
      } else {
        ground.miss(lane);
      }
    }
    return clean;
  }
  // Entries that the row does not hold are judged as its width; a length is a number in a file.
  const std::int64_t end = std::min(hi, lane.first + lane.held());
  if (lo < hi && (end < hi || lo < lane.first)) ground.miss(lane);
  for (std::int64_t logical = std::max(lo, lane.first); logical < end; ++logical) {
    Entry entry{.index = logical - lane.first, .logical = logical, .cell = {}};
    if (lane.entry(entry.index, entry.cell)) {
      clean = judge_entry(ground, row, entry, whole) && clean;
    } else {
      ground.miss(lane);
      logical = lane.first + lane.next(entry.index + 1) - 1;
    }
  }
  return clean;
}

bool Judge::judge_entry(Ground& ground, std::size_t row, const Entry& entry, Whole& whole) {
  const Lane& lane = ground.view.lanes[row];
  bool clean = judge_bounds(ground, row, entry);
  const std::int64_t value = raw(entry.cell.page);
  const std::int64_t first_token = value * ground.entry_tokens;
  const std::int64_t page_size = ground.pool.page_size;
  const bool inside = clean;
  if (ground.pool.page_bytes > 0 && ground.pool.offset_bits > 0 && value >= 0) {
    ++ground.counts[static_cast<std::size_t>(Rule::kOffsetOverflow)];
    const std::int64_t last_page = (first_token + ground.entry_tokens - 1) / page_size;
    const auto end = (static_cast<unsigned __int128>(last_page) + 1) *
                     static_cast<std::uint64_t>(ground.pool.page_bytes);
    if (end > static_cast<unsigned __int128>(1) << (ground.pool.offset_bits - 1)) {
      clean = report_entry(ground, row, entry, Rule::kOffsetOverflow,
                           "lies beyond what the kernel's offset can express", kAllLayers, 0, true);
    }
  }
  if (lane.req == kNone) {
    if (!options_.strict_pad || !inside) return clean;
    const auto page = PageId{static_cast<std::int32_t>(first_token / page_size)};
    ++ground.counts[static_cast<std::size_t>(Rule::kPadLane)];
    if (ground.pool.reserved_page(page) != nullptr) return clean;
    return report_entry(ground, row, entry, Rule::kPadLane,
                        "is read by a padding lane and is not reserved", kAllLayers, 0, true);
  }
  bool spaced = judge_space(ground, row, entry);  // An entry breaks a rule once.
  clean = clean && spaced;
  if (!inside) return false;
  // One entry may stand for part of a page (a token list) or for several pages.
  const std::int64_t last_token = first_token + ground.entry_tokens - 1;
  for (std::int64_t p = first_token / page_size; p <= last_token / page_size; ++p) {
    const auto page = PageId{static_cast<std::int32_t>(p)};
    const std::int64_t before = std::max<std::int64_t>(p * page_size - first_token, 0);
    const std::int64_t logical = (entry.logical * ground.entry_tokens + before) / page_size;
    spaced = spaced && judge_value(ground, row, entry, page, logical);
    clean = clean && spaced;
    const bool ok = judge_owner(ground, row, entry, page, logical) &&
                    judge_extent_of(ground, row, entry, page, before, whole);
    clean = ok && clean;
    if (!ground.pending) continue;
    ++ground.counts[static_cast<std::size_t>(Rule::kInflightHazard)];
    const Op* op = conflicting_op(ground.world, {.pool = ground.targets.pool,
                                                 .page = page,
                                                 .party = lane.req,
                                                 .stream = stream_,
                                                 .layers = ground.targets.layers,
                                                 .writes = false,
                                                 .is_launch = true,
                                                 .whole_allocator = false});
    if (op == nullptr) continue;
    clean = report_entry(ground, row, entry, Rule::kInflightHazard,
                         "is read while operation " + std::string(names_.text(op->name)) + " of " +
                             std::string(names_.text(op->by)) + " is pending on stream " +
                             std::to_string(op->stream),
                         kAllLayers, 0, true, op->event, op->name);
  }
  return clean;
}

bool Judge::judge_bounds(Ground& ground, std::size_t row, const Entry& entry) {
  ++ground.counts[static_cast<std::size_t>(Rule::kOobPage)];
  const std::int64_t value = raw(entry.cell.page);
  if (value >= 0 && value < ground.bound) return true;
  return report_entry(
      ground, row, entry, Rule::kOobPage,
      "is outside the pool bound: valid ids are 0 to " + std::to_string(ground.bound - 1),
      kAllLayers, 0, true);
}

bool Judge::judge_space(Ground& ground, std::size_t row, const Entry& entry) {
  const Lane& lane = ground.view.lanes[row];
  const World& world = ground.world;
  const Tag& tag = world.tags[entry.cell.tag];
  const auto space_named = [&](Name name) {
    const Pool* pool = world.pools.find(name);
    return pool != nullptr ? pool->space : world.spaces.index(name);
  };
  std::uint32_t claim = ground.view.claim;
  if (claim == kNoSpace && tag.space != kNone) claim = space_named(tag.space);
  if (lane.spaces != nullptr && static_cast<std::size_t>(entry.index) < lane.spaces->size()) {
    claim = space_named((*lane.spaces)[static_cast<std::size_t>(entry.index)]);
  }
  const std::string_view unit = names_.text(ground.unit != kNone ? ground.unit : tag.unit);
  const bool unit_ok =
      unit.empty() || unit == "page" || (unit == "slot" && ground.entry_tokens == 1);
  if (claim != kNoSpace) {
    ++ground.counts[static_cast<std::size_t>(Rule::kWrongSpace)];
  }
  if (claim != kNoSpace && claim != ground.pool.space) {
    return report_entry(ground, row, entry, Rule::kWrongSpace,
                        "is an id of space " + std::string(names_.text(world.spaces[claim].name)) +
                            ", the pool bound is of space " +
                            std::string(names_.text(ground.space.name)),
                        kAllLayers, 0, true);
  }
  if (!unit_ok) {
    return report_entry(ground, row, entry, Rule::kWrongSpace,
                        "counts in " + std::string(unit) + "s, the kernel in pages", kAllLayers, 0,
                        true);
  }
  return true;
}

// By value: the entry's page is what the request's page at that column is mapped to.
bool Judge::judge_value(Ground& ground, std::size_t row, const Entry& entry, PageId page,
                        std::int64_t logical) {
  const World& world = ground.world;
  const std::int64_t size = ground.pool.page_size;
  if (ground.from_space == nullptr) return true;  // No map leads here.
  for (std::uint32_t m = 0; m < world.maps.size(); ++m) {
    const MapState& map = world.maps[m];
    if (map.to != ground.targets.pool || world.pool(map.from).page_size != size) continue;
    const Name req = ground.view.lanes[row].req;
    const Space& space = world.space_of(world.pool(map.from));
    const Holder* holder = space.holder(req);
    const Column* column =
        holder == nullptr ? nullptr : holder->columns.find(static_cast<std::uint64_t>(logical));
    if (column == nullptr || column->evicted || raw(column->page) < 0) continue;
    if (!space.follows(space.info(column->page), req, logical)) ground.followed = false;
    const std::int64_t from = raw(column->page);
    const MapEntry* mapped =
        map.entries.find(static_cast<std::uint64_t>(map.by_slot ? from * size : from));
    if (mapped == nullptr || mapped->to == 0) continue;
    const std::int64_t expected = map.by_slot ? mapped->to / size : mapped->to;
    if (expected == raw(page)) continue;
    return report_entry(ground, row, entry, Rule::kWrongSpace,
                        "is not what the map gives for page " + std::to_string(from) + ": " +
                            std::to_string(expected),
                        kAllLayers, 0, true, mapped->by);
  }
  return true;
}

// Ownership is judged where the space's allocs are recorded, or those of the space whose ids the
// table says it holds: then an owner that is missing here is missing for certain.
bool Judge::needs_alloc_seen(const Ground& ground, const Entry& entry) {
  if (coverage_.says_it_records(kKindOf<ev::Alloc>)) return true;
  if (seen_pool(ground.world, ground.targets.pool).alloc) return true;
  const Tag& tag = ground.world.tags[entry.cell.tag];
  std::uint32_t claim = ground.view.claim;
  if (claim == kNoSpace && tag.space != kNone) {
    const Pool* pool = ground.world.pools.find(tag.space);
    claim = pool != nullptr ? pool->space : ground.world.spaces.index(tag.space);
  }
  if (claim == kNoSpace) return false;
  for (std::uint32_t p : ground.world.spaces[claim].pools) {
    if (!seen_pool(ground.world, p).alloc) continue;
    seen_pool(ground.world, ground.targets.pool).owners = true;
    return true;
  }
  return false;
}

bool Judge::judge_owner(Ground& ground, std::size_t row, const Entry& entry, PageId page,
                        std::int64_t logical) {
  const Lane& lane = ground.view.lanes[row];
  const Holder* holder = ground.space.holder(lane.req);
  const Column* column =
      holder == nullptr ? nullptr : holder->columns.find(static_cast<std::uint64_t>(logical));
  ++ground.counts[static_cast<std::size_t>(Rule::kWindowEvicted)];
  if (column != nullptr && column->evicted) {
    return report_entry(
        ground, row, entry, Rule::kWindowEvicted,
        "stands at logical page " + std::to_string(logical) + ", which left the window", kAllLayers,
        0, true, column->by);
  }
  if (ground.pool.reserved_page(page) != nullptr) {
    return report_entry(ground, row, entry, Rule::kUninitRead,
                        "is reserved: it holds nothing of the request", kAllLayers, 0, true);
  }
  const PageInfo info = ground.space.info(page);
  if (column == nullptr || column->page != page) ground.followed = false;
  if (info.unknown) {
    seen_pool(ground.world, ground.targets.pool)
        .miss({Rule::kFreedPage, Rule::kWrongOwner, Rule::kUninitRead, Rule::kWindowEvicted});
    return true;
  }
  if (!ground.space.follows(info, lane.req, logical)) ground.followed = false;
  ++ground.counts[static_cast<std::size_t>(Rule::kFreedPage)];
  ++ground.counts[static_cast<std::size_t>(Rule::kWrongOwner)];
  if (info.owner == kNone) {
    if (const Space* other = ground.world.owner_elsewhere(ground.space, page)) {
      return report_entry(ground, row, entry, Rule::kWrongSpace,
                          "has an owner in another space of the allocator only", kAllLayers, 0,
                          true, other->info(page).by);
    }
    return report_entry(ground, row, entry, Rule::kFreedPage, "has no owner", kAllLayers,
                        ground.pool.space, needs_alloc_seen(ground, entry), info.by);
  }
  if (info.owner == lane.req || ground.space.owns(page, lane.req)) return true;
  return report_entry(ground, row, entry, Rule::kWrongOwner,
                      "belongs to " + std::string(names_.text(info.owner)), kAllLayers,
                      ground.pool.space, needs_alloc_seen(ground, entry), info.by);
}

bool Judge::judge_extent_of(Ground& ground, std::size_t row, const Entry& entry, PageId page,
                            std::int64_t tokens_before, Whole& whole) {
  const Lane& lane = ground.view.lanes[row];
  if (ground.space.info(page).unknown) return true;
  ++ground.counts[static_cast<std::size_t>(Rule::kUninitRead)];
  // Live positions that the entry stands for, as offsets in the page.
  const std::int64_t size = ground.pool.page_size;
  const std::int64_t live =
      ground.window > 0 ? std::max<std::int64_t>(0, lane.q_pos + 1 - ground.window) : 0;
  const std::int64_t position = entry.logical * ground.entry_tokens + tokens_before;
  const std::int64_t token = raw(entry.cell.page) * ground.entry_tokens + tokens_before;
  const std::int64_t offset = token - raw(page) * size;
  const std::int64_t n =
      std::min({ground.entry_tokens - tokens_before, size - offset, lane.len - position});
  const std::int64_t skip = std::max<std::int64_t>(0, live - position);
  if (skip >= n) return true;
  const auto begin = static_cast<std::uint32_t>(offset + skip);
  const auto end = static_cast<std::uint32_t>(offset + n);
  LayerSets& sets = ground.world.layers;
  const auto p = static_cast<std::uint32_t>(page);
  const LayerSet written = ground.pool.extents.covered(sets, p, begin, end);
  if (sets.contains(written, ground.targets.layers)) {
    const Extents::Page& of = *ground.pool.extents.pages().find(p);
    const bool by_front = of.groups == 0 && end > of.prefix;
    if (!by_front) ground.covered = sets.intersect(ground.covered, written);
    // Only pages that are whole are not judged again: what a later launch may reuse is known of
    // them alone.
    if (lane.len - position < ground.entry_tokens) return true;
    if (by_front) {
      whole.fresh = std::min(whole.fresh, entry.logical);
    } else {
      whole.layers = sets.intersect(whole.layers, written);
    }
    return true;
  }
  const bool seen = seen_pool(ground.world, ground.targets.pool).write ||
                    coverage_.says_it_records(kKindOf<ev::Store>) ||
                    coverage_.says_it_records(kKindOf<ev::Fill>);
  return report_entry(ground, row, entry, Rule::kUninitRead,
                      "was not written at every live position (" + std::to_string(position + skip) +
                          " to " + std::to_string(position + n - 1) + ')',
                      sets.subtract(ground.targets.layers, written), ground.targets.pool, seen,
                      ground.pool.extents.written_by(p));
}

// Does no page stand twice in the row? `apart`: as in a memo.
bool Judge::judge_distinct(Ground& ground, std::size_t row, std::int64_t lo, std::int64_t hi,
                           bool& apart) {
  const Lane& lane = ground.view.lanes[row];
  if (lane.req == kNone) return true;
  bool clean = true;
  apart = true;
  ++stamp_;
  const std::int64_t shift = lane.logical == nullptr ? lane.first : 0;
  std::int64_t begin = lo - shift, end = hi - shift;
  if (lane.logical != nullptr) {
    begin = 0;
    end = static_cast<std::int64_t>(lane.logical->size());
  }
  end = std::min(end, lane.held());
  for (std::int64_t j = std::max<std::int64_t>(begin, 0); j < end; j = lane.next(j + 1)) {
    Entry entry{.index = j, .logical = j + shift, .cell = {}};
    if (!lane.entry(j, entry.cell)) continue;
    const std::int64_t value = raw(entry.cell.page);
    if (value < 0 || value >= ground.bound) continue;
    if (lane.logical != nullptr) {
      entry.logical = (*lane.logical)[static_cast<std::size_t>(j)];
      if (entry.logical < lo || entry.logical >= hi) continue;
    }
    const bool direct = ground.entry_tokens == ground.pool.page_size;
    const auto page = direct ? entry.cell.page
                             : PageId{static_cast<std::int32_t>(value * ground.entry_tokens /
                                                                ground.pool.page_size)};
    if (ground.pool.reserved_page(page) != nullptr) continue;
    const PageInfo info = ground.space.info(page);
    const bool elsewhere =
        info.owner == lane.req && info.column >= 0 && info.column != entry.logical;
    apart = apart && !info.unknown && info.owner != kNone && !elsewhere;
    std::uint64_t& stamp = stamps_.at(static_cast<std::uint64_t>(value));
    if (stamp == stamp_) {
      clean = report_entry(ground, row, entry, Rule::kAliasedWrite,
                           "stands twice among the row's live entries", kAllLayers, 0, true);
    }
    stamp = stamp_;
  }
  return clean;
}

std::vector<EventIndex> Judge::cause_of(const Ground& ground, const Target& target, EventIndex cell,
                                        EventIndex because) const {
  std::vector<EventIndex> cause{cell, because, target.binding.by, target.remapped_by};
  if (ground.view.graph != nullptr) cause.push_back(ground.view.graph->by);
  for (const Fact& fact : *ground.view.facts) {
    if (!fact_stale(ground.world, fact, target.binding)) continue;
    cause.push_back(fact.by);
    cause.push_back(said_again(ground.world, fact));
  }
  return cause;
}

// Reports the entry once for each layer of `only`; always returns false.
bool Judge::report_entry(Ground& ground, std::size_t row, const Entry& entry, Rule rule,
                         const std::string& what, LayerSet only, std::uint32_t needs_object,
                         bool seen, EventIndex because, Name op) {
  const Lane& lane = ground.view.lanes[row];
  Findings& to = keeper(rule, needs_object, seen);
  for (std::uint32_t member : ground.targets.members) {
    const Target& target = ground.view.targets->list[member];
    LayerSets& sets = ground.world.layers;
    if (only != kAllLayers && !sets.contains(only, sets.of(target.physical))) continue;
    Finding f = start(rule, ground.view, target);
    f.req = lane.req;
    f.row = static_cast<std::int64_t>(row);
    f.column = entry.index;
    f.page = raw(entry.cell.page);
    f.bound = ground.bound;
    f.pool = ground.pool.name;
    f.op = op;
    if (ground.view.attention != nullptr) f.buffer = ground.view.attention->table;
    report(
        to, std::move(f),
        [&] { return "entry " + std::to_string(raw(entry.cell.page)) + ' ' + what; },
        cause_of(ground, target, entry.cell.by, because));
  }
  return false;
}

}  // namespace pagetape
