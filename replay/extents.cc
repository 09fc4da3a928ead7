// SPDX-License-Identifier: Apache-2.0
#include "replay/extents.h"

#include <algorithm>
#include <bit>

#include "traces/check.h"

namespace pagetape {

void Offsets::add(std::uint32_t begin, std::uint32_t end) {
  if (begin >= end) return;
  if (bits.empty() && begin <= prefix) {
    prefix = std::max(prefix, end);
    return;
  }
  const std::uint32_t top = std::max(end, prefix);
  if (bits.size() * 64 < top) bits.resize((top + 63) / 64);
  const auto set = [&](std::uint32_t from, std::uint32_t to) {
    for (std::uint32_t i = from; i < to; ++i) bits[i / 64] |= std::uint64_t{1} << (i % 64);
  };
  set(0, prefix);
  set(begin, end);
  std::uint32_t n = 0;
  for (std::uint64_t word : bits) {
    const auto ones = static_cast<std::uint32_t>(std::countr_one(word));
    n += ones;
    if (ones < 64) break;
  }
  prefix = n;
  std::uint32_t written = 0;
  for (std::uint64_t word : bits) written += static_cast<std::uint32_t>(std::popcount(word));
  if (written == prefix) bits.clear();
}

void Offsets::cut(std::uint32_t length) {
  prefix = std::min(prefix, length);
  if (bits.empty()) return;
  bits.resize(std::min<std::size_t>(bits.size(), (length + 63) / 64));
  if (length % 64 != 0 && bits.size() * 64 > length) {
    bits.back() &= (std::uint64_t{1} << (length % 64)) - 1;
  }
  std::uint32_t written = 0;
  for (std::uint64_t word : bits) written += static_cast<std::uint32_t>(std::popcount(word));
  if (written == prefix) bits.clear();
}

bool Offsets::covers(std::uint32_t begin, std::uint32_t end) const {
  if (end <= prefix || begin >= end) return true;
  for (std::uint32_t i = std::max(begin, prefix); i < end; ++i) {
    if (i / 64 >= bits.size() || (bits[i / 64] >> (i % 64) & 1) == 0) return false;
  }
  return true;
}

Extents::Groups Extents::take_groups(Page& page) {
  Groups out;
  if (page.groups != 0) {
    out = std::move(groups_[page.groups - 1]);
    free_groups(page);
  } else if (page.prefix > 0) {
    out.push_back({page.layers, {.prefix = page.prefix, .bits = {}}});
  }
  page.layers = kNoLayers;
  page.prefix = 0;
  return out;
}

void Extents::put_groups(Page& page, Groups groups) {
  std::erase_if(groups, [](const Group& g) { return g.offsets.empty(); });
  if (groups.empty()) return;
  if (groups.size() == 1 && groups[0].offsets.bits.empty()) {
    page.layers = groups[0].layers;
    page.prefix = groups[0].offsets.prefix;
    return;
  }
  new_groups(page) = std::move(groups);
}

void Extents::free_groups(Page& page) {
  groups_[page.groups - 1].clear();
  unused_.push_back(page.groups - 1);
  page.groups = 0;
}

Extents::Groups& Extents::new_groups(Page& page) {
  if (unused_.empty()) {
    unused_.push_back(static_cast<std::uint32_t>(groups_.size()));
    groups_.emplace_back();
  }
  page.groups = unused_.back() + 1;
  unused_.pop_back();
  return groups_[page.groups - 1];
}

// Adds a group, or its layers to one with the same offsets.
static void merge_group(LayerSets& sets, Extents::Groups& groups, LayerSet layers,
                        Offsets offsets) {
  if (layers == kNoLayers) return;
  for (Extents::Group& group : groups) {
    if (group.offsets == offsets) {
      group.layers = sets.unite(group.layers, layers);
      return;
    }
  }
  groups.push_back({layers, std::move(offsets)});
}

// The usual write to a page of several groups: one of them is written on, and stays a group apart.
bool Extents::grow_in_place(Groups& groups, LayerSet layers, std::uint32_t begin,
                            std::uint32_t end) {
  const auto own = std::ranges::find(groups, layers, &Group::layers);
  if (own == groups.end() || !own->offsets.bits.empty() || begin > own->offsets.prefix) {
    return false;
  }
  const Offsets grown{.prefix = std::max(own->offsets.prefix, end), .bits = {}};
  const bool merges = std::ranges::any_of(
      groups, [&](const Group& other) { return other.layers != layers && other.offsets == grown; });
  if (!merges) own->offsets.prefix = grown.prefix;
  return !merges;
}

// Layers that are told one after the other write the same: those that have are a group ahead of the
// others, until it has all and the page is written alike again. What the general way would leave,
// without a list made anew.
bool Extents::move_ahead(LayerSets& sets, Page& page, LayerSet layers, std::uint32_t begin,
                         std::uint32_t end) {
  if (layers == kNoLayers) return false;
  if (page.groups == 0) {
    if (begin > page.prefix || page.prefix == 0 || !sets.contains(page.layers, layers))
      return false;
    if (end <= page.prefix) return true;
    Groups& groups = new_groups(page);
    groups.assign(2, {});
    groups[0].layers = sets.subtract(page.layers, layers);
    groups[0].offsets.prefix = page.prefix;
    groups[1].layers = layers;
    groups[1].offsets.prefix = end;
    page.layers = kNoLayers;
    page.prefix = 0;
    return true;
  }
  Groups& groups = groups_[page.groups - 1];
  if (groups.size() != 2 || !groups[0].offsets.bits.empty() || !groups[1].offsets.bits.empty()) {
    return false;
  }
  Group &behind = groups[0], &ahead = groups[1];
  if (begin > behind.offsets.prefix || end <= behind.offsets.prefix ||
      end != ahead.offsets.prefix || !sets.contains(behind.layers, layers)) {
    return false;
  }
  behind.layers = sets.subtract(behind.layers, layers);
  ahead.layers = sets.unite(layers, ahead.layers);
  if (behind.layers != kNoLayers) return true;
  page.layers = ahead.layers;
  page.prefix = end;
  free_groups(page);
  return true;
}

void Extents::write_apart(LayerSets& sets, Page& page, LayerSet layers, std::uint32_t begin,
                          std::uint32_t end) {
  if (move_ahead(sets, page, layers, begin, end)) return;
  if (page.groups != 0 && grow_in_place(groups_[page.groups - 1], layers, begin, end)) return;
  Groups out;
  LayerSet left = layers;  // Layers that were in no group so far.
  for (Group& group : take_groups(page)) {
    const LayerSet both = sets.intersect(group.layers, layers);
    left = sets.subtract(left, group.layers);
    Offsets grown = group.offsets;
    grown.add(begin, end);
    merge_group(sets, out, sets.subtract(group.layers, layers), std::move(group.offsets));
    merge_group(sets, out, both, std::move(grown));
  }
  Offsets fresh;
  fresh.add(begin, end);
  merge_group(sets, out, left, std::move(fresh));
  put_groups(page, std::move(out));
}

std::uint64_t Extents::begin_front(LayerSet layers, EventIndex by) {
  front_.layers = layers;
  front_.within = kAllLayers;
  front_.by = by;
  return ++front_.number;
}

bool Extents::join_front(LayerSets& sets, std::uint32_t index, std::uint32_t begin,
                         std::uint32_t end) {
  Page& page = pages_.at(index);
  if (page.groups != 0 || page.front != 0 || begin > page.prefix) return false;
  if (page.prefix > 0) {
    if (!sets.contains(page.layers, front_.layers)) return false;
    if (front_.within != page.layers) front_.within = sets.intersect(front_.within, page.layers);
  }
  page.front = std::max(page.prefix, end);
  front_.pages.push_back(index);
  return true;
}

bool Extents::widen_front(LayerSets& sets, std::uint64_t number, LayerSet layers, EventIndex by) {
  if (number != front() || !sets.contains(front_.within, layers)) return false;
  front_.layers = sets.unite(front_.layers, layers);
  front_.by = by;
  return true;
}

void Extents::drop_front() {
  for (const std::uint32_t page : front_.pages) pages_.at(page).front = 0;
  front_.pages.clear();
}

void Extents::settle(LayerSets& sets) {
  for (const std::uint32_t index : front_.pages) {
    Page& page = pages_.at(index);
    const std::uint32_t end = std::exchange(page.front, 0);
    write(sets, index, front_.layers, page.prefix, end, front_.by);
  }
  front_.pages.clear();
}

void Extents::order_groups() {
  std::vector<std::uint32_t> having;
  pages_.for_each([&](std::uint64_t i, const Page& page) {
    if (page.groups != 0) having.push_back(static_cast<std::uint32_t>(i));
  });
  std::vector<Groups> ordered;
  for (const std::uint32_t i : having) {
    Page& page = pages_.at(i);
    ordered.push_back(std::move(groups_[page.groups - 1]));
    page.groups = static_cast<std::uint32_t>(ordered.size());
  }
  groups_ = std::move(ordered);
  unused_.clear();
}

void Extents::reset(std::uint32_t index) {
  Page* page = pages_.find(index);
  if (page == nullptr) return;
  if (page->groups != 0) take_groups(*page);
  *page = {};
}

void Extents::cut_groups(Page& page, std::uint32_t length) {
  Groups groups = take_groups(page);
  for (Group& group : groups) group.offsets.cut(length);
  put_groups(page, std::move(groups));
}

void Extents::copy(LayerSets& sets, std::uint32_t index, const Extents& from,
                   std::uint32_t from_index, LayerSet layers, std::uint32_t end, EventIndex by) {
  // Taken first: `from` may be this pool, and the page itself.
  Groups source = from.written(from_index);
  Page& page = pages_.at(index);
  page.by = by;
  Groups out;
  Groups cut;  // What of the target lies in these layers, beyond the copied offsets.
  for (Group& group : take_groups(page)) {
    merge_group(sets, out, sets.subtract(group.layers, layers), group.offsets);
    cut.push_back({sets.intersect(group.layers, layers), std::move(group.offsets)});
  }
  for (Group& group : source) {
    const LayerSet both = sets.intersect(group.layers, layers);
    group.offsets.cut(end);
    merge_group(sets, out, both, group.offsets);
  }
  put_groups(page, std::move(out));
  for (const Group& group : cut) {
    if (group.layers == kNoLayers) continue;
    const auto top = std::max<std::uint32_t>(
        group.offsets.prefix, static_cast<std::uint32_t>(group.offsets.bits.size() * 64));
    for (std::uint32_t i = end; i < top; ++i) {
      if (group.offsets.covers(i, i + 1)) write(sets, index, group.layers, i, i + 1, by);
    }
  }
}

bool Extents::groups_cover(LayerSets& sets, const Groups& groups, LayerSet layers,
                           std::uint32_t begin, std::uint32_t end) {
  LayerSet left = layers;
  for (const Group& group : groups) {
    if (group.offsets.covers(begin, end)) left = sets.subtract(left, group.layers);
  }
  return left == kNoLayers;
}

LayerSet Extents::covered(LayerSets& sets, std::uint32_t index, std::uint32_t begin,
                          std::uint32_t end) const {
  const Page* page = pages_.find(index);
  if (page == nullptr) return begin >= end ? kAllLayers : kNoLayers;
  if (begin >= end) return kAllLayers;
  if (page->groups == 0) {
    if (end <= page->prefix) return page->layers;
    return end <= page->front ? front_.layers : kNoLayers;
  }
  LayerSet out = kNoLayers;
  for (const Group& group : groups_[page->groups - 1]) {
    if (group.offsets.covers(begin, end)) out = sets.unite(out, group.layers);
  }
  return out;
}

EventIndex Extents::written_by(std::uint32_t index) const {
  const Page* page = pages_.find(index);
  if (page == nullptr) return kNever;
  return page->front != 0 ? front_.by : page->by;
}

Extents::Groups Extents::written(std::uint32_t index) const {
  const Page* page = pages_.find(index);
  if (page == nullptr) return {};
  PAGETAPE_CHECK(page->front == 0, "a front is not settled");
  if (page->groups != 0) return groups_[page->groups - 1];
  if (page->prefix == 0) return {};
  return {{page->layers, {.prefix = page->prefix, .bits = {}}}};
}

bool Extents::consistent(std::size_t layer_sets, std::uint32_t page_size) const {
  bool ok = true;
  const auto known = [&](LayerSet set) { return static_cast<std::size_t>(set) < layer_sets; };
  pages_.for_each([&](std::uint64_t, const Page& page) {
    ok = ok && page.groups <= groups_.size() && known(page.layers) && page.prefix <= page_size;
  });
  for (const Groups& groups : groups_) {
    for (const Group& group : groups) {
      ok = ok && known(group.layers) && group.offsets.prefix <= page_size &&
           group.offsets.bits.size() <= page_size / 64 + 1;
    }
  }
  for (std::uint32_t i : unused_) ok = ok && i < groups_.size();
  return ok;
}

void Extents::clear() {
  pages_.clear();
  groups_.clear();
  unused_.clear();
  front_.pages.clear();
}

}  // namespace pagetape
