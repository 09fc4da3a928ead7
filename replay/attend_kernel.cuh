// SPDX-License-Identifier: Apache-2.0
// Paged attention on the device, as arithmetic.h defines it. A block is four warps: each does one
// leaf for a tile of rows, then the block merges the four. Page ids are checked leaf by leaf,
// all lanes at once, before any of them becomes an address. A second kernel merges the chunks of
// tiles that have several: left to the last block of a tile, which has to wait until its writes are
// seen, that took longer than the launch.
#pragma once

#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "replay/tile.h"

namespace pagetape::cuda {

inline constexpr int kWarps = 4;
inline constexpr int kThreads = 32 * kWarps;
inline constexpr int kWarpsShift = 2;      // A group: the leaves that a block does at once.
inline constexpr int kMostGroupShift = 6;  // Of chunk_shift - kWarpsShift.
inline constexpr int kMostChunksShift = 16;
inline constexpr std::uint32_t kNowhere = UINT32_MAX;

// Eight numbers as a thread loads them, and as floats (each exactly).
struct Bf16 {
  using Raw = uint4;
  static constexpr int kBytes = 2;
  static __device__ void unpack(const Raw& raw, float (&x)[8]) {
    const std::uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      x[2 * i] = __uint_as_float(words[i] << 16);
      x[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
  }
};
struct Fp16 {
  using Raw = uint4;
  static constexpr int kBytes = 2;
  static __device__ void unpack(const Raw& raw, float (&x)[8]) {
    const std::uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      __half2 pair;
      memcpy(&pair, &words[i], sizeof pair);
      const float2 two = __half22float2(pair);
      x[2 * i] = two.x;
      x[2 * i + 1] = two.y;
    }
  }
};
struct E4m3 {
  using Raw = uint2;
  static constexpr int kBytes = 1;
  static __device__ void unpack(const Raw& raw, float (&x)[8]) {
    const std::uint32_t words[2] = {raw.x, raw.y};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const auto pair = static_cast<__nv_fp8x2_storage_t>(words[i / 2] >> 16 * (i % 2));
      const __half2 halves(__nv_cvt_fp8x2_to_halfraw2(pair, __NV_E4M3));
      const float2 two = __half22float2(halves);
      x[2 * i] = two.x;
      x[2 * i + 1] = two.y;
    }
  }
};

// How 32 lanes share a block of positions, for a head dimension.
template <class T, int D>
struct Shape {
  static constexpr int kLanes = dot_lanes(D);           // That share a score.
  static constexpr int kSubs = dot_tokens(D);           // Positions at once.
  static constexpr int kPieces = D / (8 * kLanes);      // Of eight dimensions, a lane.
  static constexpr int kDims = 8 * kPieces;             // A lane.
  static constexpr int kTokens = block_tokens(D);       // A block.
  static constexpr int kSteps = kTokens / kSubs;        // Positions of a lane, a block.
  static constexpr int kScores = kTileRows * kSteps;    // Of a lane, before they are reduced.
  static constexpr int kKept = kScores / kLanes;        // After.
  static constexpr int kRowLanes = kLanes / kTileRows;  // That hold one row's scores.
  // K or V of a block, as a warp has it in shared memory: what each lane loaded and will read.
  static constexpr int kUnitBytes =
      kSteps * kPieces * 32 * static_cast<int>(sizeof(typename T::Raw));
};

// What a leaf leaves to the block.
template <int D>
struct Leaf {
  float acc[kTileRows][D];
  float weights[kTileRows][block_tokens(D)];
  float m[kTileRows];
};

// Shared memory of a warp: units on their way, and then the leaf.
inline constexpr int kUnits = 3;
template <class T, int D>
union alignas(16) WarpMemory {
  unsigned char units[kUnits][Shape<T, D>::kUnitBytes];
  Leaf<D> leaf;
};
template <class T, int D>
struct BlockMemory {
  WarpMemory<T, D> warps[kWarps];
  std::uint32_t places[kWarps][kLeafTokens];
};

__device__ inline void tell(const AttentionArgs& a, const DeviceFinding& finding) {
  if (a.on_oob == OnOob::kTrap) __trap();
  const std::uint32_t at = atomicAdd(a.finding_count, 1u);
  if (at < a.findings_max) a.findings[at] = finding;
}

// Sums kScores scores over the lanes that share them, in the tree of arithmetic.h. A lane is left
// with scores lane % kLanes * kKept and on.
template <class S, int kOffset = S::kLanes / 2>
__device__ inline void reduce_scores(float (&s)[S::kScores], int lane) {
  constexpr int kHalf = S::kScores / (S::kLanes / kOffset);
  const bool upper = (lane & kOffset) != 0;
#pragma unroll
  for (int i = 0; i < kHalf; ++i) {
    const float send = upper ? s[i] : s[i + kHalf];
    const float keep = upper ? s[i + kHalf] : s[i];
    s[i] = keep + __shfl_xor_sync(~0u, send, kOffset);
  }
  if constexpr (kOffset > 1) reduce_scores<S, kOffset / 2>(s, lane);
}

// Starts a copy of one Raw from global to shared memory; of so many bytes, all or none, with zeros
// for the rest.
template <class Raw>
__device__ inline void copy_async(Raw* to, const void* from, int bytes) {
  const auto at = static_cast<std::uint32_t>(__cvta_generic_to_shared(to));
  if constexpr (sizeof(Raw) == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(at), "l"(from), "r"(bytes)
                 : "memory");
  }
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kLeft>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

// K and V of a leaf on their way from global memory: units K, V, K, V, … of one block each, at most
// kUnits at a time. A lane reads what it copied itself, so that lanes need not wait for each other.
template <class T, int D>
struct Stream {
  using S = Shape<T, D>;
  const AttentionArgs& a;
  const std::uint32_t* places;  // Of the leaf's entries, in eights of elements.
  unsigned char* units;
  int lane, sub, leaf_begin;
  int pieces;  // That this lane has: fewer where the head has not so many dimensions.
  std::uint32_t mine, token_stride;  // In eights of elements.
  int next = 0;                      // Where the next unit goes.

  // Sends for the block that begins so many positions after the leaf; for none where `there` is
  // false. Bit t of what is returned: the lane's position t may not be read, it comes as zeros.
  __device__ std::uint32_t send(const void* from, int begin, bool there) {
    std::uint32_t skipped = 0;
    if (there) {
      const auto* base = static_cast<const typename T::Raw*>(from) + mine;
      typename T::Raw* to = unit(next);
      const int mask = (1 << a.entry_shift) - 1;
      const int first = (leaf_begin & mask) + begin + sub;  // Counted from the leaf's first entry.
      if (a.entry_shift >= 4) {                             // One entry holds the block.
        const std::uint32_t place = places[first >> a.entry_shift];
        const bool good = place != kNowhere;
        if (good) base += place + (first & mask) * token_stride;
        skipped = good ? 0u : ~0u;
#pragma unroll
        for (int t = 0; t < S::kSteps; ++t) copy(to, t, base + t * S::kSubs * token_stride, good);
      } else {
#pragma unroll
        for (int t = 0; t < S::kSteps; ++t) {
          const int position = first + t * S::kSubs;
          const std::uint32_t place = places[position >> a.entry_shift];
          const bool good = place != kNowhere;
          if (!good) skipped |= 1u << t;
          copy(to, t, good ? base + place + (position & mask) * token_stride : base, good);
        }
      }
    }
    commit_copies();
    next = next == kUnits - 1 ? 0 : next + 1;
    return skipped;
  }
  __device__ void copy(typename T::Raw* to, int t, const typename T::Raw* from, bool there) const {
#pragma unroll
    for (int c = 0; c < S::kPieces; ++c) {
      const int bytes = there && c < pieces ? static_cast<int>(sizeof(typename T::Raw)) : 0;
      copy_async(to + 32 * (t * S::kPieces + c), from + 32 * c, bytes);
    }
  }
  __device__ typename T::Raw* unit(int u) const {
    return reinterpret_cast<typename T::Raw*>(units + u * S::kUnitBytes) + lane;
  }
  // Position t of unit u, as floats.
  __device__ void read(int u, int t, float (&x)[S::kDims]) const {
#pragma unroll
    for (int c = 0; c < S::kPieces; ++c) {
      T::unpack(unit(u)[32 * (t * S::kPieces + c)], reinterpret_cast<float(&)[8]>(x[8 * c]));
    }
  }
};

// The rows of a tile in the registers of a warp.
template <class S>
struct Rows {
  float q[kTileRows][S::kDims], acc[kTileRows][S::kDims];
  // This lane's scores are of one row:
  int begin = 0, end = 0;  // Its live positions.
  float m = -INFINITY;
  float weights[S::kKept];

  __device__ void start(const AttentionArgs& a, const AttentionLayer& layer,
                        const AttentionItem& item, const Tile& tile, int in_group) {
#pragma unroll
    for (int r = 0; r < kTileRows; ++r) {
      const std::uint64_t key = tile.query_key(a, layer, item, min(r, tile.rows - 1));
#pragma unroll
      for (int c = 0; c < S::kPieces; ++c) {
        const std::uint64_t bytes = contents_of(key, 32 * c + in_group);
        Logits logits = a.logits;
        if (8 * (32 * c + in_group) >= a.kv.head_dim) logits.q_scale = 0.0f;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const auto byte = static_cast<std::uint32_t>(bytes >> 8 * i & 0xff);
          q[r][8 * c + i] = query_of(byte, logits);
          acc[r][8 * c + i] = 0.0f;
        }
      }
    }
    const int row = in_group / S::kRowLanes;
    if (row < tile.rows) begin = tile.begin_of(a, row), end = tile.end_of(a, row);
#pragma unroll
    for (int j = 0; j < S::kKept; ++j) weights[j] = 0.0f;
  }

  // Scores to weights; scales what was summed before where a score is greater than all before.
  __device__ void soften(float (&s)[S::kKept]) {
    float greatest = s[0];
#pragma unroll
    for (int j = 1; j < S::kKept; ++j) greatest = fmaxf(greatest, s[j]);
#pragma unroll
    for (int o = 1; o < S::kRowLanes; o <<= 1) {
      greatest = fmaxf(greatest, __shfl_xor_sync(~0u, greatest, o));
    }
#pragma unroll
    for (int o = S::kLanes; o < 32; o <<= 1) {
      greatest = fmaxf(greatest, __shfl_xor_sync(~0u, greatest, o));
    }
    if (__any_sync(~0u, greatest > m)) {
      const float scale = greatest > m ? exp2_of(m - greatest) : 1.0f;
      m = fmaxf(m, greatest);
#pragma unroll
      for (int j = 0; j < S::kKept; ++j) weights[j] *= scale;
#pragma unroll
      for (int r = 0; r < kTileRows; ++r) {
        const float by = __shfl_sync(~0u, scale, r * S::kRowLanes);
#pragma unroll
        for (int i = 0; i < S::kDims; ++i) acc[r][i] *= by;
      }
    }
#pragma unroll
    for (int j = 0; j < S::kKept; ++j) {
      s[j] = s[j] == -INFINITY ? 0.0f : exp2_of(s[j] - m);
      weights[j] += s[j];
    }
  }
};

// One warp, one leaf, one tile. `memory.leaf` is set.
template <class T, int D, bool kChecked>
__device__ void leaf_of(const AttentionArgs& a, const AttentionLayer& layer,
                        const AttentionItem& item, const Tile& tile, int leaf,
                        std::uint32_t* places, WarpMemory<T, D>& memory) {
  using S = Shape<T, D>;
  const int lane = static_cast<int>(threadIdx.x) % 32, in_group = lane % S::kLanes;
  const int sub = lane / S::kLanes;
  const int leaf_begin = leaf * kLeafTokens;
  // The entries of the leaf, a lane each. An entry may begin before the leaf.
  const int first_entry = leaf_begin >> a.entry_shift, entries = kLeafTokens >> a.entry_shift;
  for (int i = lane; i < entries; i += 32) {
    const std::int64_t at =
        place_of<kChecked>(a, item, tile, first_entry + i, [&](const DeviceFinding& f) {
          if (blockIdx.y == 0) tell(a, f);
        });
    places[i] = at == kSkip ? kNowhere : static_cast<std::uint32_t>(at / 8);
  }
  __syncwarp();

  const int begin = max(tile.begin - leaf_begin, 0) / S::kTokens * S::kTokens;
  const int end = min(tile.end - leaf_begin, kLeafTokens);
  Stream<T, D> stream{a,
                      places,
                      memory.units[0],
                      lane,
                      sub,
                      leaf_begin,
                      (a.kv.head_dim - 8 * in_group + 255) / 256,
                      static_cast<std::uint32_t>(item.kv_head * a.kv.head_stride / 8 + in_group),
                      static_cast<std::uint32_t>(a.kv.token_stride / 8)};
  std::uint32_t skipped_next = stream.send(layer.k, begin, begin < end);
  stream.send(layer.v, begin, begin < end);
  Rows<S> rows;
  rows.start(a, layer, item, tile, in_group);

  int unit = 0;
  for (int block = begin; block < end; block += S::kTokens) {
    const std::uint32_t skipped = skipped_next;
    const bool more = block + S::kTokens < end;
    skipped_next = stream.send(layer.k, block + S::kTokens, more);
    wait_copies<2>();
    float s[S::kScores];
#pragma unroll
    for (int t = 0; t < S::kSteps; ++t) {
      float x[S::kDims];
      stream.read(unit, t, x);
#pragma unroll
      for (int r = 0; r < kTileRows; ++r) {
        float d = 0.0f;
#pragma unroll
        for (int i = 0; i < S::kDims; ++i) d = fmaf(rows.q[r][i], x[i], d);
        s[r * S::kSteps + t] = d;
      }
    }
    reduce_scores<S>(s, lane);
    float weights[S::kKept];
#pragma unroll
    for (int j = 0; j < S::kKept; ++j) {
      const int t = in_group * S::kKept % S::kSteps + j;
      const int position = leaf_begin + block + t * S::kSubs + sub;
      const bool live = rows.begin <= position && position < rows.end && (skipped >> t & 1) == 0;
      weights[j] = live ? a.logits.of(s[j]) : -INFINITY;
    }
    rows.soften(weights);
    unit = unit == kUnits - 1 ? 0 : unit + 1;
    stream.send(layer.v, block + S::kTokens, more);
    wait_copies<2>();
#pragma unroll
    for (int t = 0; t < S::kSteps; ++t) {
      float x[S::kDims];
      stream.read(unit, t, x);
#pragma unroll
      for (int r = 0; r < kTileRows; ++r) {
        const int at = r * S::kSteps + t;
        const float p = __shfl_sync(~0u, weights[at % S::kKept], lane - in_group + at / S::kKept);
#pragma unroll
        for (int i = 0; i < S::kDims; ++i) rows.acc[r][i] = fmaf(p, x[i], rows.acc[r][i]);
      }
    }
    unit = unit == kUnits - 1 ? 0 : unit + 1;
  }
  wait_copies<0>();
  __syncwarp();  // The leaf lies where other lanes' units were.

  Leaf<D>& out = memory.leaf;
#pragma unroll
  for (int r = 0; r < kTileRows; ++r) {
#pragma unroll
    for (int i = 0; i < S::kDims; ++i) {
      float sum = rows.acc[r][i];
#pragma unroll
      for (int o = 16; o >= S::kLanes; o >>= 1) sum += __shfl_xor_sync(~0u, sum, o);
      if (sub == 0) out.acc[r][256 * (i / 8) + 8 * in_group + i % 8] = sum;
    }
  }
  const int row = in_group / S::kRowLanes;
#pragma unroll
  for (int j = 0; j < S::kKept; ++j) {
    const int t = in_group * S::kKept % S::kSteps + j;
    out.weights[row][t * S::kSubs + sub] = rows.weights[j];
  }
  if (sub == 0 && in_group % S::kRowLanes == 0) out.m[row] = rows.m;
  __syncwarp();
  if (lane < kTileRows) {
    float* w = out.weights[lane];
#pragma unroll
    for (int o = S::kTokens / 2; o > 0; o >>= 1) {
#pragma unroll
      for (int i = 0; i < o; ++i) w[i] += w[i + o];
    }
  }
}

// A node of the tree as the block's threads hold it: thread i has elements i, i + kThreads, … of
// the tile's rows, one after another.
template <int D>
struct Node {
  static constexpr int kEach = kTileRows * D / kThreads;
  float acc[kEach], m[kEach], l[kEach];

  __device__ static int row_of(int k) { return (k * kThreads + static_cast<int>(threadIdx.x)) / D; }
  __device__ static int dim_of(int k) { return (k * kThreads + static_cast<int>(threadIdx.x)) % D; }
  // This, then `right`.
  __device__ void merge(const Node& right) {
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      const Merge by = merge_of(m[k], right.m[k]);
      acc[k] = merged(by, acc[k], right.acc[k]);
      l[k] = merged(by, l[k], right.l[k]);
      m[k] = by.m;
    }
  }
};

// The leaves of a block, merged.
template <class T, int D>
__device__ Node<D> node_of(const WarpMemory<T, D> (&warps)[kWarps]) {
  Node<D> nodes[kWarps];
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
#pragma unroll
    for (int k = 0; k < Node<D>::kEach; ++k) {
      const int row = Node<D>::row_of(k);
      nodes[w].acc[k] = warps[w].leaf.acc[row][Node<D>::dim_of(k)];
      nodes[w].m[k] = warps[w].leaf.m[row];
      nodes[w].l[k] = warps[w].leaf.weights[row][0];
    }
  }
  nodes[0].merge(nodes[1]);
  nodes[2].merge(nodes[3]);
  nodes[0].merge(nodes[2]);
  return nodes[0];
}

// Ends the rows of a tile: outputs and their digest.
template <int D>
__device__ void end_rows(const AttentionArgs& a, const AttentionLayer& layer,
                         const AttentionItem& item, const Tile& tile, const Node<D>& node) {
  std::uint64_t digest = 0;
#pragma unroll
  for (int k = 0; k < Node<D>::kEach; ++k) {
    const int r = Node<D>::row_of(k), dim = Node<D>::dim_of(k);
    if (r >= tile.rows || dim >= a.kv.head_dim) continue;
    const int query = tile.query_of_row(a, r), head = tile.head_of_row(a, item, r);
    const float sink = a.sinks ? sink_of(layer.sinks, head) : 0.0f;
    const float value = output_of(mean_of(node.m[k], node.l[k], a.sinks, sink), node.acc[k]);
    digest += element_digest(row_digest_key(layer.digest_key, item.lane, query, head), dim, value);
    if (layer.out != nullptr) {
      const std::size_t at = a.out_rows[item.lane] + static_cast<std::size_t>(query);
      layer.out[(at * a.kv.heads * a.ratio + head) * a.kv.head_dim + dim] = value;
    }
  }
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) digest += __shfl_xor_sync(~0u, digest, o);
  if (threadIdx.x % 32 == 0) {
    atomicAdd(reinterpret_cast<unsigned long long*>(layer.digests + item.lane),
              static_cast<unsigned long long>(digest));
  }
}

// Gathers nodes that come from left to right without a gap into their tree. `index` counts nodes
// of the height at which the stack begins.
template <int D, int kMostShift>
struct Stack {
  Node<D> nodes[kMostShift + 1];
  int heights[kMostShift + 1];
  int depth = 0;

  __device__ void push(Node<D> node, std::uint32_t index, int most) {
    int height = 0;
    // A right child is merged with the left one, or has none and stands for its parent.
    for (; height < most && (index >> height & 1) != 0; ++height) {
      if (depth > 0 && heights[depth - 1] == height) {
        Node<D> left = nodes[--depth];
        left.merge(node);
        node = left;
      }
    }
    heights[depth] = height;
    nodes[depth++] = node;
  }
  // All of them; at least one must have been pushed.
  __device__ Node<D> top() {
    while (depth > 1) {
      nodes[depth - 2].merge(nodes[depth - 1]);
      --depth;
    }
    return nodes[0];
  }
};

// The partial result of a tile's chunk, counted from the tile's first one.
__device__ inline float* partial_of(const AttentionArgs& a, const AttentionItem& item, int chunk) {
  const std::size_t at = blockIdx.y * std::size_t{a.partial_count} + item.partial + chunk;
  return a.partials + at * a.partial_floats();
}
template <int D>
__device__ void put(const Node<D>& node, float* to) {
#pragma unroll
  for (int k = 0; k < Node<D>::kEach; ++k) {
    float* row = to + Node<D>::row_of(k) * (D + 2);
    row[2 + Node<D>::dim_of(k)] = node.acc[k];
    if (Node<D>::dim_of(k) == 0) row[0] = node.m[k], row[1] = node.l[k];
  }
}
template <int D>
__device__ Node<D> take(const float* from) {
  Node<D> node;
#pragma unroll
  for (int k = 0; k < Node<D>::kEach; ++k) {
    const float* row = from + Node<D>::row_of(k) * (D + 2);
    node.acc[k] = row[2 + Node<D>::dim_of(k)];
    node.m[k] = row[0];
    node.l[k] = row[1];
  }
  return node;
}

// A block for each item (x) and layer (y).
template <class T, int D, bool kChecked>
__global__ void __launch_bounds__(kThreads, D <= 256 ? 4 : 2)
    attend(const __grid_constant__ AttentionArgs a) {
  extern __shared__ __align__(16) unsigned char shared[];
  auto& memory = *reinterpret_cast<BlockMemory<T, D>*>(shared);
  const AttentionItem item = a.items[blockIdx.x];
  const AttentionLayer layer = a.layers[blockIdx.y];
  const Tile tile(a, item);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int group_shift = a.chunk_shift - kWarpsShift;
  const int live_begin = tile.begin / (kLeafTokens * kWarps);
  const int live_end = (tile.end + kLeafTokens * kWarps - 1) / (kLeafTokens * kWarps);
  const int begin = max(static_cast<int>(item.chunk) << group_shift, live_begin);
  const int end = min((static_cast<int>(item.chunk) + 1) << group_shift, live_end);

  Node<D> node;
#pragma unroll
  for (int k = 0; k < Node<D>::kEach; ++k) node.acc[k] = node.l[k] = 0.0f, node.m[k] = -INFINITY;
  Stack<D, kMostGroupShift> stack;
  for (int group = begin; group < end; ++group) {
    leaf_of<T, D, kChecked>(a, layer, item, tile, group * kWarps + warp, memory.places[warp],
                            memory.warps[warp]);
    __syncthreads();
    node = node_of(memory.warps);
    if (begin + 1 < end) stack.push(node, static_cast<std::uint32_t>(group), group_shift);
    __syncthreads();
  }
  if (begin + 1 < end) node = stack.top();
  const Range chunks = chunks_of(a, tile);
  if (chunks.end - chunks.first == 1) return end_rows(a, layer, item, tile, node);
  put(node, partial_of(a, item, item.chunk - chunks.first));
}

// A block for each tile (x), whose first chunk's item is given, and layer (y).
template <int D>
__global__ void __launch_bounds__(kThreads) combine(const __grid_constant__ AttentionArgs a) {
  const AttentionItem item = a.items[blockIdx.x];
  const Tile tile(a, item);
  const Range chunks = chunks_of(a, tile);
  if (chunks.end - chunks.first == 1) return;
  Stack<D, kMostChunksShift> stack;
  for (int chunk = chunks.first; chunk < chunks.end; ++chunk) {
    const Node<D> node = take<D>(partial_of(a, item, chunk - chunks.first));
    stack.push(node, static_cast<std::uint32_t>(chunk), 32);
  }
  end_rows(a, a.layers[blockIdx.y], item, tile, stack.top());
}

}  // namespace pagetape::cuda
