// SPDX-License-Identifier: Apache-2.0
// What warps have of the tree of leaves: its nodes, merging them, and the end of rows. A second
// kernel merges the chunks of tiles that have several: left to the last block of a tile, which has
// to wait until its writes are seen, that took longer than the launch.
#pragma once

#include "replay/kv_stream.cuh"

namespace pagetape::cuda {

inline constexpr int kMostChunkShift = 8;
inline constexpr int kMostChunksShift = 16;
// Partial results that a warp has under way at once.
inline constexpr int kTakenShift = 3, kTaken = 1 << kTakenShift;

// 1, 2 or 4 floats from and to memory that is aligned to so many.
template <int kCount>
__device__ inline void load(float* to, const float* from) {
  if constexpr (kCount == 4) {
    const float4 x = *reinterpret_cast<const float4*>(from);
    to[0] = x.x, to[1] = x.y, to[2] = x.z, to[3] = x.w;
  } else if constexpr (kCount == 2) {
    const float2 x = *reinterpret_cast<const float2*>(from);
    to[0] = x.x, to[1] = x.y;
  } else {
    static_assert(kCount == 1);
    to[0] = from[0];
  }
}
template <int kCount>
__device__ inline void store(float* to, const float* from) {
  if constexpr (kCount == 4) {
    *reinterpret_cast<float4*>(to) = {from[0], from[1], from[2], from[3]};
  } else {
    static_assert(kCount == 2);
    *reinterpret_cast<float2*>(to) = {from[0], from[1]};
  }
}

// A node of the tree for kRows rows, as a warp holds it: each lane some dimensions of every row.
template <int D, int kRows>
struct Node {
  static constexpr int kEach = D / 32;
  float acc[kRows][kEach], m[kRows], l[kRows];

  // Where the lane's elements `i` and on lie, which are loaded at once.
  static constexpr int kAtOnce = kEach < 4 ? kEach : 4;
  __device__ static int dim_of(int i) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    return i / kAtOnce * kAtOnce * 32 + kAtOnce * lane + i % kAtOnce;
  }
  // Nothing was live: it changes no node that it is merged with.
  __device__ void clear() {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      m[r] = -INFINITY;
      l[r] = 0.0f;
#pragma unroll
      for (int i = 0; i < kEach; ++i) acc[r][i] = 0.0f;
    }
  }
  // This, then `right`.
  __device__ void merge(const Node& right) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const Merge by = merge_of(m[r], right.m[r]);
      m[r] = by.m;
      l[r] = merged(by, l[r], right.l[r]);
#pragma unroll
      for (int i = 0; i < kEach; ++i) acc[r][i] = merged(by, acc[r][i], right.acc[r][i]);
    }
  }
  // Row r from, and to, memory that has a row's dimensions one after another.
  __device__ void take(int r, const float* from) {
#pragma unroll
    for (int i = 0; i < kEach; i += kAtOnce) load<kAtOnce>(&acc[r][i], from + dim_of(i));
  }
  __device__ void put(int r, float* to) const {
#pragma unroll
    for (int i = 0; i < kEach; i += kAtOnce) store<kAtOnce>(to + dim_of(i), &acc[r][i]);
  }
};

// Ends rows of a tile, the first of which is its row `first`: outputs and their digest.
template <int D, int kRows>
__device__ void end_rows(const AttentionArgs& a, const AttentionLayer& layer,
                         const AttentionItem& item, const Tile& tile, int first,
                         const Node<D, kRows>& node) {
  std::uint64_t digest = 0;
#pragma unroll
  for (int k = 0; k < kRows; ++k) {
    const int r = first + k;
    if (r >= tile.rows) break;
    const int query = tile.query_of_row(a, r), head = tile.head_of_row(a, item, r);
    const float sink = a.sinks ? sink_of(layer.sinks, head) : 0.0f;
    const Mean mean = mean_of(node.m[k], node.l[k], a.sinks, sink);
    const std::uint64_t key = row_digest_key(layer.digest_key, item.lane, query, head);
    float* out = nullptr;
    if (layer.out != nullptr) {
      const std::size_t at = a.out_rows[item.lane] + static_cast<std::size_t>(query);
      out = layer.out + (at * a.kv.heads * a.ratio + head) * a.kv.head_dim;
    }
#pragma unroll
    for (int i = 0; i < Node<D, kRows>::kEach; ++i) {
      const int dim = Node<D, kRows>::dim_of(i);
      if (dim >= a.kv.head_dim) continue;
      const float value = output_of(mean, node.acc[k][i]);
      digest += element_digest(key, dim, value);
      if (out != nullptr) out[dim] = value;
    }
  }
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) digest += __shfl_xor_sync(~0u, digest, o);
  if (threadIdx.x % 32 == 0 && digest != 0) {
    atomicAdd(reinterpret_cast<unsigned long long*>(layer.digests + item.lane),
              static_cast<unsigned long long>(digest));
  }
}

// Gathers nodes that come from left to right without a gap into their tree. `index` counts nodes
// of the height at which the stack begins.
template <class N, int kMostShift>
struct Stack {
  N nodes[kMostShift + 1];
  int heights[kMostShift + 1];
  int depth = 0;

  __device__ void push(N node, std::uint32_t index, int most) {
    int height = 0;
    // A right child is merged with the left one, or has none and stands for its parent.
    for (; height < most && (index >> height & 1) != 0; ++height) {
      if (depth > 0 && heights[depth - 1] == height) {
        N left = nodes[--depth];
        left.merge(node);
        node = left;
      }
    }
    heights[depth] = height;
    nodes[depth++] = node;
  }
  // All of them; at least one must have been pushed.
  __device__ N top() {
    while (depth > 1) {
      nodes[depth - 2].merge(nodes[depth - 1]);
      --depth;
    }
    return nodes[0];
  }
};

// The partial result of a tile's chunk, counted from the tile's first one: sums of all rows, then
// m and l of each.
__device__ inline float* partial_of(const AttentionArgs& a, const AttentionItem& item, int chunk) {
  const std::size_t at = blockIdx.y * std::size_t{a.partial_count} + item.partial + chunk;
  return a.partials + at * a.partial_floats();
}
template <int D, int kRows>
__device__ void put_partial(const AttentionArgs& a, const Node<D, kRows>& node, int first,
                            float* to) {
#pragma unroll
  for (int k = 0; k < kRows; ++k) {
    node.put(k, to + (first + k) * D);
    if (threadIdx.x % 32 == 0) {
      float* ends = to + a.tile_rows * D + 2 * (first + k);
      ends[0] = node.m[k], ends[1] = node.l[k];
    }
  }
}

// Merges the chunks of a tile, whose first chunk's item is given: a warp a row, a block for each
// kWarps rows of a tile (x) and layer (y).
template <int D>
__global__ void __launch_bounds__(kThreads) combine(const __grid_constant__ AttentionArgs a) {
  const int parts = a.tile_rows / kWarps;
  const AttentionItem item = a.items[blockIdx.x / parts];
  const Tile tile(a, item);
  const Range chunks = chunks_of(a, tile);
  const int row = blockIdx.x % parts * kWarps + static_cast<int>(threadIdx.x) / 32;
  if (chunks.end - chunks.first == 1 || row >= tile.rows) return;
  // This kernel may begin before the other one has ended.
  asm volatile("griddepcontrol.wait;" ::: "memory");

  using N = Node<D, 1>;
  Stack<N, kMostChunksShift - kTakenShift> stack;
  N node;
  for (int first = chunks.first & -kTaken; first < chunks.end; first += kTaken) {
    N nodes[kTaken];
#pragma unroll
    for (int i = 0; i < kTaken; ++i) {
      nodes[i].clear();
      const int chunk = first + i;
      if (chunk < chunks.first || chunk >= chunks.end) continue;
      const float* from = partial_of(a, item, chunk - chunks.first);
      nodes[i].take(0, from + row * D);
      const auto* ends = reinterpret_cast<const float2*>(from + a.tile_rows * D);
      nodes[i].m[0] = ends[row].x, nodes[i].l[0] = ends[row].y;
    }
#pragma unroll
    for (int step = 1; step < kTaken; step *= 2) {
#pragma unroll
      for (int i = 0; i < kTaken; i += 2 * step) nodes[i].merge(nodes[i + step]);
    }
    node = nodes[0];
    if (chunks.end > kTaken) stack.push(node, static_cast<std::uint32_t>(first >> kTakenShift), 32);
  }
  if (chunks.end > kTaken) node = stack.top();
  end_rows(a, a.layers[blockIdx.y], item, tile, row, node);
}

}  // namespace pagetape::cuda
