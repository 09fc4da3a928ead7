// SPDX-License-Identifier: Apache-2.0
// What every executor does before the arithmetic: which positions a tile's rows see, and which
// entries of the table may become addresses.
#pragma once

#include "replay/attention.h"

namespace pagetape {

// Rows of a lane (its queries' heads of one K/V head) that are done together, from one on.
struct Span {
  const AttentionLane* lane = nullptr;
  int first_row = 0, rows = 0;
  int begin = INT32_MAX, end = 0;  // Positions that any row sees.

  PAGETAPE_HD Span(const AttentionArgs& a, const AttentionItem& item, int tile, int tiles)
      : lane(a.lanes + item.lane),
        first_row((static_cast<int>(item.tile) + tile) * kTileRows),
        rows(tiles * kTileRows) {
    const int left = a.rows_of(*lane) - first_row;
    if (rows > left) rows = left > 0 ? left : 0;
    if (rows == 0) return;
    for (int q = query_of_row(a, 0); q <= query_of_row(a, rows - 1); ++q) {
      const int from = lane->live_begin(q, a.window), to = lane->live_end(q);
      if (from >= to) continue;
      if (from < begin) begin = from;
      if (to > end) end = to;
    }
  }
  PAGETAPE_HD int query_of_row(const AttentionArgs& a, int r) const {
    return (first_row + r) / a.ratio;
  }
  PAGETAPE_HD int head_of_row(const AttentionArgs& a, const AttentionItem& item, int r) const {
    return item.kv_head * a.ratio + (first_row + r) % a.ratio;
  }
  // Live positions of row r.
  PAGETAPE_HD int begin_of(const AttentionArgs& a, int r) const {
    return lane->live_begin(query_of_row(a, r), a.window);
  }
  PAGETAPE_HD int end_of(const AttentionArgs& a, int r) const {
    return lane->live_end(query_of_row(a, r));
  }
  // The key of a row's query vector.
  PAGETAPE_HD std::uint64_t query_key(const AttentionArgs& a, const AttentionLayer& layer,
                                      const AttentionItem& item, int r) const {
    const auto position = static_cast<std::uint32_t>(lane->q_pos + query_of_row(a, r));
    return vector_key(layer.queries, lane->request, position,
                      static_cast<std::uint32_t>(head_of_row(a, item, r)));
  }
  // Whether these rows are the ones to tell of what is wrong with positions [from, to): the first
  // in which they are live.
  PAGETAPE_HD bool tells(const AttentionArgs& a, const AttentionItem& item, int from,
                         int to) const {
    if (item.kv_head != 0 || to <= begin || from >= end) return false;
    return first_row == 0 || from >= lane->live_end((first_row - 1) / a.ratio);
  }
};

// The leaves with live positions, and the chunks that these lie in: [first, end). Rows that see
// nothing have one leaf too, so that they are ended.
struct Range {
  int first, end;
};
PAGETAPE_HD Range leaves_of(const Span& span) {
  if (span.begin >= span.end) return {0, 1};
  return {span.begin / kLeafTokens, (span.end + kLeafTokens - 1) / kLeafTokens};
}
PAGETAPE_HD Range chunks_of(const AttentionArgs& a, const Range& leaves) {
  return {leaves.first >> a.chunk_shift, ((leaves.end - 1) >> a.chunk_shift) + 1};
}

// ---- which entries may become addresses, in steps that a machine may put other work between ----

// Entry `logical` of the sequence as the table says it; kNoEntry where it says nothing.
PAGETAPE_HD std::int32_t said_at(const AttentionArgs& a, const AttentionLane& lane, int logical) {
  const int entry = logical - lane.first;
  if (entry < 0 || entry >= static_cast<int>(lane.entries)) return kNoEntry;
  return a.entries[lane.entries_begin + static_cast<std::uint32_t>(entry)];
}

// The id to be used for what was said; kSkip: none may be.
inline constexpr std::int64_t kSkip = -1;
template <bool kChecked>
PAGETAPE_HD std::int64_t usable(const AttentionArgs& a, std::int32_t said) {
  if (said == kNoEntry) return kSkip;
  if (!kChecked || (said >= 0 && said < a.bound)) return said;
  if (a.on_oob != OnOob::kClamp || a.bound <= 0) return kSkip;
  return said < 0 ? 0 : a.bound - 1;
}

PAGETAPE_HD PageEntry page_of(const AttentionArgs& a, std::int64_t id) {
  if (id == kSkip) return {};
  const std::int64_t number = id >> (a.page_shift - a.entry_shift);
  return number < a.page_count ? a.pages[number] : a.rest;
}

// Where in a layer's storage the entry's first position lies, in elements; kSkip where it may not
// be read. `tell` is called with a finding.
template <bool kChecked, class Tell>
PAGETAPE_HD std::int64_t place_of(const AttentionArgs& a, const AttentionItem& item,
                                  const Span& span, int logical, std::int32_t said,
                                  const PageEntry& page, Tell tell) {
  if (said == kNoEntry) return kSkip;
  const int from = logical << a.entry_shift, to = from + (1 << a.entry_shift);
  const auto wrong = [&](std::uint32_t owner) {
    if (!span.tells(a, item, from, to)) return;
    const auto entry = static_cast<std::uint32_t>(logical - span.lane->first);
    tell(DeviceFinding{a.launch, item.lane, entry, said, owner});
  };
  if (kChecked && (said < 0 || said >= a.bound)) wrong(kAnybody);
  const std::int64_t id = usable<kChecked>(a, said);
  if (id == kSkip) return kSkip;
  if (kChecked && a.check_owner && !owns(a.sharers, page.owner, span.lane->owner)) {
    wrong(page.owner);
    if (a.on_oob != OnOob::kClamp) return kSkip;
  }
  const int shift = a.page_shift - a.entry_shift;
  const std::int64_t offset = (id & ((1 << shift) - 1)) << a.entry_shift;
  return page.frame * a.kv.page_stride + offset * a.kv.token_stride;
}

}  // namespace pagetape
