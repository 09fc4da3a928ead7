// SPDX-License-Identifier: Apache-2.0
#include "replay/lanes.h"

#include <algorithm>

namespace pagetape {

// No context is longer; positions of a machine have 31 bits.
static constexpr std::int64_t kMostTokens = 1 << 24;

EntryUnit entry_unit(const ev::Attention& launch, const Pool& pool) {
  EntryUnit unit;
  unit.tokens = launch.page_size.value_or(pool.page_size);
  unit.bound = pool.pages * pool.page_size / unit.tokens;
  if (launch.bound && launch.bound->pages.has_value()) unit.bound = *launch.bound->pages;
  return unit;
}

// Entries [begin, end) of a lane that lists its logical pages.
static void gather_listed(const Lane& lane, std::int64_t begin, std::int64_t end, LaneList& out) {
  const AttentionLane& to = out.lanes.back();
  const auto live = static_cast<std::size_t>(std::max<std::int64_t>(end - begin, 0));
  out.entries.resize(out.entries.size() + live, kNoEntry);
  out.listed.back().assign(live, -1);
  for (std::size_t j = 0; j < lane.logical->size(); ++j) {
    const std::int64_t logical = (*lane.logical)[j];
    if (logical < begin || logical >= end) continue;
    const auto at = static_cast<std::size_t>(logical - begin);
    Cell cell;
    const bool known = lane.entry(static_cast<std::int64_t>(j), cell);
    out.entries[to.entries_begin + at] = known ? raw(cell.page) : kNoEntry;
    out.listed.back()[at] = static_cast<std::int64_t>(j);
  }
}

static void gather_row(const Lane& lane, std::int64_t begin, std::int64_t end, LaneList& out) {
  AttentionLane& to = out.lanes.back();
  const std::int64_t from = std::max<std::int64_t>(begin - lane.first, 0);
  if (from >= end - lane.first) return;
  to.first = static_cast<std::int32_t>(lane.first + from);
  out.columns.back() = from;
  for (std::int64_t j = from; j < end - lane.first; ++j) {
    Cell cell;
    out.entries.push_back(lane.entry(j, cell) ? raw(cell.page) : kNoEntry);
  }
}

bool gather_lanes(const LaunchView& view, std::int64_t entry_tokens, std::int64_t window,
                  LaneList& out) {
  const auto kernel_window = static_cast<std::int32_t>(std::min(window, kMostTokens * 2));
  for (const Lane& lane : view.lanes) {
    AttentionLane& to = out.lanes.emplace_back();
    out.reqs.push_back(lane.req);
    out.columns.push_back(0);
    out.listed.emplace_back();
    to.entries_begin = static_cast<std::uint32_t>(out.entries.size());
    if (lane.len > kMostTokens || lane.q_len < 0 || lane.q_len > kMostTokens || lane.q_pos < 0 ||
        lane.q_pos > kMostTokens || lane.len < 0) {
      return false;
    }
    to.len = static_cast<std::int32_t>(lane.len);
    to.q_pos = static_cast<std::int32_t>(lane.q_pos);
    to.q_len = static_cast<std::int32_t>(lane.q_len);
    to.owner = raw(lane.req);
    const std::int64_t begin = to.live_begin(0, kernel_window) / entry_tokens;
    const std::int64_t end = (lane.len + entry_tokens - 1) / entry_tokens;
    to.first = static_cast<std::int32_t>(begin);
    if (lane.logical != nullptr) {
      gather_listed(lane, begin, end, out);
    } else {
      gather_row(lane, begin, end, out);
    }
    to.entries = static_cast<std::uint32_t>(out.entries.size()) - to.entries_begin;
  }
  return true;
}

void clamp_entries(LaneList& list, std::int64_t bound) {
  for (std::int32_t& id : list.entries) {
    if (id == kNoEntry || bound < 1) continue;
    id = static_cast<std::int32_t>(std::clamp<std::int64_t>(id, 0, bound - 1));
  }
}

}  // namespace pagetape
