// SPDX-License-Identifier: Apache-2.0
#include "verify/right_page.h"

namespace pagetape {

// The page given to the request for that column, while it owns it; null column: none was.
static std::optional<PageId> own_page(const Space& space, Name req, std::int64_t logical,
                                      bool& evicted) {
  const Holder* holder = space.holder(req);
  const Column* column =
      holder == nullptr ? nullptr : holder->columns.find(static_cast<std::uint64_t>(logical));
  if (column == nullptr) return std::nullopt;
  evicted = evicted || column->evicted;
  if (column->evicted || raw(column->page) < 0 || !space.owns(column->page, req)) {
    return std::nullopt;
  }
  return column->page;
}

std::optional<PageId> right_page(const World& world, const Pool& pool, Name req,
                                 std::int64_t logical) {
  bool evicted = false;
  if (const auto page = own_page(world.space_of(pool), req, logical, evicted)) return page;
  const std::int64_t size = pool.page_size;
  for (std::uint32_t m = 0; m < world.maps.size() && !evicted; ++m) {
    const MapState& map = world.maps[m];
    if (map.from == kNoPool || map.to == kNoPool || &world.pool(map.to) != &pool) continue;
    const Pool& source = world.pool(map.from);
    if (source.page_size != size) continue;
    const auto from = own_page(world.space_of(source), req, logical, evicted);
    if (!from || evicted) continue;
    const auto key = static_cast<std::uint64_t>(map.by_slot ? raw(*from) * size : raw(*from));
    const MapEntry* entry = map.entries.find(key);
    if (entry == nullptr || entry->to == 0) continue;
    return PageId{static_cast<std::int32_t>(map.by_slot ? entry->to / size : entry->to)};
  }
  return std::nullopt;
}

void amend_lanes(const World& world, const Pool& pool, std::int64_t entry_tokens, LaneList& list) {
  const std::int64_t entries_a_page = pool.page_size / entry_tokens;
  if (entries_a_page < 1) return;
  for (std::size_t i = 0; i < list.lanes.size(); ++i) {
    if (list.reqs[i] == kNone) continue;
    std::int32_t* entries = list.entries_of(i);
    for (std::uint32_t j = 0; j < list.lanes[i].entries; ++j) {
      const std::int64_t entry = std::int64_t{list.lanes[i].first} + j;
      if (entries[j] == kNoEntry) continue;
      const auto page = right_page(world, pool, list.reqs[i], entry / entries_a_page);
      if (!page) continue;
      entries[j] = static_cast<std::int32_t>(raw(*page) * entries_a_page + entry % entries_a_page);
    }
  }
}

}  // namespace pagetape
