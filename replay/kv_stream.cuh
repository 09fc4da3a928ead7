// SPDX-License-Identifier: Apache-2.0
// K and V on their way from global to shared memory, block by block of positions, a few at a time.
// Page ids are checked leaf by leaf, all lanes at once, before any of them becomes an address.
#pragma once

#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "replay/tile.h"

namespace pagetape::cuda {

inline constexpr int kWarps = 4;
inline constexpr int kThreads = 32 * kWarps;
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

// How 32 lanes share the positions of a block, of which so many are done at once, for a head
// dimension.
template <class T, int D, int kBlocksAtOnce>
struct Shape {
  static constexpr int kBlocks = kBlocksAtOnce;
  static constexpr int kLanes = dot_lanes(D);           // That share a score.
  static constexpr int kSubs = dot_tokens(D);           // Positions at once.
  static constexpr int kPieces = D / (8 * kLanes);      // Of eight dimensions, a lane.
  static constexpr int kDims = 8 * kPieces;             // A lane.
  static constexpr int kTokens = block_tokens(D);       // A block.
  static constexpr int kSteps = kTokens / kSubs;        // Positions of a lane, a block.
  static constexpr int kScores = kTileRows * kSteps;    // Of a lane, before they are reduced.
  static constexpr int kKept = kScores / kLanes;        // After.
  static constexpr int kRowLanes = kLanes / kTileRows;  // That hold one row's scores.
  static constexpr int kVectorBytes = D * T::kBytes;
  static constexpr int kUnitBytes = kTokens * kVectorBytes;
};

__device__ inline void tell(const AttentionArgs& a, const DeviceFinding& finding) {
  const std::uint32_t at = atomicAdd(a.finding_count, 1u);
  if (at < a.findings_max) a.findings[at] = finding;
  if (a.on_oob != OnOob::kTrap) return;
  __threadfence_system();  // The host names it, once this is over.
  __trap();
}

// How the L2 cache is to keep what is read once; as usual, where it is read again.
__device__ inline std::uint64_t policy_for(bool once) {
  std::uint64_t first, normal;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(first));
  asm("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(normal));
  return once ? first : normal;
}
// Starts a copy of one Raw from global to shared memory; of so many bytes, all or none, with zeros
// for the rest.
template <class Raw>
__device__ inline void copy_async(Raw* to, const void* from, int bytes, std::uint64_t policy) {
  const auto at = static_cast<std::uint32_t>(__cvta_generic_to_shared(to));
  if constexpr (sizeof(Raw) == 16) {
    asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2, %3;" ::"r"(at),
                 "l"(from), "r"(bytes), "l"(policy)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global.L2::cache_hint [%0], [%1], 8, %2, %3;" ::"r"(at),
                 "l"(from), "r"(bytes), "l"(policy)
                 : "memory");
  }
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kLeft>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

// What a stream is of.
struct Source {
  const AttentionArgs& a;
  const AttentionLayer& layer;
  const AttentionItem& item;
  const Tile& tile;

  // Where the entries of a leaf are, in eights of elements; each thread has some of them. An entry
  // may begin before the leaf.
  template <bool kChecked>
  __device__ void find_places(int leaf, std::uint32_t* places, int thread, int threads) const {
    const int first = leaf * kLeafTokens >> a.entry_shift, entries = kLeafTokens >> a.entry_shift;
    for (int i = thread; i < entries; i += threads) {
      const std::int64_t at =
          place_of<kChecked>(a, item, tile, first + i, [&](const DeviceFinding& f) {
            if (blockIdx.y == 0) tell(a, f);
          });
      places[i] = at == kSkip ? kNowhere : static_cast<std::uint32_t>(at / 8);
    }
  }
};

// Of one warp: units K, V, K, V, … of one block each, kUnits at most, of one leaf at a time. A lane
// reads what it copied itself, so that lanes need not wait for each other.
template <class T, class S, bool kChecked>
struct LaneStream {
  static constexpr int kUnits = 3;
  static constexpr int kBytes = kUnits * S::kUnitBytes;
  using Raw = typename T::Raw;
  Source from;
  std::uint32_t* places;
  unsigned char* units;
  int lane, sub, in_group;
  int pieces;  // That this lane has: fewer where the head has not so many dimensions.
  std::uint32_t mine, token_stride;  // In eights of elements.
  std::uint64_t policy;
  int read_unit = 0, send_unit = 0;       // That is read next, and sent.
  int base = 0, next = 0, end = 0;        // The leaf's first position; blocks to be sent.
  std::uint32_t skipped = 0, coming = 0;  // Of the block that is read, and of the one behind it.

  __device__ LaneStream(const Source& source, std::uint32_t* list, unsigned char* memory)
      : from(source), places(list), units(memory), lane(static_cast<int>(threadIdx.x) % 32) {
    const KvShape& kv = from.a.kv;
    sub = lane / S::kLanes;
    in_group = lane % S::kLanes;
    pieces = (kv.head_dim - 8 * in_group + 255) / 256;
    mine = static_cast<std::uint32_t>(from.item.kv_head * kv.head_stride / 8 + in_group);
    token_stride = static_cast<std::uint32_t>(kv.token_stride / 8);
    policy = policy_for(from.a.rows_of(*from.tile.lane) <= from.a.tile_rows);
  }

  // Blocks from position `first` to the one that holds `last` - 1, of one leaf.
  __device__ void open(int leaf, int first, int last) {
    from.template find_places<kChecked>(leaf, places, lane, 32);
    __syncwarp();
    base = leaf * kLeafTokens >> from.a.entry_shift << from.a.entry_shift;
    next = first;
    end = last;
    read_unit = send_unit = 0;
    coming = send(from.layer.k);
    send_values();
  }
  __device__ void close() { wait_copies<0>(); }

  __device__ void wait_for_keys() {
    skipped = coming;
    coming = send(from.layer.k);
    wait_copies<2>();
  }
  __device__ void wait_for_values() {
    send_values();
    wait_copies<2>();
  }
  __device__ void keys_done() { read_unit = read_unit == kUnits - 1 ? 0 : read_unit + 1; }
  __device__ void values_done() { keys_done(); }
  // Whether this lane's position t of the block may not be read: it comes as zeros.
  __device__ bool skips(int, int t) const { return (skipped >> t & 1) != 0; }
  // Position t of the unit, as floats.
  __device__ void read_key(int, int t, float (&x)[S::kDims]) const { read(t, x); }
  __device__ void read_value(int, int t, float (&x)[S::kDims]) const { read(t, x); }

 private:
  __device__ void read(int t, float (&x)[S::kDims]) const {
#pragma unroll
    for (int c = 0; c < S::kPieces; ++c) {
      T::unpack(unit(read_unit)[32 * (t * S::kPieces + c)],
                reinterpret_cast<float(&)[8]>(x[8 * c]));
    }
  }
  __device__ void send_values() {
    send(from.layer.v);
    next += S::kTokens;
  }
  // Sends the next block of K or of V; none where there is none.
  __device__ std::uint32_t send(const void* storage) {
    std::uint32_t skips = 0;
    if (next < end) {
      const int shift = from.a.entry_shift, mask = (1 << shift) - 1;
      const auto* start = static_cast<const Raw*>(storage) + mine;
      Raw* to = unit(send_unit);
      const int first = next - base + sub;
      if (shift >= 4) {  // One entry holds the block.
        const std::uint32_t place = places[first >> shift];
        const bool good = place != kNowhere;
        if (good) start += place + (first & mask) * token_stride;
        skips = good ? 0u : ~0u;
#pragma unroll
        for (int t = 0; t < S::kSteps; ++t) copy(to, t, start + t * S::kSubs * token_stride, good);
      } else {
#pragma unroll
        for (int t = 0; t < S::kSteps; ++t) {
          const int position = first + t * S::kSubs;
          const std::uint32_t place = places[position >> shift];
          const bool good = place != kNowhere;
          if (!good) skips |= 1u << t;
          copy(to, t, good ? start + place + (position & mask) * token_stride : start, good);
        }
      }
    }
    commit_copies();
    send_unit = send_unit == kUnits - 1 ? 0 : send_unit + 1;
    return skips;
  }
  __device__ void copy(Raw* to, int t, const Raw* vector, bool there) const {
#pragma unroll
    for (int c = 0; c < S::kPieces; ++c) {
      const int bytes = there && c < pieces ? static_cast<int>(sizeof(Raw)) : 0;
      copy_async(to + 32 * (t * S::kPieces + c), vector + 32 * c, bytes, policy);
    }
  }
  __device__ Raw* unit(int u) const {
    return reinterpret_cast<Raw*>(units + u * S::kUnitBytes) + lane;
  }
};

// Of all warps of a block, which go through the same leaves: K and V of kBlocks blocks at once, and
// the next ones under way. The threads share the copying.
template <class T, class S, bool kChecked>
struct BlockStream {
  static constexpr int kBlocks = S::kBlocks, kStages = 2;
  static constexpr int kTokens = kBlocks * S::kTokens;
  static constexpr int kHalf = kBlocks * S::kUnitBytes;  // K, and then V.
  static constexpr int kBytes = kStages * 2 * kHalf;
  static constexpr int kVectorPieces = S::kVectorBytes / static_cast<int>(sizeof(typename T::Raw));
  static constexpr int kPieces = kTokens * kVectorPieces / kThreads;  // A thread, of K and of V.
  using Raw = typename T::Raw;
  Source from;
  std::uint32_t (&places)[2][kLeafTokens];  // Of even leaves and of odd ones.
  unsigned char* units;
  int lane, sub;
  int read_stage = 0, send_stage = 0;
  int block = 0, next = 0, end = 0, leaf = -1;  // The first block that is read, and to be sent.

  __device__ BlockStream(const Source& source, std::uint32_t (&list)[2][kLeafTokens],
                         unsigned char* memory)
      : from(source), places(list), units(memory), lane(static_cast<int>(threadIdx.x) % 32) {
    sub = lane / S::kLanes;
  }

  // Blocks from position `first` to the one that holds `last` - 1.
  __device__ void open(int first, int last) {
    block = first - kTokens;
    next = first;
    end = last;
#pragma unroll 1
    for (int i = 0; i < kStages - 1; ++i) send();
  }
  // Every warp has read the blocks before.
  __device__ void wait_for_keys() {
    wait_copies<kStages - 2>();
    __syncthreads();
    send();
    block += kTokens;
  }
  __device__ void keys_done() {}
  __device__ void wait_for_values() {}
  __device__ void values_done() { read_stage = read_stage == kStages - 1 ? 0 : read_stage + 1; }
  __device__ bool skips(int b, int t) const {
    return place_at(block / kLeafTokens, block + b * S::kTokens + t * S::kSubs + sub) == kNowhere;
  }
  __device__ void read_key(int b, int t, float (&x)[S::kDims]) const { read(b, t, x); }
  __device__ void read_value(int b, int t, float (&x)[S::kDims]) const { read(kBlocks + b, t, x); }

 private:
  __device__ void read(int unit, int t, float (&x)[S::kDims]) const {
    const auto* raw = reinterpret_cast<const Raw*>(units + read_stage * 2 * kHalf) + lane;
#pragma unroll
    for (int c = 0; c < S::kPieces; ++c) {
      T::unpack(
          raw[unit * S::kUnitBytes / static_cast<int>(sizeof(Raw)) + 32 * (t * S::kPieces + c)],
          reinterpret_cast<float(&)[8]>(x[8 * c]));
    }
  }
  __device__ std::uint32_t place_at(int of, int position) const {
    const int shift = from.a.entry_shift;
    return places[of & 1][(position >> shift) - (of * kLeafTokens >> shift)];
  }
  __device__ void send() {
    if (next < end) {
      const int thread = static_cast<int>(threadIdx.x);
      if (leaf != next / kLeafTokens) {
        leaf = next / kLeafTokens;
        from.template find_places<kChecked>(leaf, places[leaf & 1], thread, kThreads);
        __syncthreads();
      }
      const KvShape& kv = from.a.kv;
      Raw* to = reinterpret_cast<Raw*>(units + send_stage * 2 * kHalf) + thread;
      const int dim = thread % kVectorPieces * 8;
      const int bytes = dim < kv.head_dim ? static_cast<int>(sizeof(Raw)) : 0;
      const int mask = (1 << from.a.entry_shift) - 1;
      const auto mine = static_cast<std::uint32_t>(from.item.kv_head * kv.head_stride + dim) / 8;
      const auto stride = static_cast<std::uint32_t>(kv.token_stride / 8);
      const auto* k = static_cast<const Raw*>(from.layer.k);
      const auto* v = static_cast<const Raw*>(from.layer.v);
      const std::uint64_t policy = policy_for(false);
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        const int position = next + (i * kThreads + thread) / kVectorPieces;
        const std::uint32_t place = place_at(leaf, position);
        const bool good = place != kNowhere;
        const std::uint64_t at =
            good ? std::uint64_t{place} + mine + (position & mask) * stride : 0;
        const int there = good ? bytes : 0;
        copy_async(to + i * kThreads, k + at, there, policy);
        copy_async(to + i * kThreads + kHalf / static_cast<int>(sizeof(Raw)), v + at, there,
                   policy);
      }
      next += kTokens;
    }
    commit_copies();
    send_stage = send_stage == kStages - 1 ? 0 : send_stage + 1;
  }
};

}  // namespace pagetape::cuda
