// SPDX-License-Identifier: Apache-2.0
#include "capture/table_state.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

namespace pagetape {
namespace {

// Pages that came to one holder: those in columns one after the other are one event, and those of
// which no column is known, an Alloc or a Share.
template <class Told>
void add_runs(std::span<const PlacedPage> placed, Name pool, Name who,
              std::vector<EventBody>& bodies) {
  for (std::size_t i = 0; i < placed.size(); ++i) {
    const std::int32_t column = placed[i].column;
    const std::int64_t due =
        i == 0 || placed[i - 1].column < 0 ? -1 : std::int64_t{placed[i - 1].column} + 1;
    if (i == 0 || column != due) {
      Told told{pool, who, {}, {}};
      if (column >= 0) told.first = column;
      bodies.emplace_back(std::move(told));
    }
    std::get<Told>(bodies.back())
        .pages.push_back(PageId{static_cast<std::int32_t>(placed[i].page)});
  }
}

}  // namespace

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
  freed_.clear();
  // The columns stand behind: a page that leaves its owner keeps the one that it had.
  for (const CellWord cell : changed) {
    const std::uint32_t index = index_of(cell), page = index - holders_.pages();
    if (index >= holders_.pages() && page < known_.size()) known_[page].column = value_of(cell);
  }
  std::vector<Taken> taken;
  for (const CellWord cell : changed) {
    const std::uint32_t page = index_of(cell);
    if (page >= holders_.pages()) break;
    Page& known = known_[page];
    const std::int32_t now = value_of(cell);
    if (known.cell == now) continue;  // A full compare tells of all.
    // Given out while it has an owner, it was not given back: that is for the rules to say.
    if (now < kNever || (now == kNever && holders_.held(page))) {
      add_left(page, now == kEvicted, pool, nobody, bodies);
    }
    known.cell = now;
    if (now > kNever) taken.push_back({now, {known.column, page}});
  }
  for (ev::Free& one : freed_) bodies.emplace_back(std::move(one));
  add_taken(taken, pool, nobody, names, bodies);
}

// From all that held it.
void ToldOwners::add_left(std::uint32_t page, bool evicted, Name pool, Name nobody,
                          std::vector<EventBody>& bodies) {
  const PageId id{static_cast<std::int32_t>(page)};
  holders_.let_go(page, left_);
  if (left_.empty()) left_.push_back({nobody, -1});
  for (const Holders::Holder& holder : left_) {
    if (evicted && holder.column >= 0) {
      bodies.emplace_back(ev::Evict{pool, holder.who, holder.column, id});
      continue;
    }
    auto of = std::ranges::find(freed_, holder.who, &ev::Free::req);
    if (of == freed_.end()) of = freed_.insert(freed_.end(), ev::Free{pool, holder.who, {}});
    of->pages.push_back(id);
  }
}

void ToldOwners::add_taken(std::vector<Taken>& taken, Name pool, Name nobody,
                           const RecordDecoder& names, std::vector<EventBody>& bodies) {
  std::ranges::sort(taken, {},
                    [](const Taken& t) { return std::tuple(t.cell, t.at.column, t.at.page); });
  for (std::size_t i = 0; i < taken.size();) {
    const std::int32_t cell = taken[i].cell;
    Name owner = names.name(static_cast<std::uint32_t>(cell));
    if (owner == kNone) owner = nobody;
    gained_.clear();
    for (; i < taken.size() && taken[i].cell == cell; ++i) {
      holders_.hold(taken[i].at.page, {owner, taken[i].at.column}, owner != nobody);
      gained_.push_back(taken[i].at);
    }
    add_runs<ev::Alloc>(gained_, pool, owner, bodies);
  }
}

void ToldOwners::named(std::span<const std::int32_t> pages, Name pool, Name request,
                       std::int64_t first, std::vector<EventBody>& bodies) {
  gained_.clear();
  const auto most = std::numeric_limits<std::int32_t>::max() - std::ssize(pages);
  if (first < 0 || first > most) return;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    const auto page = static_cast<std::uint32_t>(pages[i]);
    if (pages[i] <= 0 || page >= holders_.pages() || holders_.holds(page, request)) continue;
    const auto column = static_cast<std::int32_t>(first + static_cast<std::int64_t>(i));
    holders_.hold(page, {request, column}, true);
    gained_.push_back({column, page});
  }
  add_runs<ev::Share>(gained_, pool, request, bodies);
}

void ToldOwners::moved(Name pool, Name from, Name to, bool keeps, std::vector<EventBody>& bodies) {
  std::vector<std::uint32_t> moved;
  holders_.move(from, to, keeps, moved, gained_);
  std::ranges::stable_sort(gained_, {}, &PlacedPage::column);
  add_runs<ev::Share>(gained_, pool, to, bodies);
  if (moved.empty()) return;
  ev::Free free{pool, from, {}};
  for (const std::uint32_t page : moved) {
    free.pages.push_back(PageId{static_cast<std::int32_t>(page)});
  }
  bodies.emplace_back(std::move(free));
}

}  // namespace pagetape
