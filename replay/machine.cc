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

// A GPU is busy with about so many items, a block each.
static constexpr std::size_t kEnoughItems = 256;
static constexpr int kLeastChunkShift = 2, kMostChunkShift = 5;

static std::int32_t tiles_of(const AttentionArgs& a, const AttentionLane& lane) {
  return (a.rows_of(lane) + a.tile_rows - 1) / a.tile_rows;
}

// Where a window lets rows see a few leaves only, they are one chunk, wherever they begin: two
// parts of it, and merging them, cost more than what their running at once saves.
static int chunk_shift_for(const AttentionArgs& a, const std::vector<AttentionLane>& lanes) {
  // The warps of a great tile go through leaves one after another anyway.
  const bool great = a.tile_rows > kTileRows;
  if (!great && (a.window == 0 || a.window > kLeafTokens << kMostChunkShift)) {
    return kLeastChunkShift;
  }
  std::size_t items = 0;
  for (const AttentionLane& lane : lanes) items += static_cast<std::size_t>(tiles_of(a, lane));
  items *= std::size_t{a.layer_count} * static_cast<std::size_t>(a.kv.heads);
  return items >= (great ? 4 : 1) * kEnoughItems ? kMostChunkShift : kLeastChunkShift;
}

std::vector<AttentionItem> plan_of(AttentionArgs& a, const std::vector<AttentionLane>& lanes,
                                   int chunk_shift) {
  a.chunk_shift = chunk_shift == kAnyChunk ? chunk_shift_for(a, lanes)
                                           : std::max(chunk_shift, kLeastChunkShift);
  a.partial_count = 0;
  AttentionArgs there = a;
  there.lanes = lanes.data();
  std::vector<AttentionItem> firsts, others;
  for (std::uint32_t lane = 0; lane < lanes.size(); ++lane) {
    for (int head = 0; head < a.kv.heads; ++head) {
      for (int tile = 0; tile < tiles_of(a, lanes[lane]); ++tile) {
        AttentionItem item{.lane = lane,
                           .kv_head = static_cast<std::uint16_t>(head),
                           .tile = static_cast<std::uint32_t>(tile),
                           .partial = a.partial_count};
        const Range chunks = chunks_of(a, Tile(there, item));
        const int count = chunks.end - chunks.first;
        if (count > 1) a.partial_count += static_cast<std::uint32_t>(count);
        for (int chunk = chunks.first; chunk < chunks.end; ++chunk) {
          item.chunk = static_cast<std::uint16_t>(chunk);
          (chunk == chunks.first ? firsts : others).push_back(item);
        }
      }
    }
  }
  a.tile_count = static_cast<std::uint32_t>(firsts.size());
  firsts.insert(firsts.end(), others.begin(), others.end());
  return firsts;
}

}  // namespace pagetape
