// SPDX-License-Identifier: Apache-2.0
#include "replay/machine.h"

#include <algorithm>
#include <bit>

#include "replay/tile.h"

namespace pagetape {

bool executes(std::int64_t head_dim, std::int64_t page_size) {
  constexpr std::int64_t kPages[] = {1, 16, 32, 64, 128};
  return head_dim > 0 && head_dim <= kMostHeadDim && head_dim % 8 == 0 &&
         std::ranges::find(kPages, page_size) != std::end(kPages);
}

// The halves of a chunk wait for each other in the memory of whoever does it: so much of it there
// is, by head dimension.
static int most_chunk_shift(const AttentionArgs& a) {
  const int dim = padded_dim(a.kv.head_dim);
  if (a.tiles == 1) return dim <= 64 ? 2 : 1;
  return dim <= 128 ? 4 : dim <= 256 ? 3 : 2;
}

std::vector<AttentionItem> plan_of(AttentionArgs& a, const std::vector<AttentionLane>& lanes,
                                   int chunk_shift) {
  std::size_t rows = 0;
  for (const AttentionLane& lane : lanes) rows += static_cast<std::size_t>(a.rows_of(lane));
  a.tiles = rows > lanes.size() * kTileRows ? kGroupTiles : 1;
  const int most = most_chunk_shift(a);
  a.chunk_shift = chunk_shift < 0 ? most : std::min(chunk_shift, most);
  AttentionArgs there = a;
  there.lanes = lanes.data();
  std::vector<AttentionItem> items;
  a.partial_count = 0;
  for (std::uint32_t lane = 0; lane < lanes.size(); ++lane) {
    const int tiles = (a.rows_of(lanes[lane]) + kTileRows - 1) / kTileRows;
    for (int tile = 0; tile < tiles; tile += a.tiles) {
      AttentionItem item{.lane = lane, .tile = static_cast<std::uint32_t>(tile)};
      const Range chunks = chunks_of(a, leaves_of(Span(there, item, 0, a.tiles)));
      for (int head = 0; head < a.kv.heads; ++head) {
        item.kv_head = static_cast<std::uint16_t>(head);
        item.partial = a.partial_count;
        const int count = chunks.end - chunks.first;
        if (count > 1) a.partial_count += static_cast<std::uint32_t>(a.tiles * count);
        for (int chunk = chunks.first; chunk < chunks.end; ++chunk) {
          item.chunk = static_cast<std::uint16_t>(chunk);
          items.push_back(item);
        }
      }
    }
  }
  return items;
}

}  // namespace pagetape
