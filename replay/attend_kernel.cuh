// SPDX-License-Identifier: Apache-2.0
// Paged attention on the device, as arithmetic.h defines it. A warp has a tile of rows and goes
// through the leaves of a chunk; a block is one such warp, or kGroupTiles of them that share K and
// V. K and V come from memory without a pause where a leaf ends: the next one's entries were
// checked meanwhile, all lanes at once, before any of them becomes an address. Leaves meet in the
// tree: of two neighbours the first that is done leaves its result, the second takes it and goes
// on.
#pragma once

#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "replay/tile.h"

namespace pagetape::cuda {

#ifndef PT_BLOCKS
#define PT_BLOCKS 3
#endif
inline constexpr int kThreads = 32 * kGroupTiles;
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

// Shared memory of a warp, or of the warps that share K and V: units, then the places of the
// entries of a leaf and of the next.
inline constexpr int kUnits = 3;
__host__ __device__ inline int entries_of_leaf(const AttentionArgs& a) {
  return kLeafTokens >> a.entry_shift;
}
template <class T, int D>
__host__ __device__ int stream_bytes(const AttentionArgs& a) {
  const int places = 2 * entries_of_leaf(a) * static_cast<int>(sizeof(std::uint32_t));
  return kUnits * Shape<T, D>::kUnitBytes + (places + 15) / 16 * 16;
}

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

// Starts a copy of so many bytes from global to shared memory, one Raw or none; zeros for the rest.
template <class Raw>
__device__ inline void copy_async(std::uint32_t to, const void* from, int bytes) {
  if constexpr (sizeof(Raw) == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(to), "l"(from), "r"(bytes)
                 : "memory");
  }
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kLeft>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

// The entries of leaves, checked a leaf ahead. Lane l has the entries l, l + 32, … of a leaf; what
// they say, what is known of the page and the place come in three steps, so that a warp can do
// other work between them.
template <bool kChecked>
struct Places {
  const AttentionArgs& a;
  const AttentionItem& item;
  const Span& span;
  std::uint32_t* places;  // In eights of elements; of leaves by turns.
  int lane;
  int leaf = 0, step = 0, steps = 0;
  std::int32_t said = 0, page_said = 0;
  PageEntry page;

  __device__ int entries() const { return entries_of_leaf(a); }
  __device__ void begin(int which, bool there) {
    leaf = which;
    step = 0;
    steps = there ? (entries() + 31) / 32 + 2 : 0;
  }
  __device__ int logical(int round) const { return leaf * entries() + 32 * round + lane; }
  __device__ bool mine(int round) const { return 32 * round + lane < entries(); }
  __device__ void advance() {
    if (step == steps) return;
    if (step >= 2 && mine(step - 2)) {
      const std::int64_t at = place_of<kChecked>(a, item, span, logical(step - 2), page_said, page,
                                                 [&](const DeviceFinding& f) {
                                                   if (blockIdx.y == 0) tell(a, f);
                                                 });
      places[(leaf & 1) * entries() + 32 * (step - 2) + lane] =
          at == kSkip ? kNowhere : static_cast<std::uint32_t>(at / 8);
    }
    if (step >= 1) {
      page_said = said;
      page = page_of(a, usable<kChecked>(a, said));
    }
    said = mine(step) ? said_at(a, *span.lane, logical(step)) : kNoEntry;
    ++step;
  }
};

// K and V of leaves [leaf, end) on their way from global memory: units K, V, K, V, … of one block
// each, at most kUnits at a time. The block's warps copy a share each.
template <class T, int D>
struct Stream {
  using S = Shape<T, D>;
  const AttentionArgs& a;
  unsigned char* memory;
  const typename T::Raw *k, *v;  // This lane's part of the head.
  std::uint32_t token_stride;    // In eights of elements.
  int pieces;  // That this lane has: fewer where the head has not so many dimensions.
  int lane, warp, leaf, end, span_end;
  int block, block_end;  // Of the leaf.
  bool value = false;    // The next unit is V.
  int next = 0;          // Where it goes.

  __device__ const std::uint32_t* places_of(int which) const {
    return reinterpret_cast<const std::uint32_t*>(memory + kUnits * S::kUnitBytes) +
           (which & 1) * entries_of_leaf(a);
  }
  __device__ int positions_of(int which) const {
    return min(span_end - which * kLeafTokens, kLeafTokens);
  }
  // Sends for the next unit. True where it was the last of a leaf.
  __device__ bool send() {
    bool last = false;
    if (leaf < end) {
      const typename T::Raw* base = value ? v : k;
      if (a.tiles == 1) {
        copy_block<1>(base);
      } else {
        copy_block<kGroupTiles>(base);
      }
      if (value) block += S::kTokens;
      value = !value;
      last = block >= block_end;
      if (last) {
        ++leaf;
        block = 0;
        block_end = positions_of(leaf);
      }
    }
    commit_copies();
    next = next == kUnits - 1 ? 0 : next + 1;
    return last;
  }
  // This warp's share of a block: every kWarps-th position of each lane.
  template <int kWarps>
  __device__ void copy_block(const typename T::Raw* base) {
    const std::uint32_t* places = places_of(leaf);
    const int mask = (1 << a.entry_shift) - 1, of_warp = kWarps == 1 ? 0 : warp;
    const int first = block + lane / S::kLanes + of_warp * S::kSubs;
    auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(unit(next)));
    to += of_warp * kStepBytes;
    if (a.entry_shift >= 4) {  // One entry holds the block.
      const std::uint32_t place = places[first >> a.entry_shift];
      const bool good = place != kNowhere;
      if (good) base += place + (first & mask) * token_stride;
      const std::uint32_t step = kWarps * S::kSubs * token_stride;
#pragma unroll
      for (int j = 0; j < S::kSteps / kWarps; ++j) {
        copy(to + j * kWarps * kStepBytes, base, good);
        base += step;
      }
    } else {
      std::uint32_t place[S::kSteps / kWarps];  // All of them before the first copy.
#pragma unroll
      for (int j = 0; j < S::kSteps / kWarps; ++j) {
        place[j] = places[(first + j * kWarps * S::kSubs) >> a.entry_shift];
      }
#pragma unroll
      for (int j = 0; j < S::kSteps / kWarps; ++j) {
        const int within = (first + j * kWarps * S::kSubs) & mask;
        const bool good = place[j] != kNowhere;
        const std::uint32_t at = good ? place[j] + within * token_stride : 0;
        copy(to + j * kWarps * kStepBytes, base + at, good);
      }
    }
  }
  static constexpr int kStepBytes = 32 * S::kPieces * static_cast<int>(sizeof(typename T::Raw));
  __device__ void copy(std::uint32_t to, const typename T::Raw* from, bool there) const {
#pragma unroll
    for (int c = 0; c < S::kPieces; ++c) {
      copy_async<typename T::Raw>(to + c * 32 * static_cast<int>(sizeof(typename T::Raw)),
                                  from + (c < pieces ? 32 * c : 0),
                                  there && c < pieces ? sizeof(typename T::Raw) : 0);
    }
  }
  // Bit t: position t of this lane, in the block of the leaf, may not be read and came as zeros.
  __device__ std::uint32_t skipped(int of_leaf, int of_block) const {
    const std::uint32_t* places = places_of(of_leaf);
    const int first = of_block + lane / S::kLanes;
    if (a.entry_shift >= 4) return places[first >> a.entry_shift] == kNowhere ? ~0u : 0u;
    std::uint32_t bits = 0;
#pragma unroll
    for (int t = 0; t < S::kSteps; ++t) {
      if (places[(first + t * S::kSubs) >> a.entry_shift] == kNowhere) bits |= 1u << t;
    }
    return bits;
  }
  __device__ typename T::Raw* unit(int u) const {
    return reinterpret_cast<typename T::Raw*>(memory + u * S::kUnitBytes) + lane;
  }
  // Position t of unit u, as floats.
  __device__ void read(int u, int t, float (&x)[S::kDims]) const {
#pragma unroll
    for (int c = 0; c < S::kPieces; ++c) {
      T::unpack(unit(u)[32 * (t * S::kPieces + c)], reinterpret_cast<float(&)[8]>(x[8 * c]));
    }
  }
};

// Every row to the place before.
template <int kDims>
__device__ inline void shift(float (&rows)[kTileRows][kDims]) {
#pragma unroll
  for (int r = 1; r < kTileRows; ++r) {
#pragma unroll
    for (int i = 0; i < kDims; ++i) rows[r - 1][i] = rows[r][i];
  }
}

// The rows of a tile in the registers of a warp.
template <class S>
struct Rows {
  float q[kTileRows][S::kDims], acc[kTileRows][S::kDims];
  // This lane's scores are of one row:
  int begin = 0, end = 0;  // Its live positions.
  float m;
  float weights[S::kKept];

  __device__ void start(const AttentionArgs& a, const AttentionLayer& layer,
                        const AttentionItem& item, const Span& tile, int in_group) {
    Logits logits = a.logits;
    // Row by row, each time in the last place: the code is there once.
#pragma unroll 1
    for (int r = 0; r < kTileRows; ++r) {
      const std::uint64_t key = tile.query_key(a, layer, item, max(min(r, tile.rows - 1), 0));
      shift(q);
#pragma unroll
      for (int c = 0; c < S::kPieces; ++c) {
        const std::uint64_t bytes = contents_of(key, 32 * c + in_group);
        if (8 * (32 * c + in_group) >= a.kv.head_dim) logits.q_scale = 0.0f;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const auto byte = static_cast<std::uint32_t>(bytes >> 8 * i & 0xff);
          q[kTileRows - 1][8 * c + i] = query_of(byte, logits);
        }
      }
      logits.q_scale = a.logits.q_scale;
    }
    const int row = in_group / S::kRowLanes;
    if (row < tile.rows) begin = tile.begin_of(a, row), end = tile.end_of(a, row);
  }
  __device__ void clear() {
    m = -INFINITY;
#pragma unroll
    for (int j = 0; j < S::kKept; ++j) weights[j] = 0.0f;
#pragma unroll
    for (int r = 0; r < kTileRows; ++r) {
#pragma unroll
      for (int i = 0; i < S::kDims; ++i) acc[r][i] = 0.0f;
    }
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

// A node of the tree in the registers of a warp: a lane has its dimensions, as of Rows, and every
// row's m and l.
template <class T, int D>
struct Node {
  using S = Shape<T, D>;
  static constexpr int kFloats = kTileRows * (D + 2);  // In memory: acc, m, l.
  float (&acc)[kTileRows][S::kDims];
  int lane;
  float m[kTileRows], l[kTileRows];

  // A leaf: what the lanes and their parts of a block have is added up.
  __device__ void gather(Rows<S>& rows) {
#pragma unroll
    for (int r = 0; r < kTileRows; ++r) {
#pragma unroll
      for (int i = 0; i < S::kDims; ++i) {
#pragma unroll
        for (int o = 16; o >= S::kLanes; o >>= 1) {
          acc[r][i] += __shfl_xor_sync(~0u, acc[r][i], o);
        }
      }
    }
    // Places of a block in halves: their number is, from the top, the lane's among its row's, j,
    // and the lane's part of the block.
    float(&w)[S::kKept] = rows.weights;
#pragma unroll
    for (int o = S::kRowLanes / 2; o > 0; o >>= 1) {
#pragma unroll
      for (int j = 0; j < S::kKept; ++j) w[j] += __shfl_xor_sync(~0u, w[j], o);
    }
#pragma unroll
    for (int o = S::kKept / 2; o > 0; o >>= 1) {
#pragma unroll
      for (int j = 0; j < o; ++j) w[j] += w[j + o];
    }
#pragma unroll
    for (int o = 16; o >= S::kLanes; o >>= 1) w[0] += __shfl_xor_sync(~0u, w[0], o);
#pragma unroll
    for (int r = 0; r < kTileRows; ++r) {
      m[r] = __shfl_sync(~0u, rows.m, r * S::kRowLanes);
      l[r] = __shfl_sync(~0u, w[0], r * S::kRowLanes);
    }
  }
  // The second row comes first: loops that need its registers by name have their code once.
  __device__ void shift_rows() {
    shift(acc);
#pragma unroll
    for (int r = 1; r < kTileRows; ++r) m[r - 1] = m[r], l[r - 1] = l[r];
  }
  __device__ static int dim_of(int i, int in_group) { return 256 * (i / 8) + 8 * in_group + i % 8; }

  __device__ void put(float* to) const {
    if (lane < S::kLanes) {
#pragma unroll
      for (int r = 0; r < kTileRows; ++r) {
#pragma unroll
        for (int i = 0; i < S::kDims; i += 4) {
          *reinterpret_cast<float4*>(to + r * D + dim_of(i, lane)) =
              make_float4(acc[r][i], acc[r][i + 1], acc[r][i + 2], acc[r][i + 3]);
        }
      }
    }
    if (lane == 0) {
      auto* ends = reinterpret_cast<float4*>(to + kTileRows * D);
      ends[0] = make_float4(m[0], m[1], m[2], m[3]);
      ends[1] = make_float4(l[0], l[1], l[2], l[3]);
    }
  }
  // From shared or global memory, where other multiprocessors may have written since.
  __device__ static void take(const float* from, float (&x)[4]) {
    asm volatile("ld.volatile.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(x[0]), "=f"(x[1]), "=f"(x[2]), "=f"(x[3])
                 : "l"(from)
                 : "memory");
  }
  // With the neighbour that was put there, which is the left or the right one.
  __device__ void merge(const float* from, bool left) {
    float their_m[4], their_l[4];
    take(from + kTileRows * D, their_m);
    take(from + kTileRows * D + 4, their_l);
#pragma unroll
    for (int r = 0; r < kTileRows; ++r) {
      const Merge by = left ? merge_of(their_m[r], m[r]) : merge_of(m[r], their_m[r]);
      m[r] = by.m;
      l[r] = left ? merged(by, their_l[r], l[r]) : merged(by, l[r], their_l[r]);
#pragma unroll
      for (int i = 0; i < S::kDims; i += 4) {
        float x[4];
        take(from + r * D + dim_of(i, lane % S::kLanes), x);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          float& mine = acc[r][i + j];
          mine = left ? merged(by, x[j], mine) : merged(by, mine, x[j]);
        }
      }
    }
  }
};

// The way of a warp's leaves up the tree.
template <class T, int D>
struct Climb {
  const AttentionArgs& a;
  float* waiting;  // Of this warp: a node for each height within a chunk.
  Range leaves, chunks;
  std::size_t slots;  // Of the tile's chunks, in a.partials and a.arrivals.

  // The place of a node beyond chunks, that begins with this leaf: where its first chunk has one.
  __device__ std::size_t slot(int leaf) const {
    return slots + ((max(leaf, leaves.first) >> a.chunk_shift) - chunks.first);
  }
  // Takes a leaf as far as it gets. True where that is the top.
  __device__ bool up(Node<T, D>& node, int leaf) const {
#pragma unroll 1
    for (int height = 0;; ++height) {
      const int number = leaf >> height, from = number << height, size = 1 << height;
      if (from <= leaves.first && from + size >= leaves.end) return true;
      const int other = (number ^ 1) << height;
      // A node without a neighbour stands for its parent.
      if (other >= leaves.end || other + size <= leaves.first) continue;
      const bool left = (number & 1) != 0, within = height < a.chunk_shift;
      const float* theirs = waiting + height * Node<T, D>::kFloats;
      __syncwarp();
      if (!within || !left) {
        node.put(within ? waiting + height * Node<T, D>::kFloats : partial(slot(from)));
      }
      if (within) {
        if (!left) return false;  // The left one waits for the right one.
      } else {
        if (!second(node.lane, slot((number | 1) << height))) return false;
        theirs = partial(slot(other));
      }
      node.merge(theirs, left);
    }
  }
  __device__ float* partial(std::size_t at) const { return a.partials + at * Node<T, D>::kFloats; }
  // Whether the neighbour had come before.
  __device__ bool second(int lane, std::size_t arrival) const {
    __threadfence();
    __syncwarp();
    std::uint32_t before = 0;
    if (lane == 0) before = atomicAdd(a.arrivals + arrival, 1u);
    before = __shfl_sync(~0u, before, 0);
    if (before == 0) return false;
    if (lane == 0) a.arrivals[arrival] = 0;
    __threadfence();
    return true;
  }
};

// Ends the rows of a tile: outputs and their digest. Lanes that have the same dimensions take rows
// in turn.
template <class T, int D>
__device__ void end_rows(const AttentionArgs& a, const AttentionLayer& layer,
                         const AttentionItem& item, const Span& tile, Node<T, D>& node) {
  using S = Shape<T, D>;
  const int in_group = node.lane % S::kLanes, sub = node.lane / S::kLanes;
  std::uint64_t digest = 0;
#pragma unroll 1
  for (int r = 0; r < tile.rows; ++r, node.shift_rows()) {
    if (r % S::kSubs != sub) continue;
    const int query = tile.query_of_row(a, r), head = tile.head_of_row(a, item, r);
    const float sink = a.sinks ? sink_of(layer.sinks, head) : 0.0f;
    const Mean mean = mean_of(node.m[0], node.l[0], a.sinks, sink);
    const std::uint64_t key = row_digest_key(layer.digest_key, item.lane, query, head);
    const std::size_t row = layer.out == nullptr ? 0 : a.out_rows[item.lane] + std::size_t(query);
#pragma unroll
    for (int i = 0; i < S::kDims; ++i) {
      const int dim = Node<T, D>::dim_of(i, in_group);
      if (dim >= a.kv.head_dim) continue;
      const float value = output_of(mean, node.acc[0][i]);
      digest += element_digest(key, dim, value);
      if (layer.out != nullptr) {
        layer.out[(row * a.kv.heads * a.ratio + head) * a.kv.head_dim + dim] = value;
      }
    }
  }
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) digest += __shfl_xor_sync(~0u, digest, o);
  if (node.lane == 0) {
    atomicAdd(reinterpret_cast<unsigned long long*>(layer.digests + item.lane),
              static_cast<unsigned long long>(digest));
  }
}

// One block of positions, whose K is in a unit: weights of its rows.
template <class T, int D>
__device__ void weigh(const AttentionArgs& a, const Stream<T, D>& stream, int unit, int leaf,
                      int block, Rows<Shape<T, D>>& rows, float (&weights)[Shape<T, D>::kKept]) {
  using S = Shape<T, D>;
  const int in_group = stream.lane % S::kLanes, sub = stream.lane / S::kLanes;
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
  reduce_scores<S>(s, stream.lane);
  const std::uint32_t skipped = stream.skipped(leaf, block);
#pragma unroll
  for (int j = 0; j < S::kKept; ++j) {
    const int t = in_group * S::kKept % S::kSteps + j;
    const int position = leaf * kLeafTokens + block + t * S::kSubs + sub;
    const bool live = rows.begin <= position && position < rows.end && (skipped >> t & 1) == 0;
    weights[j] = live ? a.logits.of(s[j]) : -INFINITY;
  }
  rows.soften(weights);
}

// Adds the block's values, whose V is in a unit, by weight.
template <class T, int D>
__device__ void add_values(const Stream<T, D>& stream, int unit, Rows<Shape<T, D>>& rows,
                           const float (&weights)[Shape<T, D>::kKept]) {
  using S = Shape<T, D>;
  const int first = stream.lane / S::kLanes * S::kLanes;
#pragma unroll
  for (int t = 0; t < S::kSteps; ++t) {
    float x[S::kDims];
    stream.read(unit, t, x);
#pragma unroll
    for (int r = 0; r < kTileRows; ++r) {
      const int at = r * S::kSteps + t;
      const float p = __shfl_sync(~0u, weights[at % S::kKept], first + at / S::kKept);
#pragma unroll
      for (int i = 0; i < S::kDims; ++i) rows.acc[r][i] = fmaf(p, x[i], rows.acc[r][i]);
    }
  }
}

// Blocks of four warps, for each layer (y): an item's tiles, or four items of one tile.
template <class T, int D, bool kChecked>
__global__ void __launch_bounds__(kThreads, D <= 256 ? PT_BLOCKS : 2)
    attend(const __grid_constant__ AttentionArgs a) {
  using S = Shape<T, D>;
  extern __shared__ __align__(16) unsigned char shared[];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const bool group = a.tiles > 1, leads = !group || warp == 0;
  const std::uint32_t number = group ? blockIdx.x : blockIdx.x * kGroupTiles + warp;
  if (number >= a.item_count) return;
  // Read where they are needed: registers are what bounds the warps of a multiprocessor.
  const AttentionItem& item = a.items[number];
  const AttentionLayer& layer = a.layers[blockIdx.y];
  const int bytes = stream_bytes<T, D>(a), streams = group ? 1 : kGroupTiles;
  unsigned char* memory = shared + (group ? 0 : warp * bytes);
  auto* waiting = reinterpret_cast<float*>(shared + streams * bytes) +
                  warp * a.chunk_shift * Node<T, D>::kFloats;
  const Span span(a, item, 0, a.tiles), tile(a, item, group ? warp : 0, 1);
  const auto wait = [&] {
    if (group) {
      __syncthreads();
    } else {
      __syncwarp();
    }
  };
  const Range leaves = leaves_of(span), chunks = chunks_of(a, leaves);
  const int begin = max(item.chunk << a.chunk_shift, leaves.first);
  const int end = min((item.chunk + 1) << a.chunk_shift, leaves.end);
  const Climb<T, D> climb{a, waiting, leaves, chunks,
                          blockIdx.y * std::size_t{a.partial_count} + item.partial +
                              (group ? warp : 0) * (chunks.end - chunks.first)};

  Places<kChecked> places{a, item, span,
                          reinterpret_cast<std::uint32_t*>(memory + kUnits * S::kUnitBytes), lane};
  if (leads) {
    places.begin(begin, true);
    while (places.step < places.steps) places.advance();
    places.begin(begin + 1, begin + 1 < end);
  }
  const std::int64_t mine = item.kv_head * a.kv.head_stride / 8 + lane % S::kLanes;
  const int first_block = max(span.begin - begin * kLeafTokens, 0) / S::kTokens * S::kTokens;
  Stream<T, D> stream{a,
                      memory,
                      static_cast<const typename T::Raw*>(layer.k) + mine,
                      static_cast<const typename T::Raw*>(layer.v) + mine,
                      static_cast<std::uint32_t>(a.kv.token_stride / 8),
                      (a.kv.head_dim - 8 * (lane % S::kLanes) + 255) / 256,
                      lane,
                      warp,
                      begin,
                      span.begin < span.end ? end : begin,
                      span.end};
  stream.block = first_block;
  stream.block_end = stream.positions_of(begin);
  // Sends for one more unit; where it was a leaf's last, the next leaf's places are needed.
  const auto send = [&] {
    const bool last = stream.send();
    if (leads) {
#pragma unroll 1
      do places.advance();
      while (last && places.step < places.steps);
    }
  };
#pragma unroll 1
  for (int u = 0; u < kUnits - 1; ++u) {
    wait();
    send();
  }
  Rows<S> rows;
  rows.start(a, layer, item, tile, lane % S::kLanes);
  Node<T, D> node{rows.acc, lane};
  int unit = 0;
#pragma unroll 1
  for (int leaf = begin; leaf < end; ++leaf) {
    rows.clear();
    float weights[S::kKept];
    const int blocks = (stream.positions_of(leaf) + S::kTokens - 1) / S::kTokens;
    const int to = 2 * S::kTokens * blocks;
    // K and V of a block after one another.
#pragma unroll 1
    for (int at = 2 * (leaf == begin ? first_block : 0); at < to; at += S::kTokens) {
      wait_copies<kUnits - 2>();
      wait();  // All of the unit is there, and the one before it was read by all.
      send();
      const int block = at / (2 * S::kTokens) * S::kTokens, position = leaf * kLeafTokens + block;
      if (position < tile.end && position + S::kTokens > tile.begin) {
        if (at % (2 * S::kTokens) == 0) {
          weigh<T, D>(a, stream, unit, leaf, block, rows, weights);
        } else {
          add_values<T, D>(stream, unit, rows, weights);
        }
      }
      unit = unit == kUnits - 1 ? 0 : unit + 1;
    }
    if (leads) places.begin(leaf + 2, leaf + 2 < end);
    node.gather(rows);
    if (climb.up(node, leaf)) {
      end_rows<T, D>(a, layer, item, Span(a, item, group ? warp : 0, 1), node);
    }
  }
}

// How the kernel is launched.
template <class T, int D>
std::size_t shared_bytes(const AttentionArgs& a) {
  const int streams = a.tiles == 1 ? kGroupTiles : 1;
  const int nodes = kGroupTiles * a.chunk_shift * Node<T, D>::kFloats;
  return static_cast<std::size_t>(streams * stream_bytes<T, D>(a)) +
         static_cast<std::size_t>(nodes) * sizeof(float);
}
inline dim3 grid_of(const AttentionArgs& a) {
  const std::uint32_t each = a.tiles == 1 ? kGroupTiles : 1;
  return {(a.item_count + each - 1) / each, a.layer_count};
}

}  // namespace pagetape::cuda
