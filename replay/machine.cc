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

// Items that keep a GPU busy: about as many blocks as it has at a time.
static constexpr std::size_t kEnoughItems = 256;
static constexpr int kLeastChunkShift = 2, kMostChunkShift = 8;

// The items of one chunk shift; sets what goes with it.
static std::vector<AttentionItem> cut(AttentionArgs& a, const std::vector<AttentionLane>& lanes,
                                      int chunk_shift) {
  a.chunk_shift = chunk_shift;
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

// The greatest chunks that still give every part of a GPU something to do: each costs a start, and
// neighbours that have to be merged.
static int chunk_shift_for(const AttentionArgs& a, const std::vector<AttentionLane>& lanes) {
  const std::size_t times =
      std::size_t{std::max(a.layer_count, 1u)} * static_cast<std::size_t>(std::max(a.kv.heads, 1));
  for (int shift = kMostChunkShift; shift > kLeastChunkShift; --shift) {
    const int tokens = kLeafTokens << shift;
    std::size_t items = 0;
    for (const AttentionLane& lane : lanes) {
      const int tiles = (a.rows_of(lane) + kTileRows - 1) / kTileRows;
      const int seen = a.window == 0 ? lane.len : std::min(lane.len, a.window + lane.q_len);
      items +=
          static_cast<std::size_t>(tiles) * static_cast<std::size_t>((seen + tokens - 1) / tokens);
    }
    if (items * times >= kEnoughItems) return shift;
  }
  return kLeastChunkShift;
}

std::vector<AttentionItem> plan_of(AttentionArgs& a, const std::vector<AttentionLane>& lanes,
                                   int chunk_shift) {
  if (chunk_shift == kAnyChunk) return cut(a, lanes, chunk_shift_for(a, lanes));
  return cut(a, lanes, std::clamp(chunk_shift, kLeastChunkShift, kMostChunkShift));
}

}  // namespace pagetape
