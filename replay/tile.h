// SPDX-License-Identifier: Apache-2.0
// What every executor does before the arithmetic: which positions a tile's rows see, and which
// entries of the table may become addresses.
#pragma once

#include "replay/attention.h"

namespace pagetape {

// The rows of an item: kTileRows of the lane's rows, which are its queries' heads of one K/V head.
struct Tile {
  const AttentionLane* lane = nullptr;
  int first_row = 0, rows = 0;
  int begin[kTileRows] = {}, end[kTileRows] = {};  // Live positions.
  int all_begin = INT32_MAX, all_end = 0;          // Of any row.

  PAGETAPE_HD Tile(const AttentionArgs& a, const AttentionItem& item)
      : lane(a.lanes + item.lane), first_row(static_cast<int>(item.tile) * kTileRows) {
    const int left = a.rows_of(*lane) - first_row;
    rows = left < kTileRows ? left : kTileRows;
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
    for (int r = 0; r < kTileRows; ++r) {
      if (r >= rows) continue;
      begin[r] = lane->live_begin(query_of_row(a, r), a.window);
      end[r] = lane->live_end(query_of_row(a, r));
      if (begin[r] >= end[r]) continue;
      if (begin[r] < all_begin) all_begin = begin[r];
      if (end[r] > all_end) all_end = end[r];
    }
  }
  PAGETAPE_HD int query_of_row(const AttentionArgs& a, int r) const {
    return (first_row + r) / a.ratio;
  }
  PAGETAPE_HD int head_of_row(const AttentionArgs& a, const AttentionItem& item, int r) const {
    return item.kv_head * a.ratio + (first_row + r) % a.ratio;
  }
  // The key of a row's query vector.
  PAGETAPE_HD std::uint64_t query_key(const AttentionArgs& a, const AttentionLayer& layer,
                                      const AttentionItem& item, int r) const {
    const auto position = static_cast<std::uint32_t>(lane->q_pos + query_of_row(a, r));
    return vector_key(layer.queries, lane->request, position,
                      static_cast<std::uint32_t>(head_of_row(a, item, r)));
  }
  // Whether this tile is the one to tell of what is wrong with positions [from, to): the first in
  // which they are live.
  PAGETAPE_HD bool tells(const AttentionArgs& a, const AttentionItem& item, int from,
                         int to) const {
    if (item.kv_head != 0 || to <= all_begin || from >= all_end) return false;
    return first_row == 0 || from >= lane->live_end((first_row - 1) / a.ratio);
  }
};

// Where in a layer's storage the first position of an entry lies, in elements; kSkip where it may
// not be read. `logical` is the entry's number in the sequence; `tell` is called with a finding.
inline constexpr std::int64_t kSkip = -1;

template <bool kChecked, class Tell>
PAGETAPE_HD std::int64_t locate(const AttentionArgs& a, const AttentionItem& item, const Tile& tile,
                                int logical, Tell tell) {
  const AttentionLane& lane = *tile.lane;
  const int entry = logical - lane.first;
  if (entry < 0 || entry >= static_cast<int>(lane.entries)) return kSkip;
  const std::int32_t said = a.entries[lane.entries_begin + static_cast<std::uint32_t>(entry)];
  if (said == kNoEntry) return kSkip;
  const int from = logical << a.entry_shift, to = from + (1 << a.entry_shift);
  const auto wrong = [&](std::uint32_t owner) {
    if (!tile.tells(a, item, from, to)) return;
    tell(DeviceFinding{a.launch, item.lane, static_cast<std::uint32_t>(entry), said, owner});
  };
  std::int64_t id = said;
  if (kChecked && (id < 0 || id >= a.bound)) {
    wrong(kAnybody);
    if (a.on_oob != OnOob::kClamp || a.bound <= 0) return kSkip;
    id = id < 0 ? 0 : a.bound - 1;
  }
  const int shift = a.page_shift - a.entry_shift;
  const std::int64_t number = id >> shift;
  const PageEntry page = number < a.page_count ? a.pages[number] : a.rest;
  if (kChecked && a.check_owner && !owns(a.sharers, page.owner, lane.owner)) {
    wrong(page.owner);
    if (a.on_oob != OnOob::kClamp) return kSkip;
  }
  const std::int64_t offset = (id & ((1 << shift) - 1)) << a.entry_shift;
  return page.frame * a.kv.page_stride + offset * a.kv.token_stride;
}

}  // namespace pagetape
