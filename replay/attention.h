// SPDX-License-Identifier: Apache-2.0
// A paged attention, store or copy as a machine gets it: plain numbers, and pointers into the
// machine's memory. What the rows of a trace mean was settled before. The layers of a launch that
// share a pool are done together: all but their storage and contents is the same.
#pragma once

#include <cstdint>

#include "replay/arithmetic.h"

namespace pagetape {

enum class Dtype : std::uint8_t { kBf16, kFp16, kE4m3 };
PAGETAPE_HD int bytes_of(Dtype type) { return type == Dtype::kE4m3 ? 1 : 2; }

enum class OnOob : std::uint8_t {
  kRecord,  // The page is skipped.
  kTrap,    // The kernel stops there, for a debugger.
  kClamp,   // The id is moved into the pool and used, as a defensive patch would.
};

// What a kernel knows of a page of the bound pool. Just the pages that a trace touches exist: they
// are in frames; frame 0 is zeros and stands for pages that were never written.
struct PageEntry {
  std::uint32_t frame = 0;
  std::uint32_t owner = 0;
};
// Owners, and what lanes claim to be: 0 is nobody (a padding lane; a page without an owner).
inline constexpr std::uint32_t kNobody = 0;
inline constexpr std::uint32_t kAnybody = UINT32_MAX;       // Not known: nothing can be said.
inline constexpr std::uint32_t kSharedOwner = 0x80000000u;  // Or-ed with a place in `sharers`.

// Where the numbers of a pool's layers are, in elements; a head's last dimension is dense. All are
// multiples of 8.
struct KvShape {
  Dtype dtype = Dtype::kBf16;
  std::int32_t head_dim = 128;
  std::int32_t heads = 1;
  std::int64_t page_stride = 0, token_stride = 0, head_stride = 0;
};

inline constexpr std::int32_t kNoEntry = INT32_MIN;  // Not known: skipped, and no finding.

struct AttentionLane {
  std::uint32_t entries_begin = 0, entries = 0;  // In AttentionArgs::entries.
  std::int32_t first = 0;                        // Logical number of entry 0.
  std::int32_t len = 0;                          // Tokens; at most 2^31 - 2^16.
  std::int32_t q_pos = 0, q_len = 1;
  std::uint32_t owner = kNobody;  // kNobody: a padding lane, whose pages are anybody's.
  std::uint64_t request = 0;      // What its queries are functions of.

  // Live positions of query i: [live_begin(i), live_end(i)).
  PAGETAPE_HD std::int32_t live_end(std::int32_t i) const {
    const std::int32_t end = q_pos + i + 1;
    return end < len ? end : len;
  }
  PAGETAPE_HD std::int32_t live_begin(std::int32_t i, std::int32_t window) const {
    const std::int32_t begin = window == 0 ? 0 : q_pos + i + 1 - window;
    return begin > 0 ? begin : 0;
  }
};

// Rows that one warp (or one call of the CPU's leaf) has at once: they read K and V together.
inline constexpr int kTileRows = 4;

// A part of the work: a tile of rows of one K/V head over one chunk of leaves.
struct AttentionItem {
  std::uint32_t lane = 0;
  std::uint16_t kv_head = 0, chunk = 0;
  std::uint32_t tile = 0;
  std::uint32_t partial = 0;  // Where the tile's partial results begin, where it has many chunks.
};

struct DeviceFinding {
  std::uint32_t launch = 0;  // AttentionArgs::launch.
  std::uint32_t lane = 0, entry = 0;
  std::int32_t id = 0;
  std::uint32_t owner = 0;  // Of the page; kAnybody: the id is outside the pool.

  bool operator==(const DeviceFinding&) const = default;
  auto operator<=>(const DeviceFinding&) const = default;
};

struct AttentionLayer {
  const void* k = nullptr;
  const void* v = nullptr;
  std::uint64_t queries = 0, sinks = 0;  // part_key()
  std::uint64_t digest_key = 0;
  std::uint64_t* digests = nullptr;  // One a lane, added to.
  float* out = nullptr;              // Null, or [row of the launch][query head][head_dim].
};

struct AttentionArgs {
  KvShape kv;
  std::int32_t ratio = 1;        // Query heads a K/V head.
  std::int32_t page_shift = 4;   // log2 of the pool's page size.
  std::int32_t entry_shift = 4;  // log2 of the tokens that an entry stands for; <= page_shift.
  std::int64_t bound = 0;        // Valid entries: 0 … bound - 1.
  std::int32_t window = 0;       // Tokens; 0: full.
  Logits logits;
  bool sinks = false;
  bool check_owner = true;
  OnOob on_oob = OnOob::kRecord;

  std::uint32_t launch = 0;  // As findings name it.
  const AttentionLayer* layers = nullptr;
  std::uint32_t layer_count = 0;
  const PageEntry* pages = nullptr;  // Of the pool's first page_count pages; then all are as
  std::int64_t page_count = 0;       // `rest` says.
  PageEntry rest;
  const std::uint32_t* sharers = nullptr;  // At a place: how many owners, then who.
  const AttentionLane* lanes = nullptr;
  const std::int32_t* entries = nullptr;
  const AttentionItem* items = nullptr;
  std::uint32_t item_count = 0;
  std::uint32_t tile_count = 0;        // The first items are the tiles' first chunks, one a tile.
  std::int32_t chunk_shift = 2;        // log2 of the leaves of a chunk; at least 2.
  std::int32_t tile_rows = kTileRows;  // As the machine takes them (Machine::tile_rows()).

  // Results of the chunks of tiles that have more than one: for each row m, l, then its sums;
  // partial_count of them a layer.
  float* partials = nullptr;
  std::uint32_t partial_count = 0;
  const std::uint32_t* out_rows = nullptr;  // First output row of each lane; where there is `out`.
  DeviceFinding* findings = nullptr;        // Of the first layer: the others have the same.
  std::uint32_t* finding_count = nullptr;   // Counts on beyond findings_max.
  std::uint32_t findings_max = 0;

  PAGETAPE_HD std::int32_t rows_of(const AttentionLane& lane) const { return lane.q_len * ratio; }
  PAGETAPE_HD std::size_t partial_floats() const {
    return static_cast<std::size_t>(tile_rows) *
           static_cast<std::size_t>(padded_dim(kv.head_dim) + 2);
  }
};

// Contents of tokens, written where they are stored: K and V of every head.
struct StoreToken {
  std::int64_t place = 0;      // In a layer's storage, elements.
  std::uint64_t request = 0;   // What they are functions of, with
  std::uint32_t position = 0;  // the place in the sequence.
};
struct StoreLayer {
  void* k = nullptr;
  void* v = nullptr;
  std::uint64_t keys = 0, values = 0;  // part_key()
};
struct StoreArgs {
  KvShape kv;
  const StoreLayer* layers = nullptr;
  std::uint32_t layer_count = 0;
  const StoreToken* tokens = nullptr;
  std::uint32_t token_count = 0;
};

// Tokens copied from one layer's storage to another's (or the same), as they are: both have the
// same type, heads and dimension. No place is read and written at once.
struct TokenCopy {
  std::int64_t from = 0, to = 0;  // Elements.
};
struct CopyArgs {
  KvShape from_kv, kv;
  const StoreLayer* from_layers = nullptr;
  const StoreLayer* layers = nullptr;
  std::uint32_t layer_count = 0;
  const TokenCopy* copies = nullptr;
  std::uint32_t copy_count = 0;
};

PAGETAPE_HD bool owns(const std::uint32_t* sharers, std::uint32_t owner, std::uint32_t who) {
  if (owner == who || owner == kAnybody || who == kNobody) return true;
  if ((owner & kSharedOwner) == 0) return false;
  const std::uint32_t at = owner & ~kSharedOwner;
  for (std::uint32_t i = 1; i <= sharers[at]; ++i) {
    if (sharers[at + i] == who) return true;
  }
  return false;
}

}  // namespace pagetape
