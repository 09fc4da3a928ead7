// SPDX-License-Identifier: Apache-2.0
#include "gui/app/pool_history.h"

#include <algorithm>

namespace pagetape {

PoolHistory::PoolHistory(std::int64_t rank, Name name, const Pool& pool, EventIndex events)
    : rank(rank), name(name), pages(std::max<std::int64_t>(pool.pages, 1)) {
  pages_a_row = (pages + kMostRows - 1) / kMostRows;
  rows = static_cast<std::uint32_t>((pages + pages_a_row - 1) / pages_a_row);
  bin_events = std::max<EventIndex>(1, (events + kMostBins - 1) / kMostBins);
  bins = static_cast<std::uint32_t>(events / bin_events + 1);
  cells_.resize(std::size_t{rows} * bins);
  beyond_.resize(bins);
}

std::uint32_t PoolHistory::bin_of(EventIndex event) const {
  return std::min(static_cast<std::uint32_t>(event / bin_events), bins - 1);
}

void PoolHistory::sample(const World& world, EventIndex event,
                         const std::vector<std::uint8_t>& kinds) {
  const std::uint32_t bin = bin_of(event);
  if (bin < sampled_) return;
  const Pool* pool = world.pools.find(name);
  // Events that are missing (damage) leave bins without a sample: they stay empty.
  sampled_ = bin + 1;
  if (pool == nullptr) return;
  Cell* column = &cells_[std::size_t{bin} * rows];
  sample_own(world, *pool, kinds, column);
  sample_elsewhere(world, *pool, column);
  if (pages_a_row != 1) return;
  for (const ReservedPage& reserved : pool->reserved) {
    if (raw(reserved.page) >= 0 && raw(reserved.page) < pages) {
      column[row_of(raw(reserved.page))].reserved = true;
    }
  }
}

void PoolHistory::sample_own(const World& world, const Pool& pool,
                             const std::vector<std::uint8_t>& kinds, Cell* column) {
  const Space& space = world.space_of(pool);
  space.for_each_owned([&](PageId page, const PageInfo& info) {
    if (raw(page) < 0 || raw(page) >= pages) return;
    Cell& cell = column[row_of(raw(page))];
    used_rows = std::max(used_rows, row_of(raw(page)) + 1);
    cell.shared = cell.shared || info.more != 0;
    if (cell.owned++ != 0) return;
    cell.owner = info.owner;
    cell.space = space.name;
    cell.since = static_cast<std::uint16_t>(bin_of(info.by == kNever ? 0 : info.by));
    const EventIndex by = pool.extents.written_by(static_cast<std::uint32_t>(raw(page)));
    if (by < kinds.size()) cell.writer = kinds[by];
  });
}

void PoolHistory::sample_elsewhere(const World& world, const Pool& pool, Cell* column) {
  const Space& own = world.space_of(pool);
  for (const std::uint32_t s : world.allocators[own.allocator].spaces) {
    const Space& space = world.spaces[s];
    if (&space == &own) continue;
    space.for_each_owned([&](PageId page, const PageInfo&) {
      if (raw(page) < 0 || raw(page) >= pages) return;
      Cell& cell = column[row_of(raw(page))];
      if (cell.space == kNone) cell.space = space.name;
    });
  }
}

std::vector<PoolHistory::Had> PoolHistory::had(std::uint32_t row, std::uint32_t bin,
                                               std::size_t most) const {
  std::vector<Had> out;
  for (std::uint32_t b = bin + 1; b-- > 0;) {
    const Name owner = cell(row, b).owned == 0 ? kNone : cell(row, b).owner;
    if (!out.empty() && out.back().owner == owner) {
      out.back().begin = b;
      continue;
    }
    if (out.size() == most) break;
    out.push_back({.owner = owner, .begin = b, .end = b + 1});
  }
  return out;
}

void PoolHistory::read_beyond(EventIndex event, std::int64_t page) {
  Beyond& beyond = beyond_[bin_of(event)];
  beyond.least = std::min(beyond.least, page);
  beyond.most = std::max(beyond.most, page);
  if (!beyond.any()) beyond.first = event;
  most_beyond = std::max(most_beyond, page);
}

}  // namespace pagetape
