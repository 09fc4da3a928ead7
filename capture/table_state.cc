// SPDX-License-Identifier: Apache-2.0
#include "capture/table_state.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace pagetape {

void ToldMap::add(const std::vector<CellWord>& changed, Name map, std::vector<EventBody>& bodies) {
  ev::MapClear gone{map, {}};
  ev::MapSet set{map, {}};
  for (const CellWord cell : changed) {
    const std::uint32_t from = index_of(cell);
    const std::int32_t to = std::max(value_of(cell), 0);
    if (from >= known_.size()) known_.resize(from + 1);
    if (std::exchange(known_[from], to) == to) continue;  // A full compare tells of all.
    if (to == 0) {
      gone.from.push_back(from);
    } else {
      set.pairs.emplace_back(from, to);
    }
  }
  if (!gone.from.empty()) bodies.emplace_back(std::move(gone));
  if (!set.pairs.empty()) bodies.emplace_back(std::move(set));
}

void ToldOwners::add(const std::vector<CellWord>& changed, Name pool, Name nobody,
                     const RecordDecoder& names, std::vector<EventBody>& bodies) {
  if (known_.empty()) known_.resize(pages_);
  freed_.clear();
  // The columns stand behind: a page that leaves its owner keeps the one that it had.
  for (const CellWord cell : changed) {
    const std::uint32_t index = index_of(cell);
    if (index >= pages_) known_[index - pages_].column = value_of(cell);
  }
  std::vector<Taken> taken;
  for (const CellWord cell : changed) {
    const std::uint32_t page = index_of(cell);
    if (page >= pages_) break;
    Page& known = known_[page];
    const std::int32_t now = value_of(cell);
    if (known.cell == now) continue;  // A full compare tells of all.
    // Given out while it has an owner, it was not given back: that is for the rules to say.
    if (now < kNever || (now == kNever && known.owner != kNone)) {
      add_left(page, now == kEvicted, pool, nobody, bodies);
    }
    known.cell = now;
    known.owner = kNone;
    if (now <= kNever) continue;
    known.owner = names.name(static_cast<std::uint32_t>(now));
    if (known.owner == kNone) known.owner = nobody;
    taken.push_back({now, known.column, page});
  }
  for (ev::Free& one : freed_) bodies.emplace_back(std::move(one));
  add_taken(taken, pool, bodies);
}

void ToldOwners::add_left(std::uint32_t page, bool evicted, Name pool, Name nobody,
                          std::vector<EventBody>& bodies) {
  const Page& known = known_[page];
  const PageId id{static_cast<std::int32_t>(page)};
  if (evicted && known.owner != kNone && known.column >= 0) {
    bodies.emplace_back(ev::Evict{pool, known.owner, known.column, id});
    return;
  }
  const Name owner = known.owner != kNone ? known.owner : nobody;
  auto of = std::ranges::find(freed_, owner, &ev::Free::req);
  if (of == freed_.end()) of = freed_.insert(freed_.end(), ev::Free{pool, owner, {}});
  of->pages.push_back(id);
}

// A request's pages in columns one after the other are one event.
void ToldOwners::add_taken(std::vector<Taken>& taken, Name pool, std::vector<EventBody>& bodies) {
  std::ranges::sort(taken, {}, [](const Taken& t) { return std::tuple(t.cell, t.column, t.page); });
  for (std::size_t i = 0; i < taken.size(); ++i) {
    const Taken& one = taken[i];
    const bool follows = i > 0 && taken[i - 1].cell == one.cell && taken[i - 1].column >= 0 &&
                         one.column == taken[i - 1].column + 1;
    if (!follows) {
      ev::Alloc alloc{pool, known_[one.page].owner, {}, {}};
      if (one.column >= 0) alloc.first = one.column;
      bodies.emplace_back(std::move(alloc));
    }
    std::get<ev::Alloc>(bodies.back()).pages.push_back(PageId{static_cast<std::int32_t>(one.page)});
  }
}

}  // namespace pagetape
