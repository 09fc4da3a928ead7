// SPDX-License-Identifier: Apache-2.0
#include "replay/machine.h"

#include <algorithm>

#include "replay/tile.h"

namespace pagetape {

bool executes(std::int64_t head_dim, std::int64_t page_size) {
  constexpr std::int64_t kPages[] = {1, 16, 32, 64, 128};
  return head_dim > 0 && head_dim <= kMostHeadDim && head_dim % 8 == 0 &&
         std::ranges::find(kPages, page_size) != std::end(kPages);
}

std::vector<AttentionItem> plan_of(AttentionArgs& a, const std::vector<AttentionLane>& lanes,
                                   int chunk_shift) {
  a.chunk_shift = std::max(chunk_shift, 2);
  a.partial_count = 0;
  AttentionArgs there = a;
  there.lanes = lanes.data();
  std::vector<AttentionItem> items;
  for (std::uint32_t lane = 0; lane < lanes.size(); ++lane) {
    const int tiles = (a.rows_of(lanes[lane]) + kTileRows - 1) / kTileRows;
    for (int head = 0; head < a.kv.heads; ++head) {
      for (int tile = 0; tile < tiles; ++tile) {
        AttentionItem item{.lane = lane,
                           .kv_head = static_cast<std::uint16_t>(head),
                           .tile = static_cast<std::uint32_t>(tile),
                           .partial = a.partial_count};
        const Range chunks = chunks_of(a, Tile(there, item));
        if (chunks.end - chunks.first > 1) {
          a.partial_count += static_cast<std::uint32_t>(chunks.end - chunks.first);
        }
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
