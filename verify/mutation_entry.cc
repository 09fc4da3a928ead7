// SPDX-License-Identifier: Apache-2.0
// Faults of one live entry of an attention: the table's cell, or what happened to its page.
#include <algorithm>

#include "replay/lanes.h"
#include "replay/quotient.h"
#include "verify/mutation.h"

namespace pagetape {
namespace {

constexpr int kTries = 32;  // To find a page that fits.

// A live entry that the kernel will follow.
struct Entry {
  std::size_t lane_index = 0;
  const Lane* lane = nullptr;
  std::uint32_t pool = kNoPool;
  EntryUnit unit;
  std::int64_t index = 0;       // In the row.
  std::int64_t logical = 0;     // Which tokens it stands for, in entries.
  std::int64_t lo = 0, hi = 0;  // The lane's live entries that it holds.
  Cell cell;
};

// Any of the row's entries in [lo, hi).
bool pick_listed(const Scene& s, const Lane& lane, Entry& out) {
  std::int64_t met = 0;
  for (std::size_t j = 0; j < lane.logical->size(); ++j) {
    const std::int64_t logical = (*lane.logical)[j];
    if (logical < out.lo || logical >= out.hi || s.dice.below(++met) != 0) continue;
    out.index = static_cast<std::int64_t>(j);
    out.logical = logical;
  }
  return met > 0 && lane.entry(out.index, out.cell);
}

// Any live entry of a request, in a pool that is known.
bool pick_entry(const Scene& s, Entry& out) {
  const LaunchView& view = *s.view;
  const ev::Attention& e = *view.attention;
  if (view.lanes.empty() || view.targets->groups.empty()) return false;
  out.lane_index =
      static_cast<std::size_t>(s.dice.below(static_cast<std::int64_t>(view.lanes.size())));
  const Lane& lane = view.lanes[out.lane_index];
  const auto& groups = view.targets->groups;
  const auto g = static_cast<std::size_t>(s.dice.below(static_cast<std::int64_t>(groups.size())));
  out.pool = groups[g].pool;
  if (out.pool == kNoPool || lane.req == kNone || lane.len < 0) return false;
  out.lane = &lane;
  out.unit = entry_unit(e, s.world.pool(out.pool));
  const std::int64_t tokens = out.unit.tokens;
  const std::int64_t live =
      e.window.has_value() ? std::max<std::int64_t>(0, lane.q_pos + 1 - *e.window) : 0;
  out.lo = live / tokens;
  out.hi = quotient(lane.len + tokens - 1, tokens);
  if (lane.logical != nullptr) return pick_listed(s, lane, out);
  out.lo = std::max(out.lo, lane.first);
  out.hi = std::min(out.hi, lane.first + lane.held());
  if (out.lo >= out.hi) return false;
  out.logical = out.lo + s.dice.below(out.hi - out.lo);
  out.index = out.logical - lane.first;
  return lane.entry(out.index, out.cell);
}

// An entry that is a page, and a common one of the pool: in bounds, known, not reserved, and the
// request's at that column alone.
bool pick_owned(const Scene& s, Entry& at) {
  if (!pick_entry(s, at)) return false;
  const Pool& pool = s.world.pool(at.pool);
  const Space& space = s.world.space_of(pool);
  if (at.unit.tokens != pool.page_size) return false;
  if (!pool.in_bounds(at.cell.page) || raw(at.cell.page) >= at.unit.bound) return false;
  if (pool.reserved_page(at.cell.page) != nullptr) return false;
  const PageInfo info = space.info(at.cell.page);
  const Holder* holder = space.holder(at.lane->req);
  const Column* column =
      holder == nullptr ? nullptr : holder->columns.find(static_cast<std::uint64_t>(at.logical));
  if (column == nullptr || column->evicted || column->page != at.cell.page) return false;
  return !info.unknown && info.owner == at.lane->req && info.more == 0 &&
         s.world.owner_elsewhere(space, at.cell.page) == nullptr;
}

// The launch's table says another page, or other words about it.
bool put_cell(const Scene& s, const Entry& at, PageId page, Tag tag, Planted& fault) {
  if (at.lane->table != nullptr) {
    ev::Table table;
    table.buffer = s.view->attention->table;
    table.row = at.lane->row;
    table.col = at.index;
    table.pages = {page};
    table.req = at.lane->req;
    table.space = tag.space;
    table.unit = tag.unit;
    fault.before.push_back(planted(s, table));
    return table.buffer != kNone;
  }
  if (!std::holds_alternative<ev::Attention>(s.event.body)) return false;
  fault.instead = s.event;
  auto& rows = std::get<ev::Attention>(fault.instead->body).rows.edit();
  if (at.lane_index >= rows.size() || !rows[at.lane_index].pages) return false;
  (*rows[at.lane_index].pages)[static_cast<std::size_t>(at.index)] = page;
  return true;
}

bool put_page(const Scene& s, const Entry& at, PageId page, Planted& fault) {
  return put_cell(s, at, page, s.world.tags[at.cell.tag], fault);
}

Name pool_name(const Scene& s, const Entry& at) { return s.world.pool(at.pool).name; }

bool beyond_the_pool(const Scene& s, Planted& fault) {
  Entry at;
  if (!pick_entry(s, at)) return false;
  fault.object = s.view->backend->name;
  const std::int64_t far = s.dice.below(8);
  const std::int64_t page = far < 6 ? at.unit.bound + far : -1 - far;
  return put_page(s, at, PageId{static_cast<std::int32_t>(page)}, fault);
}

bool of_another_unit(const Scene& s, Planted& fault) {
  Entry at;
  if (!pick_entry(s, at) || at.lane->table == nullptr) return false;
  if (s.view->attention->unit != kNone || at.unit.tokens == 1) return false;
  fault.object = s.view->backend->name;
  Tag tag = s.world.tags[at.cell.tag];
  tag.unit = s.names.intern("slot");
  return put_cell(s, at, at.cell.page, tag, fault);
}

bool of_another_space(const Scene& s, Planted& fault) {
  Entry at;
  if (!pick_entry(s, at) || at.lane->table == nullptr || s.view->claim != kNoSpace) return false;
  if (at.lane->spaces != nullptr) return false;
  fault.object = s.view->backend->name;
  const auto other =
      static_cast<std::uint32_t>(s.dice.below(static_cast<std::int64_t>(s.world.spaces.size())));
  const Name name = s.world.spaces.key(other);
  if (name == kNone || other == s.world.pool(at.pool).space) return false;
  // A pool of that name may lie in another space.
  if (const Pool* pool = s.world.pools.find(name); pool != nullptr && pool->space != other) {
    return false;
  }
  Tag tag = s.world.tags[at.cell.tag];
  tag.space = name;
  return put_cell(s, at, at.cell.page, tag, fault);
}

bool fact_rebuilt(const Scene& s, Planted& fault) {
  if (s.view->facts->empty()) return false;
  fault.object = s.view->backend->name;
  const auto i = s.dice.below(static_cast<std::int64_t>(s.view->facts->size()));
  const Fact& fact = (*s.view->facts)[static_cast<std::size_t>(i)];
  if (fact.kind == ObjectKind::kNone) return false;
  fault.before.push_back(planted(s, ev::Version{fact.object}));
  return true;
}

// The backend gets another pool, through no set, and keeps what it copied from the old one.
bool pool_swapped(const Scene& s, Planted& fault) {
  if (s.view->graph != nullptr || s.view->attention->bound || s.world.pools.size() == 0) {
    return false;
  }
  fault.object = s.view->backend->name;
  const auto p =
      static_cast<std::uint32_t>(s.dice.below(static_cast<std::int64_t>(s.world.pools.size())));
  const Name other = s.world.pools.key(p);
  const bool stale = std::ranges::any_of(*s.view->facts, [&](const Fact& fact) {
    return (fact.kind == ObjectKind::kPool && fact.object != other) ||
           fact.kind == ObjectKind::kSet;
  });
  if (other == kNone || !stale) return false;
  ev::PoolSwap swap;
  swap.backend = s.view->backend->name;
  swap.layers.all = true;
  swap.pool = other;
  fault.before.push_back(planted(s, swap));
  return true;
}

bool table_too_narrow(const Scene& s, Planted& fault) {
  Entry at;
  if (!pick_entry(s, at) || !std::holds_alternative<ev::Attention>(s.event.body)) return false;
  if (at.lane->logical != nullptr) return false;
  fault.object = s.view->backend->name;
  fault.instead = s.event;
  std::get<ev::Attention>(fault.instead->body).table_cols = at.hi - at.lane->first - 1;
  return true;
}

bool given_a_free_page(const Scene& s, Planted& fault) {
  Entry at;
  if (!pick_owned(s, at)) return false;
  const Pool& pool = s.world.pool(at.pool);
  fault.object = pool.name;
  const PageId page = free_page(s, pool, at.unit.bound);
  return page != kUnknownPage && put_page(s, at, page, fault);
}

bool freed_too_early(const Scene& s, Planted& fault) {
  Entry at;
  if (!pick_owned(s, at)) return false;
  fault.object = pool_name(s, at);
  fault.before.push_back(planted(s, ev::Free{fault.object, at.lane->req, {at.cell.page}}));
  return true;
}

bool neighbours_page(const Scene& s, Planted& fault) {
  Entry at;
  if (!pick_owned(s, at)) return false;
  const Pool& pool = s.world.pool(at.pool);
  fault.object = pool.name;
  const PageId page = page_of_others(s, pool, at.unit.bound, at.lane->req);
  return page != kUnknownPage && put_page(s, at, page, fault);
}

bool given_away(const Scene& s, Planted& fault) {
  Entry at;
  if (!pick_owned(s, at)) return false;
  fault.object = pool_name(s, at);
  fault.before.push_back(planted(s, ev::Free{fault.object, at.lane->req, {at.cell.page}}));
  fault.before.push_back(planted(s, ev::Alloc{fault.object, stranger(s), {at.cell.page}, {}}));
  return true;
}

bool page_listed_twice(const Scene& s, Planted& fault) {
  Entry at;
  if (!pick_owned(s, at) || at.hi - at.lo < 2 || at.lane->logical != nullptr) return false;
  fault.object = pool_name(s, at);
  const std::int64_t step = 1 + s.dice.below(at.hi - at.lo - 1);
  const PageId page = at.cell.page;
  at.logical = at.lo + (at.logical - at.lo + step) % (at.hi - at.lo);
  at.index = at.logical - at.lane->first;
  return at.lane->entry(at.index, at.cell) && put_page(s, at, page, fault);
}

bool page_given_twice(const Scene& s, Planted& fault) {
  Entry at;
  if (!pick_owned(s, at)) return false;
  fault.object = pool_name(s, at);
  fault.before.push_back(planted(s, ev::Alloc{fault.object, stranger(s), {at.cell.page}, {}}));
  return true;
}

bool unordered_write(const Scene& s, Planted& fault) {
  Entry at;
  if (!pick_owned(s, at)) return false;
  fault.object = pool_name(s, at);
  ev::AsyncBegin op;
  op.op = s.names.intern("selfcheck");
  op.kind = s.names.intern("write");
  op.pool = fault.object;
  op.pages = {at.cell.page};
  op.by = stranger(s);
  Event begin = planted(s, op);
  begin.stream = other_stream(s, s.view->stream);
  fault.before.push_back(std::move(begin));
  return true;
}

// Given out again to the same request: what was written before does not count. The page lies
// before the query's position, so that the launch's own step does not write it.
bool given_out_anew(const Scene& s, Planted& fault) {
  Entry at;
  if (!pick_owned(s, at) || std::holds_alternative<ev::GraphCapture>(s.event.body)) return false;
  const std::int64_t size = s.world.pool(at.pool).page_size;
  if ((at.logical + 1) * size > std::min(at.lane->q_pos, at.lane->len - at.lane->q_len))
    return false;
  fault.object = pool_name(s, at);
  const Pages pages{at.cell.page};
  fault.before.push_back(planted(s, ev::Free{fault.object, at.lane->req, pages}));
  fault.before.push_back(planted(s, ev::Alloc{fault.object, at.lane->req, pages, at.logical}));
  return true;
}

bool reserved_read(const Scene& s, Planted& fault) {
  Entry at;
  if (!pick_owned(s, at)) return false;
  const Pool& pool = s.world.pool(at.pool);
  fault.object = pool.name;
  if (pool.reserved.empty()) return false;
  const PageId page = pool.reserved.front().page;
  return raw(page) < at.unit.bound && put_page(s, at, page, fault);
}

bool evicted_too_early(const Scene& s, Planted& fault) {
  Entry at;
  if (!pick_owned(s, at)) return false;
  fault.object = pool_name(s, at);
  fault.before.push_back(
      planted(s, ev::Evict{fault.object, at.lane->req, at.logical, at.cell.page}));
  return true;
}

bool freed_by_a_stranger(const Scene& s, Planted& fault) {
  Entry at;
  if (!pick_owned(s, at)) return false;
  fault.object = pool_name(s, at);
  fault.before.push_back(planted(s, ev::Free{fault.object, stranger(s), {at.cell.page}}));
  return true;
}

// The pool said again as before, but for an offset that is too narrow for the entry's page.
bool offset_too_narrow(const Scene& s, Planted& fault) {
  Entry at;
  if (!pick_owned(s, at)) return false;
  const Pool& pool = s.world.pool(at.pool);
  const Space& space = s.world.space_of(pool);
  fault.object = pool.name;
  if (pool.page_bytes <= 0 || pool.offset_bits <= 0) return false;
  const auto end = (static_cast<unsigned __int128>(raw(at.cell.page)) + 1) *
                   static_cast<std::uint64_t>(pool.page_bytes);
  std::int64_t bits = pool.offset_bits;
  while (bits > 1 && end <= static_cast<unsigned __int128>(1) << (bits - 1)) --bits;
  if (end <= static_cast<unsigned __int128>(1) << (bits - 1)) return false;
  ev::Pool again;
  again.pool = pool.name;
  again.pages = pool.pages;
  again.page_size = pool.page_size;
  again.kind = pool.kind;
  again.space = space.name;
  again.allocator = s.world.allocators.key(space.allocator);
  again.page_bytes = pool.page_bytes;
  again.offset_bits = bits;
  again.reserved.emplace();
  for (const ReservedPage& r : pool.reserved) {
    again.reserved->push_back({r.page, s.names.intern(r.is_null ? "null" : "pad")});
  }
  fault.before.push_back(planted(s, again));
  return true;
}

constexpr Mutation of_entry(Rule rule, std::string_view name,
                            bool (*make)(const Scene&, Planted&)) {
  return {rule, name, Site::kEntry, kKinds, make};
}

constexpr Mutation kMutations[] = {
    of_entry(Rule::kOobPage, "an entry beyond the pool", beyond_the_pool),
    of_entry(Rule::kWrongSpace, "a cell of another space", of_another_space),
    of_entry(Rule::kWrongSpace, "a cell in another unit", of_another_unit),
    of_entry(Rule::kStaleBinding, "what a fact was copied from is rebuilt", fact_rebuilt),
    of_entry(Rule::kStaleBinding, "another pool bound, the facts kept", pool_swapped),
    of_entry(Rule::kShortTable, "a table too narrow by one", table_too_narrow),
    of_entry(Rule::kFreedPage, "an entry that names a free page", given_a_free_page),
    of_entry(Rule::kFreedPage, "a page freed before it is read", freed_too_early),
    of_entry(Rule::kWrongOwner, "an entry that names another's page", neighbours_page),
    of_entry(Rule::kWrongOwner, "a page given to another before it is read", given_away),
    of_entry(Rule::kAliasedWrite, "a page twice in a row", page_listed_twice),
    of_entry(Rule::kAliasedWrite, "an owned page given out", page_given_twice),
    of_entry(Rule::kInflightHazard, "a page read under an unordered write", unordered_write),
    of_entry(Rule::kUninitRead, "a page given out anew before it is read", given_out_anew),
    of_entry(Rule::kUninitRead, "an entry that names a reserved page", reserved_read),
    of_entry(Rule::kWindowEvicted, "a live page evicted", evicted_too_early),
    of_entry(Rule::kFreelist, "a page freed by a stranger", freed_by_a_stranger),
    of_entry(Rule::kOffsetOverflow, "an offset too narrow for the page", offset_too_narrow),
};

}  // namespace

Event planted(const Scene& scene, EventBody body) {
  Event event;
  event.body = std::move(body);
  event.rank = scene.event.rank;
  event.stream = scene.event.stream;
  return event;
}

std::int32_t other_stream(const Scene& s, std::int32_t stream) {
  const auto by = 1 + static_cast<std::int32_t>(s.dice.below(4));
  return stream > INT32_MAX - 4 ? stream - by : stream + by;
}

Name stranger(const Scene& s) { return s.names.intern("#selfcheck"); }

PageId free_page(const Scene& s, const Pool& pool, std::int64_t bound) {
  const Space& space = s.world.space_of(pool);
  const std::int64_t pages = std::min(pool.pages, bound);
  for (int i = 0; i < kTries && pages > 0; ++i) {
    const PageId page{static_cast<std::int32_t>(s.dice.below(pages))};
    const PageInfo info = space.info(page);
    if (info.unknown || info.owner != kNone || pool.reserved_page(page) != nullptr) continue;
    if (s.world.owner_elsewhere(space, page) == nullptr) return page;
  }
  return kUnknownPage;
}

PageId page_of_others(const Scene& s, const Pool& pool, std::int64_t bound, Name req) {
  const Space& space = s.world.space_of(pool);
  std::int64_t met = 0;
  PageId chosen = kUnknownPage;
  space.for_each_owned([&](PageId page, const PageInfo& info) {
    if (info.unknown || !pool.in_bounds(page) || raw(page) >= bound) return;
    if (space.owns(page, req) || pool.reserved_page(page) != nullptr) return;
    if (s.dice.below(++met) == 0) chosen = page;
  });
  return chosen;
}

std::span<const Mutation> entry_mutations() { return kMutations; }

}  // namespace pagetape
