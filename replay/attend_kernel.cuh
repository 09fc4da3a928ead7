// SPDX-License-Identifier: Apache-2.0
// Paged attention on the device, as arithmetic.h defines it. A block is four warps. Where a K/V
// head has few rows, each warp does one leaf for all of them, then the block merges the four.
// Where it has many, each warp has rows of its own and all go through the same leaves together,
// so that K and V are brought once.
#pragma once

#include <type_traits>
#include <vector>

#include "replay/kv_stream.cuh"
#include "replay/row_nodes.cuh"

namespace pagetape::cuda {

inline constexpr int kWarpsShift = 2;  // A group: the leaves that a block does at once.

// What a leaf leaves to be merged.
template <int D, int kRows>
struct Leaf {
  float acc[kRows][D];
  float weights[kRows][block_tokens(D)];
  float m[kRows];
};

// Sums kScores scores over the lanes that share them, in the tree of arithmetic.h. A lane is left
// with scores lane % kLanes * kKept and on.
template <class S, int kOffset = S::kLanes / 2>
__device__ inline void reduce_scores(float (&s)[S::kScores]) {
  constexpr int kHalf = S::kScores / (S::kLanes / kOffset);
  const bool upper = (threadIdx.x & kOffset) != 0;
#pragma unroll
  for (int i = 0; i < kHalf; ++i) {
    const float send = upper ? s[i] : s[i + kHalf];
    const float keep = upper ? s[i + kHalf] : s[i];
    s[i] = keep + __shfl_xor_sync(~0u, send, kOffset);
  }
  if constexpr (kOffset > 1) reduce_scores<S, kOffset / 2>(s);
}

// The same through shared memory: of many scores, the fewer instructions.
template <class S>
struct Exchange {
  static constexpr int kPitch = S::kScores + 4;  // No two of eight lanes meet in a bank.
  static constexpr int kFloats = 32 * kPitch;
  static constexpr int kAtOnce = S::kKept < 4 ? S::kKept : 4;
  struct Kept {
    float s[S::kKept];
  };

  // The sum of those of the lanes that are lane kFirst modulo kStride.
  template <int kFirst, int kStride>
  static __device__ Kept sum(const float* from) {
    Kept out;
    if constexpr (kStride == S::kLanes) {
#pragma unroll
      for (int i = 0; i < S::kKept; i += kAtOnce) {
        load<kAtOnce>(&out.s[i], from + kFirst * kPitch + i);
      }
    } else {
      out = sum<kFirst, 2 * kStride>(from);
      const Kept other = sum<kFirst + kStride, 2 * kStride>(from);
#pragma unroll
      for (int i = 0; i < S::kKept; ++i) out.s[i] += other.s[i];
    }
    return out;
  }
  // Four scores of each row, from score `first` of the row on.
  template <int kCount>
  static __device__ void put(const float (&s)[kCount], int first, float* memory) {
    float* mine = memory + static_cast<int>(threadIdx.x) % 32 * kPitch + first;
#pragma unroll
    for (int i = 0; i < kCount; i += 4) store<4>(mine + i / 4 * S::kSteps, &s[i]);
  }
  static __device__ void take(const float* memory, float (&kept)[S::kKept]) {
    __syncwarp();
    const int lane = static_cast<int>(threadIdx.x) % 32, in_group = lane % S::kLanes;
    const Kept all = sum<0, 1>(memory + (lane - in_group) * kPitch + in_group * S::kKept);
#pragma unroll
    for (int j = 0; j < S::kKept; ++j) kept[j] = all.s[j];
  }
};

// How a block's warps share the work: all have the same kTileRows rows, or each its own.
template <class T, int kHeadDim, bool kOwnRows>
struct Way {
  static constexpr int D = kHeadDim, kRows = kTileRows;
  static constexpr bool kOwn = kOwnRows;
  // That a warp has when leaves are merged.
  static constexpr int kNodeRows = kOwn ? kRows : kRows / kWarps;
  using S = Shape<T, D, kOwn ? 2 : 1>;
  using N = Node<D, kNodeRows>;
  using L = Leaf<D, kRows>;
  template <bool kChecked>
  using Stream = std::conditional_t<kOwn, BlockStream<T, S, kChecked>, LaneStream<T, S, kChecked>>;

  // Shared memory: a leaf lies where a warp's units were, or where its scores are exchanged.
  struct Few {
    struct Warp {
      union {
        unsigned char units[LaneStream<T, S, true>::kBytes];
        L leaf;
      };
      alignas(16) float weights[S::kBlocks][S::kTokens][kRows];
      std::uint32_t places[kLeafTokens];
    } warps[kWarps];
  };
  struct Many {
    struct Warp {
      union {
        float exchange[Exchange<S>::kFloats];
        L leaf;
      };
      alignas(16) float weights[S::kBlocks][S::kTokens][kRows];
    } warps[kWarps];
    alignas(16) unsigned char units[BlockStream<T, S, true>::kBytes];
    std::uint32_t places[2][kLeafTokens];
  };
  using Memory = std::conditional_t<kOwn, Many, Few>;
  static constexpr int kBlocks = D > 256 ? 2 : 4;  // A multiprocessor: as the registers allow.
};

// The rows of a warp in its registers.
template <class W>
struct Rows {
  using S = typename W::S;
  static constexpr int kRows = W::kRows;
  float q[kRows][S::kDims], acc[kRows][S::kDims];
  int live_begin = 0, live_end = 0;  // Positions that any of them sees, at most.
  // This lane's scores are of one row:
  int begin = 0, end = 0;  // Its live positions.
  float m;
  float weights[S::kKept];

  // Rows of the tile from `first` on; there may be none.
  __device__ void start(const AttentionArgs& a, const AttentionLayer& layer,
                        const AttentionItem& item, const Tile& tile, int first, int in_group) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const std::uint64_t key = tile.query_key(a, layer, item, min(first + r, tile.rows - 1));
#pragma unroll
      for (int c = 0; c < S::kPieces; ++c) {
        const std::uint64_t bytes = contents_of(key, 32 * c + in_group);
        Logits logits = a.logits;
        if (8 * (32 * c + in_group) >= a.kv.head_dim) logits.q_scale = 0.0f;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const auto byte = static_cast<std::uint32_t>(bytes >> 8 * i & 0xff);
          q[r][8 * c + i] = query_of(byte, logits);
        }
      }
    }
    const int row = first + in_group / S::kRowLanes;
    if (row < tile.rows) begin = tile.begin_of(a, row), end = tile.end_of(a, row);
    if (first >= tile.rows) return;
    live_begin = tile.begin_of(a, first);
    live_end = tile.end_of(a, min(first + kRows, tile.rows) - 1);
  }
  __device__ void clear() {
    m = -INFINITY;
#pragma unroll
    for (int j = 0; j < S::kKept; ++j) weights[j] = 0.0f;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int i = 0; i < S::kDims; ++i) acc[r][i] = 0.0f;
    }
  }

  // Scores of blocks that follow one another to weights. By what the sums from before a block are
  // to be scaled, as its scores may be greater than all before; false: no row's are.
  __device__ void soften(float (&s)[S::kBlocks][S::kKept], float (&scale)[S::kBlocks],
                         bool (&scales)[S::kBlocks]) {
    float greatest[S::kBlocks];
#pragma unroll
    for (int b = 0; b < S::kBlocks; ++b) {
      greatest[b] = s[b][0];
#pragma unroll
      for (int j = 1; j < S::kKept; ++j) greatest[b] = fmaxf(greatest[b], s[b][j]);
#pragma unroll
      for (int o = 1; o < S::kRowLanes; o <<= 1) {
        greatest[b] = fmaxf(greatest[b], __shfl_xor_sync(~0u, greatest[b], o));
      }
#pragma unroll
      for (int o = S::kLanes; o < 32; o <<= 1) {
        greatest[b] = fmaxf(greatest[b], __shfl_xor_sync(~0u, greatest[b], o));
      }
    }
#pragma unroll
    for (int b = 0; b < S::kBlocks; ++b) {
      scale[b] = greatest[b] > m ? exp2_of(m - greatest[b]) : 1.0f;
      scales[b] = __any_sync(~0u, greatest[b] > m);
      m = fmaxf(m, greatest[b]);
#pragma unroll
      for (int j = 0; j < S::kKept; ++j) {
        s[b][j] = exp2_of(s[b][j] - m);  // 0 where nothing is live yet: no number - no number.
        weights[j] = weights[j] * scale[b] + s[b][j];
      }
    }
  }

  // The scores of a block that the stream has: this lane's.
  template <class Stream, class Memory>
  __device__ void score(const Stream& stream, int b, Memory& memory,
                        float (&kept)[S::kKept]) const {
    constexpr int kAtOnce = W::kOwn ? 4 : S::kSteps;
    float s[kRows * kAtOnce];
#pragma unroll 1  // So that the code of the main loop stays in the instruction cache.
    for (int first = 0; first < S::kSteps; first += kAtOnce) {
#pragma unroll
      for (int t = 0; t < kAtOnce; ++t) {
        float x[S::kDims];
        stream.read_key(b, first + t, x);
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          float d = 0.0f;
#pragma unroll
          for (int i = 0; i < S::kDims; ++i) d = fmaf(q[r][i], x[i], d);
          s[r * kAtOnce + t] = d;
        }
      }
      if constexpr (W::kOwn) Exchange<S>::put(s, first, memory.exchange);
    }
    if constexpr (W::kOwn) {
      Exchange<S>::take(memory.exchange, kept);
    } else {
      reduce_scores<S>(s);
#pragma unroll
      for (int j = 0; j < S::kKept; ++j) kept[j] = s[j];
    }
  }

  // Takes the stream's next blocks, the first of which begins at position `block`, into account;
  // just goes past them where no row sees them.
  template <class Stream, class Memory>
  __device__ void add(const AttentionArgs& a, Stream& stream, Memory& memory, int block,
                      int in_group) {
    const int lane = static_cast<int>(threadIdx.x) % 32, sub = lane / S::kLanes;
    const int row = in_group / S::kRowLanes, first = in_group * S::kKept % S::kSteps;
    stream.wait_for_keys();
    if (W::kOwn && (block >= live_end || block + S::kBlocks * S::kTokens <= live_begin)) {
      return stream.values_done();
    }
    float p[S::kBlocks][S::kKept], scale[S::kBlocks];
    bool scales[S::kBlocks];
#pragma unroll
    for (int b = 0; b < S::kBlocks; ++b) {
      if (b > 0) __syncwarp();
      score(stream, b, memory, p[b]);
    }
    stream.keys_done();
    if (a.logits.cap != 0.0f) {
#pragma unroll
      for (int b = 0; b < S::kBlocks; ++b) {
#pragma unroll
        for (int j = 0; j < S::kKept; ++j) p[b][j] = a.logits.of(p[b][j]);
      }
    }
#pragma unroll
    for (int b = 0; b < S::kBlocks; ++b) {
#pragma unroll
      for (int j = 0; j < S::kKept; ++j) {
        const int position = block + b * S::kTokens + (first + j) * S::kSubs + sub;
        const bool dead = position < begin | position >= end | stream.skips(b, first + j);
        if (dead) p[b][j] = -INFINITY;
      }
    }
    soften(p, scale, scales);
#pragma unroll
    for (int b = 0; b < S::kBlocks; ++b) {
#pragma unroll
      for (int j = 0; j < S::kKept; ++j) {
        memory.weights[b][(first + j) * S::kSubs + sub][row] = p[b][j];
      }
    }
    __syncwarp();
    stream.wait_for_values();
    constexpr int kUnrolled = W::kOwn ? 4 : S::kSteps;
#pragma unroll
    for (int b = 0; b < S::kBlocks; ++b) {
      if (scales[b]) {
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          const float by = __shfl_sync(~0u, scale[b], r * S::kRowLanes);
#pragma unroll
          for (int i = 0; i < S::kDims; ++i) acc[r][i] *= by;
        }
      }
#pragma unroll kUnrolled
      for (int t = 0; t < S::kSteps; ++t) {
        float x[S::kDims], by[kRows];
        stream.read_value(b, t, x);
#pragma unroll
        for (int r = 0; r < kRows; r += 4) {
          load<4>(&by[r], &memory.weights[b][t * S::kSubs + sub][r]);
        }
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
#pragma unroll
          for (int i = 0; i < S::kDims; ++i) acc[r][i] = fmaf(by[r], x[i], acc[r][i]);
        }
      }
    }
    stream.values_done();
  }

  // Ends a leaf.
  __device__ void put(Leaf<W::D, kRows>& out, int in_group) {
    const int lane = static_cast<int>(threadIdx.x) % 32, sub = lane / S::kLanes;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int i = 0; i < S::kDims; ++i) {
        float sum = acc[r][i];
#pragma unroll
        for (int o = 16; o >= S::kLanes; o >>= 1) sum += __shfl_xor_sync(~0u, sum, o);
        if (sub == 0) out.acc[r][256 * (i / 8) + 8 * in_group + i % 8] = sum;
      }
    }
    const int row = in_group / S::kRowLanes;
#pragma unroll
    for (int j = 0; j < S::kKept; ++j) {
      const int t = in_group * S::kKept % S::kSteps + j;
      out.weights[row][t * S::kSubs + sub] = weights[j];
    }
    if (sub == 0 && in_group % S::kRowLanes == 0) out.m[row] = m;
    __syncwarp();
    if (lane < kRows) {
      float* w = out.weights[lane];
#pragma unroll
      for (int o = S::kTokens / 2; o > 0; o >>= 1) {
#pragma unroll
        for (int i = 0; i < o; ++i) w[i] += w[i + o];
      }
    }
    __syncwarp();
  }
};

// Rows of a leaf from `first` on.
template <int kNodeRows, int D, int kRows>
__device__ Node<D, kNodeRows> node_of(const Leaf<D, kRows>& leaf, int first) {
  Node<D, kNodeRows> node;
#pragma unroll
  for (int k = 0; k < kNodeRows; ++k) {
    node.take(k, leaf.acc[first + k]);
    node.m[k] = leaf.m[first + k];
    node.l[k] = leaf.weights[first + k][0];
  }
  return node;
}

// The warps have the same rows, and a leaf each.
template <class W, bool kChecked>
__device__ typename W::N attend_few(const AttentionArgs& a, const AttentionLayer& layer,
                                    const AttentionItem& item, const Tile& tile, int warp,
                                    typename W::Memory& memory) {
  const int group_shift = a.chunk_shift - kWarpsShift;
  const int live_begin = tile.begin / (kLeafTokens * kWarps);
  const int live_end = (tile.end + kLeafTokens * kWarps - 1) / (kLeafTokens * kWarps);
  const int begin = max(static_cast<int>(item.chunk) << group_shift, live_begin);
  const int end = min((static_cast<int>(item.chunk) + 1) << group_shift, live_end);
  const int in_group = static_cast<int>(threadIdx.x) % W::S::kLanes;
  auto& mine = memory.warps[warp];
  typename W::template Stream<kChecked> stream({a, layer, item, tile}, mine.places, mine.units);
  Rows<W> rows;
  typename W::N node;
  node.clear();
  Stack<typename W::N, kMostChunkShift - kWarpsShift> stack;
  for (int group = begin; group < end; ++group) {
    const int leaf = group * kWarps + warp;
    const int first = max(tile.begin, leaf * kLeafTokens) / W::S::kTokens * W::S::kTokens;
    const int last = min(tile.end, (leaf + 1) * kLeafTokens);
    stream.open(leaf, first, last);
    if (group == begin) rows.start(a, layer, item, tile, 0, in_group);
    rows.clear();
    for (int block = first; block < last; block += W::S::kTokens) {
      rows.add(a, stream, mine, block, in_group);
    }
    stream.close();
    __syncwarp();  // The leaf lies where other lanes' units were.
    rows.put(mine.leaf, in_group);
    __syncthreads();
    typename W::N nodes[kWarps];
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      nodes[w] = node_of<W::kNodeRows>(memory.warps[w].leaf, warp * W::kNodeRows);
    }
    nodes[0].merge(nodes[1]);
    nodes[2].merge(nodes[3]);
    nodes[0].merge(nodes[2]);
    node = nodes[0];
    if (begin + 1 < end) stack.push(node, static_cast<std::uint32_t>(group), group_shift);
    __syncthreads();
  }
  if (begin + 1 < end) node = stack.top();
  return node;
}

// Each warp has rows of its own, and all go through the leaves of the chunk.
template <class W, bool kChecked>
__device__ typename W::N attend_many(const AttentionArgs& a, const AttentionLayer& layer,
                                     const AttentionItem& item, const Tile& tile, int warp,
                                     typename W::Memory& memory) {
  const int chunk = kLeafTokens << a.chunk_shift;
  constexpr int kStep = W::S::kBlocks * W::S::kTokens;
  const int first = max(item.chunk * chunk, tile.begin) / kStep * kStep;
  const int last = min((item.chunk + 1) * chunk, tile.end);
  const int in_group = static_cast<int>(threadIdx.x) % W::S::kLanes;
  auto& mine = memory.warps[warp];
  typename W::template Stream<kChecked> stream({a, layer, item, tile}, memory.places, memory.units);
  stream.open(first, last);
  Rows<W> rows;
  rows.start(a, layer, item, tile, warp * W::kRows, in_group);
  Stack<typename W::N, kMostChunkShift> stack;
  typename W::N node;
  node.clear();
  const bool several = first / kLeafTokens < (last - 1) / kLeafTokens;
  for (int leaf = first / kLeafTokens; leaf * kLeafTokens < last; ++leaf) {
    rows.clear();
    const int end = min((leaf + 1) * kLeafTokens, last);
    for (int block = max(first, leaf * kLeafTokens); block < end; block += kStep) {
      rows.add(a, stream, mine, block, in_group);
    }
    rows.put(mine.leaf, in_group);
    node = node_of<W::kNodeRows>(mine.leaf, 0);
    __syncwarp();
    if (several) stack.push(node, static_cast<std::uint32_t>(leaf), a.chunk_shift);
  }
  if (several) node = stack.top();
  return node;
}

// A block for each item (x) and layer (y).
template <class W, bool kChecked>
__global__ void __launch_bounds__(kThreads, W::kBlocks)
    attend(const __grid_constant__ AttentionArgs a) {
  extern __shared__ __align__(16) unsigned char shared[];
  auto& memory = *reinterpret_cast<typename W::Memory*>(shared);
  // The merging kernel waits for the end of this one, but may have begun by then.
  asm volatile("griddepcontrol.launch_dependents;");
  const AttentionItem item = a.items[blockIdx.x];
  const AttentionLayer layer = a.layers[blockIdx.y];
  const Tile tile(a, item);
  const int warp = static_cast<int>(threadIdx.x) / 32, row = warp * W::kNodeRows;
  typename W::N node;
  if constexpr (W::kOwn) {
    node = attend_many<W, kChecked>(a, layer, item, tile, warp, memory);
  } else {
    node = attend_few<W, kChecked>(a, layer, item, tile, warp, memory);
  }
  const Range chunks = chunks_of(a, tile);
  if (chunks.end - chunks.first == 1) return end_rows(a, layer, item, tile, row, node);
  put_partial(a, node, row, partial_of(a, item, item.chunk - chunks.first));
}

template <class T, int D>
using Few = Way<T, D, false>;
template <class T, int D>
using Many = Way<T, D, true>;

// Rows of a tile as suits most of the work of these lanes. A great tile takes so much longer than
// a small one, as measured (3.2 to 3.7), and wastes what a lane does not fill.
inline constexpr double kManyCost = 3.4;
inline std::int32_t tile_rows(const AttentionArgs& a, const std::vector<AttentionLane>& lanes) {
  constexpr std::int32_t kMany = kTileRows * kWarps;
  double few = 0.0, many = 0.0;
  for (const AttentionLane& lane : lanes) {
    const std::int32_t rows = a.rows_of(lane);
    few += static_cast<double>(lane.len) * ((rows + kTileRows - 1) / kTileRows);
    many += kManyCost * lane.len * ((rows + kMany - 1) / kMany);
  }
  return few <= many ? kTileRows : kMany;
}

template <class W, bool kChecked>
cudaError_t launch_way(const AttentionArgs& a) {
  constexpr auto kernel = attend<W, kChecked>;
  constexpr int kShared = sizeof(typename W::Memory);
  cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
  if (error != cudaSuccess) return error;
  kernel<<<dim3(a.item_count, a.layer_count), kThreads, kShared>>>(a);
  error = cudaGetLastError();
  if (error != cudaSuccess || a.partial_count == 0) return error;
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(a.tile_count * static_cast<unsigned>(a.tile_rows / kWarps), a.layer_count);
  config.blockDim = dim3(kThreads);
  config.attrs = &early;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, combine<W::D>, a);
}

template <class T, int D, bool kChecked = true>
cudaError_t launch(const AttentionArgs& a) {
  if (a.tile_rows == kTileRows) return launch_way<Few<T, D>, kChecked>(a);
  return launch_way<Many<T, D>, kChecked>(a);
}

}  // namespace pagetape::cuda
