// SPDX-License-Identifier: Apache-2.0
#include "replay/machine.h"

#include <algorithm>

#include "replay/tile.h"

namespace pagetape {

bool executes(std::int64_t head_dim, std::int64_t page_size) {
  constexpr std::int64_t kDims[] = {64, 128, 256, 512}, kPages[] = {1, 16, 32, 64, 128};
  return std::ranges::find(kDims, head_dim) != std::end(kDims) &&
         std::ranges::find(kPages, page_size) != std::end(kPages);
}

AttentionPlan plan_of(const AttentionArgs& args, const AttentionLane* lanes,
                      std::uint32_t lane_count, int chunk_shift) {
  AttentionPlan plan;
  plan.chunk_shift = std::max(chunk_shift, 2);
  AttentionArgs a = args;
  a.lanes = lanes;
  const int tokens = kLeafTokens << plan.chunk_shift;
  for (std::uint32_t lane = 0; lane < lane_count; ++lane) {
    const int tiles = (a.rows_of(lanes[lane]) + kTileRows - 1) / kTileRows;
    for (int head = 0; head < a.kv.heads; ++head) {
      for (int tile = 0; tile < tiles; ++tile) {
        AttentionItem item{.lane = lane,
                           .kv_head = static_cast<std::uint16_t>(head),
                           .tile = static_cast<std::uint32_t>(tile),
                           .partial = plan.partials};
        const Tile rows(a, item);
        // A tile without a live position has one chunk too: its rows are zeros.
        const int begin = rows.all_begin < rows.all_end ? rows.all_begin / tokens : 0;
        const int end = std::max((rows.all_end + tokens - 1) / tokens, begin + 1);
        plan.chunks = std::max(plan.chunks, end - begin);
        for (int chunk = begin; chunk < end; ++chunk, ++item.partial) {
          item.chunk = static_cast<std::uint16_t>(chunk);
          if (chunk == begin) plan.firsts.push_back(item);
          plan.items.push_back(item);
        }
        plan.partials = item.partial;
      }
    }
  }
  return plan;
}

}  // namespace pagetape
