// SPDX-License-Identifier: Apache-2.0
// Faults of what is written: the slots of stores, the pages of fills and copies.
#include <algorithm>

#include "verify/mutation.h"

namespace pagetape {
namespace {

// A slot that a lane stores, in a page of its own.
struct Slot {
  std::size_t row = 0, at = 0;
  std::uint32_t pool = kNoPool;
  PageId page{};
  std::int64_t offset = 0;
};

// Of a store that lists its slots, whose page is in bounds, not reserved, the lane's alone, and not
// one that was offered before it is written.
bool pick_slot(const Scene& s, Slot& out) {
  const LaunchView& view = *s.view;
  const auto* store = std::get_if<ev::Store>(&s.event.body);
  if (store == nullptr || store->rows.empty() || view.targets->groups.empty()) return false;
  out.row = static_cast<std::size_t>(s.dice.below(static_cast<std::int64_t>(store->rows.size())));
  const ev::Row& row = store->rows[out.row];
  const auto& groups = view.targets->groups;
  const auto g = static_cast<std::size_t>(s.dice.below(static_cast<std::int64_t>(groups.size())));
  out.pool = groups[g].pool;
  if (out.pool == kNoPool || row.req == kNone || !row.slots || row.slots->empty()) return false;
  out.at = static_cast<std::size_t>(s.dice.below(static_cast<std::int64_t>(row.slots->size())));
  const Pool& pool = s.world.pool(out.pool);
  const std::int64_t slot = raw((*row.slots)[out.at]);
  if (slot < 0 || slot / pool.page_size >= pool.pages) return false;
  out.page = PageId{static_cast<std::int32_t>(slot / pool.page_size)};
  out.offset = slot % pool.page_size;
  const PageInfo info = s.world.space_of(pool).info(out.page);
  return pool.reserved_page(out.page) == nullptr && !pool.keys.contains(raw(out.page)) &&
         !info.unknown && info.owner == row.req && info.more == 0;
}

bool put_slot(const Scene& s, const Slot& at, std::int64_t page, Planted& fault) {
  fault.instead = s.event;
  ev::Row& row = std::get<ev::Store>(fault.instead->body).rows.edit()[at.row];
  (*row.slots)[at.at] = SlotId{page * s.world.pool(at.pool).page_size + at.offset};
  return true;
}

bool stores_beyond_the_pool(const Scene& s, Planted& fault) {
  Slot at;
  if (!pick_slot(s, at)) return false;
  fault.object = s.view->backend->name;
  return put_slot(s, at, s.world.pool(at.pool).pages + s.dice.below(8), fault);
}

bool stores_into_a_free_page(const Scene& s, Planted& fault) {
  Slot at;
  if (!pick_slot(s, at)) return false;
  const Pool& pool = s.world.pool(at.pool);
  fault.object = pool.name;
  const PageId page = free_page(s, pool, pool.pages);
  return page != kUnknownPage && put_slot(s, at, raw(page), fault);
}

bool stores_into_anothers_page(const Scene& s, Planted& fault) {
  Slot at;
  if (!pick_slot(s, at)) return false;
  const Pool& pool = s.world.pool(at.pool);
  fault.object = pool.name;
  const Name req = std::get<ev::Store>(s.event.body).rows[at.row].req;
  const PageId page = page_of_others(s, pool, pool.pages, req);
  return page != kUnknownPage && put_slot(s, at, raw(page), fault);
}

bool stores_into_a_shared_page(const Scene& s, Planted& fault) {
  Slot at;
  if (!pick_slot(s, at)) return false;
  fault.object = s.world.pool(at.pool).name;
  fault.before.push_back(planted(s, ev::Share{fault.object, stranger(s), {at.page}, {}}));
  return true;
}

bool stores_under_a_transfer(const Scene& s, Planted& fault) {
  Slot at;
  if (!pick_slot(s, at)) return false;
  fault.object = s.world.pool(at.pool).name;
  ev::AsyncBegin op;
  op.op = s.names.intern("selfcheck");
  op.kind = s.names.intern("read");
  op.pool = fault.object;
  op.pages = {at.page};
  op.by = stranger(s);
  Event begin = planted(s, op);
  begin.stream = other_stream(s, s.event.stream);
  fault.before.push_back(std::move(begin));
  return true;
}

// One page of an event's list becomes another one that nobody owns, or that others own.
template <class T, Name T::*kPool, Pages T::*kPages, bool kOfOthers>
bool names_another_page(const Scene& s, Planted& fault) {
  fault.instead = s.event;
  T& e = std::get<T>(fault.instead->body);
  const Pool* pool = s.world.pools.find(e.*kPool);
  Pages& pages = e.*kPages;
  fault.object = e.*kPool;
  if (pool == nullptr || pages.empty()) return false;
  const PageId page =
      kOfOthers ? page_of_others(s, *pool, pool->pages, e.req) : free_page(s, *pool, pool->pages);
  if (page == kUnknownPage) return false;
  pages[static_cast<std::size_t>(s.dice.below(static_cast<std::int64_t>(pages.size())))] = page;
  return true;
}
constexpr auto kFillsAFreePage =
    names_another_page<ev::Fill, &ev::Fill::pool, &ev::Fill::pages, false>;
constexpr auto kFillsAnothersPage =
    names_another_page<ev::Fill, &ev::Fill::pool, &ev::Fill::pages, true>;
constexpr auto kCopiesFromAFreePage =
    names_another_page<ev::Copy, &ev::Copy::from_pool, &ev::Copy::from, false>;
constexpr auto kCopiesIntoAnothersPage =
    names_another_page<ev::Copy, &ev::Copy::to_pool, &ev::Copy::to, true>;

constexpr Mutation of_store(Rule rule, std::string_view name,
                            bool (*make)(const Scene&, Planted&)) {
  return {rule, name, Site::kStore, kKinds, make};
}
template <class T>
constexpr Mutation of_event(Rule rule, std::string_view name,
                            bool (*make)(const Scene&, Planted&)) {
  return {rule, name, Site::kEvent, kKindOf<T>, make};
}

constexpr Mutation kMutations[] = {
    of_store(Rule::kOobPage, "a slot beyond the pool", stores_beyond_the_pool),
    of_store(Rule::kFreedPage, "a slot of a free page", stores_into_a_free_page),
    of_event<ev::Fill>(Rule::kFreedPage, "a free page filled", kFillsAFreePage),
    of_event<ev::Copy>(Rule::kFreedPage, "a free page copied", kCopiesFromAFreePage),
    of_store(Rule::kWrongOwner, "a slot of another's page", stores_into_anothers_page),
    of_event<ev::Fill>(Rule::kWrongOwner, "another's page filled", kFillsAnothersPage),
    of_event<ev::Copy>(Rule::kWrongOwner, "another's page copied over", kCopiesIntoAnothersPage),
    of_store(Rule::kAliasedWrite, "a page shared before it is stored to",
             stores_into_a_shared_page),
    of_store(Rule::kInflightHazard, "a slot stored under an unordered read",
             stores_under_a_transfer),
};

}  // namespace

std::span<const Mutation> write_mutations() { return kMutations; }

}  // namespace pagetape
