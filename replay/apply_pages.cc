// SPDX-License-Identifier: Apache-2.0
// Pages: owners, columns, extents, keys and maps.
#include <algorithm>
#include <set>
#include <utility>

#include "replay/applier.h"
#include "replay/quotient.h"

namespace pagetape {

static std::uint32_t u32(PageId page) { return static_cast<std::uint32_t>(page); }

// Pages of a list that are as they should be, where the observer is told of them by number.
Applier::Counted::Counted(Applier& applier, std::uint32_t pool, Act act)
    : applier_(applier),
      pool_(pool),
      act_(act),
      allowed_(applier.observer_ == nullptr ||
               applier.observer_->counts(applier.world_, act, pool)) {}

Applier::Counted::~Counted() {
  if (pages_ > 0 && applier_.observer_ != nullptr) {
    applier_.observer_->on_counted(applier_.world_, act_, pool_, pages_);
  }
}

void Applier::clear_content(Pool& pool, PageId page) {
  pool.extents.reset(u32(page));
  if (Name* digest = pool.digests.find(u32(page))) *digest = kNone;
}

void Applier::alloc_page(std::uint32_t p, PageId page, Name req, std::int64_t column,
                         std::int64_t position) {
  Pool& pool = world_.pool(p);
  Space& space = world_.space_of(pool);
  PageAct act{.act = Act::kAlloc, .pool = p, .page = page, .req = req, .column = position};
  if (!pool.in_bounds(page)) {
    act.fate = Fate::kOutside;
    return tell(act);
  }
  if (pool.reserved_page(page) != nullptr) {
    act.fate = Fate::kReserved;
  } else if (world_.allocated(space, page)) {
    act.fate = Fate::kTaken;
  } else if (!world_.known(space, page)) {
    act.fate = Fate::kUnknown;
  }
  tell(act);
  if (act.fate != Fate::kTaken) {
    for (std::uint32_t i : space.pools) clear_content(world_.pool(i), page);
    // A page that is reserved in this pool may have had an owner, and content, in another one.
    if (act.fate != Fate::kOk) space.touch(page);
  }
  space.give(page, req, column, index_, true);
}

Outcome Applier::on(const ev::Alloc& e) {
  const std::uint32_t p = world_.pools.index(e.pool);
  if (p == kNoPool) return undeclared(OutcomeCode::kUndeclaredPool, e.pool);
  world_.make_party(e.req);
  Pool& pool = world_.pool(p);
  Space& space = world_.space_of(pool);
  const bool alone =
      space.pools.size() == 1 && world_.allocators[space.allocator].spaces.size() == 1;
  Counted usual(*this, p, Act::kAlloc);
  Space::Handover handover(space, e.req, index_);
  std::int64_t column = e.first.value_or(-1), i = 0;
  for (PageId page : e.pages) {
    PageInfo* info = alone && pool.ordinary(page) ? handover.to_give(page) : nullptr;
    if (info != nullptr) {
      usual.add({.act = Act::kAlloc, .pool = p, .page = page, .req = e.req, .column = i});
      clear_content(pool, page);
      handover.give(*info, page, column);
    } else {
      handover.end();
      alloc_page(p, page, e.req, column, i);
    }
    ++i;
    if (column >= 0) ++column;
  }
  return {};
}

void Applier::share_page(Act what, std::uint32_t p, PageId page, Name req, std::int64_t column,
                         std::int64_t position, Name key) {
  Pool& pool = world_.pool(p);
  Space& space = world_.space_of(pool);
  PageAct act{.act = what, .pool = p, .page = page, .req = req, .column = position, .name = key};
  if (!pool.in_bounds(page)) {
    act.fate = Fate::kOutside;
    return tell(act);
  }
  if (pool.reserved_page(page) != nullptr) {
    act.fate = Fate::kReserved;
  } else if (!space.known(page)) {
    act.fate = Fate::kUnknown;
  } else if (!space.owned(page)) {
    act.fate = Fate::kNoOwner;
  }
  tell(act);
  space.give(page, req, column, index_, false);
}

Outcome Applier::on(const ev::Share& e) {
  const std::uint32_t p = world_.pools.index(e.pool);
  if (p == kNoPool) return undeclared(OutcomeCode::kUndeclaredPool, e.pool);
  world_.make_party(e.req);
  std::int64_t column = e.first.value_or(-1), i = 0;
  for (PageId page : e.pages) {
    share_page(Act::kShare, p, page, e.req, column, i++, kNone);
    if (column >= 0) ++column;
  }
  return {};
}

Outcome Applier::on(const ev::PrefixHit& e) {
  const std::uint32_t p = world_.pools.index(e.pool);
  if (p == kNoPool) return undeclared(OutcomeCode::kUndeclaredPool, e.pool);
  world_.make_party(e.req);
  share_page(Act::kPrefixHit, p, e.page, e.req, e.first.value_or(-1), 0, e.key);
  return {};
}

// True where `act.req` owned the page and does no more.
bool Applier::free_page(const PageAct& given) {
  PageAct act = given;
  const Pool& pool = world_.pool(act.pool);
  Space& space = world_.space_of(pool);
  const bool unmapped = act.act == Act::kMapFree && act.fate == Fate::kReserved;
  if (!pool.in_bounds(act.page)) {
    act.fate = Fate::kForeign;
  } else if (unmapped || pool.reserved_page(act.page) != nullptr) {
    act.fate = Fate::kReserved;
  } else if (!space.known(act.page)) {
    act.fate = Fate::kUnknown;
  } else if (!space.owns(act.page, act.req)) {
    act.fate = Fate::kForeign;
  }
  tell(act);
  return !unmapped && pool.in_bounds(act.page) && space.take(act.page, act.req, index_);
}

Outcome Applier::on(const ev::Free& e) {
  const std::uint32_t p = world_.pools.index(e.pool);
  if (p == kNoPool) return undeclared(OutcomeCode::kUndeclaredPool, e.pool);
  const Pool& pool = world_.pool(p);
  Counted usual(*this, p, Act::kFree);
  Space::Handover handover(world_.space_of(pool), e.req, index_);
  std::int64_t i = 0;
  for (PageId page : e.pages) {
    const PageAct act{.act = Act::kFree, .pool = p, .page = page, .req = e.req, .column = i++};
    if (PageInfo* info = pool.ordinary(page) ? handover.to_take(page) : nullptr) {
      usual.add(act);
      handover.take(*info);
    } else {
      handover.end();
      free_page(act);
    }
  }
  return {};
}

Outcome Applier::on(const ev::Evict& e) {
  const std::uint32_t p = world_.pools.index(e.pool);
  if (p == kNoPool) return undeclared(OutcomeCode::kUndeclaredPool, e.pool);
  const bool gone =
      free_page({.act = Act::kEvict, .pool = p, .page = e.page, .req = e.req, .column = e.logical});
  const Space& space = world_.space_of(world_.pool(p));
  // An unknown owner may well have been this one: the column is gone either way.
  if (gone || (world_.pool(p).in_bounds(e.page) && !space.known(e.page))) {
    world_.space_of(world_.pool(p)).evict_column(e.req, e.logical, index_);
  }
  return {};
}

bool Applier::first_scheduled_write(Pool& pool, PageId page, LayerSet layers, std::uint32_t begin,
                                    std::uint32_t end) {
  const auto keys = pool.keys.find(raw(page));
  if (keys == pool.keys.end()) return false;
  const bool scheduled =
      std::ranges::any_of(keys->second, [](const PrefixKeyState& k) { return k.scheduled; });
  if (!scheduled) return false;
  for (std::uint32_t i = begin; i < end; ++i) {
    const LayerSet written = pool.extents.covered(world_.layers, u32(page), i, i + 1);
    if (world_.layers.intersect(written, layers) != kNoLayers) return false;
  }
  return true;
}

Fate Applier::write_fate(const Pool& pool, PageId page, Name req) const {
  if (!pool.in_bounds(page)) return Fate::kOutside;
  if (const ReservedPage* reserved = pool.reserved_page(page)) {
    return reserved->is_null ? Fate::kNullPage : Fate::kPad;
  }
  if (req == kNone) return Fate::kPadElsewhere;
  const Space& space = world_.space_of(pool);
  const PageInfo* info = space.find(page);
  if (info == nullptr ? !space.known(page) : info->unknown) return Fate::kUnknown;
  if (info == nullptr || info->owner == kNone) return Fate::kNoOwner;
  if (!space.owns(*info, req)) return Fate::kForeign;
  return info->more == 0 ? Fate::kOk : Fate::kShared;
}

void Applier::write_page(PageAct& act, std::uint32_t begin, std::uint32_t end, Name digest,
                         Told* told) {
  Pool& pool = world_.pool(act.pool);
  const bool beyond = act.launch != nullptr && raw(act.page) >= act.launch->bound_of(pool);
  act.fate = beyond ? Fate::kOutside : write_fate(pool, act.page, act.req);
  if (act.fate == Fate::kShared && first_scheduled_write(pool, act.page, act.layers, begin, end)) {
    act.fate = Fate::kOk;
  }
  if (told == nullptr || told->emplace(raw(act.page), act.fate).second) tell(act);
  if (act.fate == Fate::kOutside || act.fate == Fate::kNullPage || act.fate == Fate::kPad) return;
  pool.extents.write(world_.layers, u32(act.page), act.layers, begin, end, index_);
  if (act.layers != kAllLayers) {
    pool.layers_written = world_.layers.unite(pool.layers_written, act.layers);
  }
  if (digest != kNone) {
    pool.digests.at(u32(act.page)) = digest;
  } else if (Name* old = pool.digests.find(u32(act.page))) {
    *old = kNone;
  }
}

Outcome Applier::on(const ev::Fill& e) {
  const std::uint32_t p = world_.pools.index(e.pool);
  if (p == kNoPool) return undeclared(OutcomeCode::kUndeclaredPool, e.pool);
  const LayerSet layers = e.layers ? world_.layers.of(*e.layers) : kAllLayers;
  Pool& pool = world_.pool(p);
  Counted usual(*this, p, Act::kFill);
  UsualWrites writes(world_, pool, pool.pages, layers, index_);
  for (std::size_t i = 0; i < e.pages.size(); ++i) {
    std::int64_t n = pool.page_size;
    if (e.slots) n = (*e.slots)[e.slots->size() == 1 ? 0 : i];
    const auto end = static_cast<std::uint32_t>(std::min<std::int64_t>(n, pool.page_size));
    if (usual.allowed() && !e.digest && writes.takes(e.req, raw(e.pages[i]))) {
      usual.add();
      writes.write(raw(e.pages[i]), 0, end);
      continue;
    }
    Name digest = kNone;
    if (e.digest) digest = e.digest->list[e.digest->per_page ? i : 0];
    PageAct act{.act = Act::kFill,
                .pool = p,
                .page = e.pages[i],
                .req = e.req,
                .column = static_cast<std::int64_t>(i),
                .layers = layers};
    write_page(act, 0, end, digest, nullptr);
  }
  return {};
}

Outcome Applier::on(const ev::PrefixKey& e) {
  Pool* pool = world_.pools.find(e.pool);
  if (pool == nullptr) return undeclared(OutcomeCode::kUndeclaredPool, e.pool);
  if (!pool->in_bounds(e.page)) return {};
  std::vector<PrefixKeyState>& keys = pool->keys[raw(e.page)];
  std::erase_if(keys, [&](const PrefixKeyState& k) { return k.key == e.key; });
  keys.push_back({e.key, state_.names().text(e.when) == "scheduled", index_});
  return {};
}

Outcome Applier::on(const ev::PrefixDrop& e) {
  Pool* pool = world_.pools.find(e.pool);
  if (pool == nullptr) return undeclared(OutcomeCode::kUndeclaredPool, e.pool);
  const auto keys = pool->keys.find(raw(e.page));
  if (keys == pool->keys.end()) return {};
  std::erase_if(keys->second, [&](const PrefixKeyState& k) { return k.key == e.key; });
  if (keys->second.empty()) pool->keys.erase(keys);
  return {};
}

// Does an entry of the `from` page still lead to the `to` page?
static bool still_mapped(const MapState& map, std::int64_t from_page, std::int64_t to_page,
                         std::uint32_t from_size, std::uint32_t to_size) {
  const std::int64_t n = map.by_slot ? from_size : 1;
  for (std::int64_t i = 0; i < n; ++i) {
    const MapEntry* entry = map.entries.find(static_cast<std::uint64_t>(from_page * n + i));
    if (entry == nullptr || entry->to == 0) continue;
    if ((map.by_slot ? entry->to / to_size : entry->to) == to_page) return true;
  }
  return false;
}

Outcome Applier::on(const ev::MapSet& e) {
  MapState* map = world_.maps.find(e.map);
  if (map == nullptr) return undeclared(OutcomeCode::kUndeclaredMap, e.map);
  const Pool &from = world_.pool(map->from), &to = world_.pool(map->to);
  Space& space = world_.space_of(from);
  const auto lives = [&](std::int64_t page) {
    return page >= 0 && page <= INT32_MAX && space.owned(PageId{static_cast<std::int32_t>(page)});
  };
  const auto known = [&](std::int64_t page) {
    return page < 0 || page > INT32_MAX || space.known(PageId{static_cast<std::int32_t>(page)});
  };
  Counted usual(*this, map->to, Act::kMapSet);
  Space::MapTouches touches(space);
  std::int64_t told_from = -1, told_to = -1, i = -1, touched = -1;
  for (const auto& [f, t] : e.pairs) {
    ++i;
    const std::int64_t from_page = map->by_slot ? quotient(f, from.page_size) : f;
    const std::int64_t to_page = map->by_slot ? quotient(t, to.page_size) : t;
    if (t != 0 && from.page_size == to.page_size) {
      std::int64_t& back = map->back.at(static_cast<std::uint64_t>(to_page));
      const std::int64_t other = back - 1;
      const bool this_lives = lives(from_page), other_lives = other != from_page && lives(other);
      const bool unknown = !known(from_page) || (other != from_page && !known(other));
      const bool twice = this_lives && other_lives &&
                         still_mapped(*map, other, to_page, from.page_size, to.page_size);
      if (to_page <= INT32_MAX && (told_from != from_page || told_to != to_page)) {
        usual.add({.act = Act::kMapSet,
                   .fate = twice     ? Fate::kShared
                           : unknown ? Fate::kUnknown
                                     : Fate::kOk,
                   .pool = map->to,
                   .page = PageId{static_cast<std::int32_t>(to_page)},
                   .column = i,
                   .name = e.map,
                   .from = f,
                   .other = twice ? other : -1});
        told_from = from_page;
        told_to = to_page;
      }
      // A live page stays remembered: a dead one that is mapped over it must not hide it.
      if (this_lives || !other_lives) back = from_page + 1;
    }
    map->entries.at(static_cast<std::uint64_t>(f)) = {t, index_};
    if (touched != from_page && from_page <= INT32_MAX) {
      touches.touch(PageId{static_cast<std::int32_t>(from_page)});
      touched = from_page;
    }
  }
  return {};
}

Outcome Applier::on(const ev::MapClear& e) {
  MapState* map = world_.maps.find(e.map);
  if (map == nullptr) return undeclared(OutcomeCode::kUndeclaredMap, e.map);
  const Pool& from = world_.pool(map->from);
  Space::MapTouches touches(world_.space_of(from));
  std::int64_t touched = -1;
  for (std::int64_t f : e.from) {
    map->entries.at(static_cast<std::uint64_t>(f)) = {0, index_};
    const std::int64_t page = map->by_slot ? quotient(f, from.page_size) : f;
    if (page == touched || page > INT32_MAX) continue;
    touches.touch(PageId{static_cast<std::int32_t>(page)});
    touched = page;
  }
  return {};
}

Outcome Applier::on(const ev::MapFree& e) {
  const MapState* map = world_.maps.find(e.map);
  if (map == nullptr) return undeclared(OutcomeCode::kUndeclaredMap, e.map);
  const std::int64_t unit = map->by_slot ? world_.pool(map->to).page_size : 1;
  const Pool& pool = world_.pool(map->to);
  Space& space = world_.space_of(pool);
  State::Cache& cache = state_.cache_;
  const std::uint64_t stamp = ++cache.stamp;
  std::set<std::int64_t> far;
  Counted usual(*this, map->to, Act::kMapFree);
  Space::Handover handover(space, e.req, index_);
  // Each distinct page once. Stamps for those alone that the space has met: others may be any
  // number in a file.
  const auto met_before = [&](std::int64_t page) {
    if (page > INT32_MAX || space.find(PageId{static_cast<std::int32_t>(page)}) == nullptr) {
      return !far.insert(page).second;
    }
    return std::exchange(cache.stamps.at(static_cast<std::uint64_t>(page)), stamp) == stamp;
  };
  std::int64_t i = -1;
  for (std::int64_t f : e.from) {
    ++i;
    const MapEntry* entry = map->entries.find(static_cast<std::uint64_t>(f));
    const bool mapped = entry != nullptr && entry->to != 0;
    if (!mapped && (e.skip_unmapped.value_or(false) ||
                    (map->unknown && (entry == nullptr || entry->by == kNever)))) {
      continue;
    }
    const std::int64_t page = mapped ? quotient(entry->to, unit) : 0;
    if (met_before(page)) continue;
    const PageId id{static_cast<std::int32_t>(std::min<std::int64_t>(page, INT32_MAX))};
    const PageAct act{.act = Act::kMapFree,
                      .fate = mapped ? Fate::kOk : Fate::kReserved,
                      .pool = map->to,
                      .page = id,
                      .req = e.req,
                      .column = i,
                      .name = e.map,
                      .from = f};
    if (PageInfo* info = mapped && pool.ordinary(id) ? handover.to_take(id) : nullptr) {
      usual.add(act);
      handover.take(*info);
    } else {
      handover.end();
      free_page(act);
    }
  }
  return {};
}

Outcome Applier::on(const ev::FreeCount& e) {
  if (world_.pools.find(e.pool) == nullptr) {
    return undeclared(OutcomeCode::kUndeclaredPool, e.pool);
  }
  return {};
}

Outcome Applier::on(const ev::Request& e) {
  world_.make_party(e.req);
  const std::string_view state = state_.names().text(e.state);
  if (state != "finish" && state != "abort") return {};
  for (std::uint32_t s = 0; s < world_.spaces.size(); ++s) world_.spaces[s].end_request(e.req);
  return {};
}

// The request's page at a logical page holds no more than its first `tokens`.
[[gnu::always_inline]] inline void Applier::cut_column(Pool& pool, Space& space, Name req,
                                                       std::int64_t logical, const Column& column,
                                                       std::uint32_t tokens) {
  if (column.page == kUnknownPage || column.evicted) return;
  const PageInfo* info = space.find(column.page);
  if (info == nullptr || !space.owns(*info, req)) return;
  pool.extents.cut(u32(column.page), tokens);
  // Read by other owners, too, or at another column of this one.
  if (info->more != 0 || info->column != logical) [[unlikely]]
    space.touch(column.page);
}

// More than the last page holds less.
void Applier::rewind_pages(Pool& pool, Name req, std::int64_t first, std::uint32_t tokens) {
  Space& space = world_.space_of(pool);
  const Holder& holder = *space.rewind(req, first);
  const auto cut = [&](std::int64_t logical, const Column& column) {
    cut_column(pool, space, req, logical, column, logical == first ? tokens : 0);
  };
  // Columns mostly follow one another: a hole ends the quick way.
  std::int64_t logical = first;
  for (;; ++logical) {
    const Column* column = holder.columns.find(static_cast<std::uint64_t>(logical));
    if (column == nullptr || column->page == kUnknownPage) break;
    cut(logical, *column);
  }
  if (logical > holder.last_column) return;
  holder.columns.for_each([&](std::uint64_t i, const Column& column) {
    const auto at = static_cast<std::int64_t>(i);
    if (at > logical) cut(at, column);
  });
}

[[gnu::always_inline]] inline void Applier::rewind(Pool& pool, const ev::Rewind& e) {
  Space& space = world_.space_of(pool);
  const Holder* holder = space.holder(e.req);
  const std::int64_t first = quotient(e.len, pool.page_size);
  if (holder == nullptr || first > holder->last_column) return;
  const auto tokens = static_cast<std::uint32_t>(e.len - first * pool.page_size);
  if (first < holder->last_column) {
    rewind_pages(pool, e.req, first, tokens);
  } else if (const Column* last = holder->columns.find(static_cast<std::uint64_t>(first))) {
    cut_column(pool, space, e.req, first, *last, tokens);
  }
}

Outcome Applier::on(const ev::Rewind& e) {
  Pool* pool = world_.pools.find(e.pool);
  if (pool == nullptr) return undeclared(OutcomeCode::kUndeclaredPool, e.pool);
  rewind(*pool, e);
  return {};
}

bool Applier::run(std::span<const ev::Rewind> rewinds) {
  for (const ev::Rewind& e : rewinds) {
    if (world_.pools.index(e.pool) == kNoPool) return false;
  }
  world_.settle();
  for (const ev::Rewind& e : rewinds) rewind(*world_.pools.find(e.pool), e);
  return true;
}

}  // namespace pagetape
