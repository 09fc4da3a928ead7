// SPDX-License-Identifier: Apache-2.0
// The lanes of an attention: which entries have to be judged (again). What a lane was judged clean
// against is remembered by version; what did not move since is not looked at.
#include <algorithm>

#include "verify/judge.h"

namespace pagetape {

// The lanes' memos for this launch; null where its lanes cannot be judged by what changed.
Judge::Memos* Judge::memos_for(const Ground& ground) {
  const LaunchView& view = ground.view;
  const bool direct = ground.entry_tokens == ground.pool.page_size;
  if (view.table == UINT32_MAX || !direct || ground.pending || options_.strict_window ||
      !options_.reuse) {
    return nullptr;
  }
  Memos& memos = cache_->memos[{view.table, ground.targets.pool}];
  const std::uint32_t from_epoch = ground.from_space == nullptr ? 0 : ground.from_space->epoch();
  if (memos.epoch != ground.space.epoch() || memos.from_epoch != from_epoch ||
      memos.pool_version != ground.pool.version || memos.claim != view.claim ||
      memos.bound != ground.bound || memos.unit != ground.unit) {
    memos = {.epoch = ground.space.epoch(),
             .from_epoch = from_epoch,
             .pool_version = ground.pool.version,
             .claim = view.claim,
             .bound = ground.bound,
             .unit = ground.unit,
             .lanes = {}};
  }
  return &memos;
}

Judge::Memo* Judge::memo_of(Ground& ground, const Lane& lane) {
  constexpr std::int64_t kMostRows = 1 << 16;
  const bool plain = ground.memos != nullptr && lane.table != nullptr && lane.req != kNone &&
                     lane.logical == nullptr && lane.spaces == nullptr && lane.row < kMostRows;
  if (!plain) return nullptr;
  std::vector<Memo>& lanes = ground.memos->lanes;
  const auto row = static_cast<std::size_t>(lane.row);
  if (row >= lanes.size()) lanes.resize(row + 1);
  return &lanes[row];
}

// Is it the lane of the memo, and what has moved since? False: it is judged from the start.
bool Judge::still_holds(Ground& ground, const Lane& lane, const Memo& memo, std::int64_t live,
                        Rest& rest) const {
  if (rest.holder == nullptr || memo.req != lane.req || memo.birth != rest.holder->birth ||
      memo.first != lane.first || live < memo.live) {
    return false;
  }
  if (memo.layers != ground.spans) {
    if (!ground.world.layers.contains(memo.layers, ground.targets.layers)) return false;
    ground.spans = memo.layers;
  }
  rest.from = memo.whole;
  rest.checked = memo.checked;
  rest.settled = memo.end;
  const auto moved = [&](std::int64_t low, bool settled) {
    rest.from = std::min(rest.from, low);
    if (!settled) rest.settled = std::min(rest.settled, low);
  };
  if (lane.table->changes.version() != memo.row_version) {
    rest.changed = lane.table->changes.low_since(memo.row_version) + lane.first;
    moved(rest.changed, false);
  }
  moved(rest.holder->changes.low_since(memo.holder_version),
        rest.holder->moves == memo.holder_moves);
  if (rest.from_holder != nullptr) {
    moved(rest.from_holder->changes.low_since(memo.from_version),
          rest.from_holder->moves == memo.from_moves);
  }
  return true;
}

void Judge::remember(Memo& memo, const Ground& ground, const Lane& lane, const Rest& rest,
                     std::int64_t live, std::int64_t hi) const {
  memo.req = lane.req;
  memo.birth = rest.holder->birth;
  memo.row_version = lane.table->changes.version();
  memo.holder_version = rest.holder->changes.version();
  memo.holder_moves = rest.holder->moves;
  memo.from_version = rest.from_holder == nullptr ? 0 : rest.from_holder->changes.version();
  memo.from_moves = rest.from_holder == nullptr ? 0 : rest.from_holder->moves;
  memo.first = lane.first;
  memo.live = live;
  memo.whole = lane.len / ground.entry_tokens;
  memo.checked = rest.checked;
  memo.end = hi;
  const Cell* last = lane.table->find(hi - 1 - lane.first);
  memo.tag = last == nullptr ? 0 : last->tag;
}

// All that is to judge of an entry but what is written in it. False says nothing.
bool Judge::quick_entry(const Ground& ground, const Lane& lane, const Cell& cell,
                        std::int64_t logical, Rest& rest) const {
  const Column* column = rest.holder->columns.find(static_cast<std::uint64_t>(logical));
  if (raw(cell.page) < 0 || raw(cell.page) >= std::min(ground.bound, ground.fits) ||
      column == nullptr || column->evicted || column->page != cell.page ||
      ground.pool.reserved_page(cell.page) != nullptr) {
    return false;
  }
  const PageInfo* info = ground.space.find(cell.page);
  if (info == nullptr || info->unknown || info->owner != lane.req) return false;
  rest.in_place = rest.in_place && info->column == logical;
  if (ground.map == nullptr) return true;
  const Column* source = rest.from_holder == nullptr
                             ? nullptr
                             : rest.from_holder->columns.find(static_cast<std::uint64_t>(logical));
  if (source == nullptr || ground.map->by_slot || source->evicted) return false;
  const PageInfo* from = ground.from_space->find(source->page);
  rest.in_place =
      rest.in_place && from != nullptr && from->owner == lane.req && from->column == logical;
  const MapEntry* mapped = ground.map->entries.find(static_cast<std::uint32_t>(source->page));
  return mapped != nullptr && mapped->to == raw(cell.page);
}

// Are entries [rest.from, hi) clean, by the few looks that a lane costs which grew by some tokens?
// False says nothing: the full judgement follows.
bool Judge::quick(Ground& ground, const Lane& lane, const Memo& memo, std::int64_t live,
                  std::int64_t hi, Rest& rest) const {
  const auto cells = static_cast<std::int64_t>(lane.table->cells.size());
  if (hi - lane.first > cells || rest.from < lane.first) return false;
  for (std::int64_t logical = rest.from; logical < hi; ++logical) {
    const Cell& cell = lane.table->cells[static_cast<std::size_t>(logical - lane.first)];
    const bool settled = rest.checked <= logical && logical < rest.settled;
    if (!settled) {
      if (cell.tag != memo.tag || !quick_entry(ground, lane, cell, logical, rest)) return false;
    }
    const std::int64_t position = logical * ground.entry_tokens;
    const auto begin = static_cast<std::uint32_t>(std::max<std::int64_t>(0, live - position));
    const auto end = static_cast<std::uint32_t>(std::min(ground.entry_tokens, lane.len - position));
    if (!ground.pool.extents.covers(ground.world.layers, static_cast<std::uint32_t>(cell.page),
                                    memo.layers, begin, end)) {
      return false;
    }
  }
  // Where an entry has no place of its own, what happens to its page need not be told of it.
  if (!rest.in_place) {
    rest.checked = hi;
  } else if (rest.checked > rest.from || rest.settled < rest.from) {
    rest.checked = rest.from;
  }
  return true;
}

void Judge::judge_remembered(Ground& ground, std::size_t row, Memo& memo, std::int64_t live,
                             std::int64_t lo, std::int64_t hi) {
  const Lane& lane = ground.view.lanes[row];
  Rest rest{.holder = ground.space.holder(lane.req)};
  if (ground.from_space != nullptr) rest.from_holder = ground.from_space->holder(lane.req);
  const bool reused = still_holds(ground, lane, memo, live, rest);
  rest.from = reused ? std::clamp(rest.from, lo, hi) : lo;
  bool clean = true;
  ground.aligned = true;
  LayerSet covered = reused ? memo.layers : kAllLayers;
  std::int64_t skipped = hi - lo;
  if (!reused || !quick(ground, lane, memo, live, hi, rest)) {
    skipped = rest.from - lo;
    rest.checked = hi;
    rest.in_place = false;
    clean = judge_entries(ground, row, rest.from, lo, hi, covered);
  }
  ground.skipped += static_cast<std::uint64_t>(skipped);
  const bool claimed = ground.view.claim != kNoSpace || ground.world.tags[memo.tag].space != kNone;
  if (claimed) ground.skipped_claimed += static_cast<std::uint64_t>(skipped);
  const bool as_before = hi <= memo.end && rest.changed >= memo.end;
  memo.apart = memo.apart && rest.in_place;
  if (!reused || !(as_before || memo.apart)) {
    clean = judge_distinct(ground, row, lo, hi, memo.apart) && clean;
  }
  ground.clean = ground.clean && clean;
  // What changes is known by column: a lane that lists a page elsewhere is not remembered.
  if (clean && ground.aligned && rest.holder != nullptr) {
    // What was reused was whole in the memo's layers; what was judged now has told its own.
    if (reused) ground.covered = ground.world.layers.intersect(ground.covered, memo.layers);
    memo.layers = covered;
    remember(memo, ground, lane, rest, live, hi);
  } else {
    memo = {};
    ground.covered = kNoLayers;
  }
}

void Judge::judge_lane(Ground& ground, std::size_t row) {
  const Lane& lane = ground.view.lanes[row];
  if (lane.len < 0) return;
  const std::int64_t tokens = ground.entry_tokens;
  const std::int64_t live = ground.window > 0 && !options_.strict_window
                                ? std::max<std::int64_t>(0, lane.q_pos + 1 - ground.window)
                                : 0;
  const std::int64_t lo = live / tokens;
  const std::int64_t hi = (lane.len + tokens - 1) / tokens;
  judge_width(ground, row, lo, hi);
  if (lane.pages == nullptr && lane.table == nullptr) return;
  if (Memo* memo = memo_of(ground, lane)) {
    return judge_remembered(ground, row, *memo, live, lo, std::max(lo, hi));
  }
  LayerSet covered = kAllLayers;
  bool apart = false;
  const bool clean = judge_entries(ground, row, lo, lo, hi, covered);
  ground.clean = judge_distinct(ground, row, lo, hi, apart) && clean && ground.clean;
  if (lane.req != kNone) ground.covered = kNoLayers;  // Not known entry by entry.
}

// Does no page stand twice in the row? `apart`: as in a memo.
bool Judge::judge_distinct(Ground& ground, std::size_t row, std::int64_t lo, std::int64_t hi,
                           bool& apart) {
  const Lane& lane = ground.view.lanes[row];
  if (lane.req == kNone) return true;
  bool clean = true;
  apart = true;
  ++stamp_;
  const std::int64_t shift = lane.logical == nullptr ? lane.first : 0;
  std::int64_t begin = lo - shift, end = hi - shift;
  if (lane.logical != nullptr) {
    begin = 0;
    end = static_cast<std::int64_t>(lane.logical->size());
  }
  if (lane.pages != nullptr) end = std::min(end, static_cast<std::int64_t>(lane.pages->size()));
  if (lane.table != nullptr && lane.table->far.empty()) {
    end = std::min(end, static_cast<std::int64_t>(lane.table->cells.size()));
  }
  for (std::int64_t j = std::max<std::int64_t>(begin, 0); j < end; ++j) {
    Entry entry{.index = j, .logical = j + shift, .cell = {}};
    if (!lane.entry(j, entry.cell)) continue;
    const std::int64_t value = raw(entry.cell.page);
    if (value < 0 || value >= ground.bound) continue;
    if (lane.logical != nullptr) {
      entry.logical = (*lane.logical)[static_cast<std::size_t>(j)];
      if (entry.logical < lo || entry.logical >= hi) continue;
    }
    const auto page =
        PageId{static_cast<std::int32_t>(value * ground.entry_tokens / ground.pool.page_size)};
    if (ground.pool.reserved_page(page) != nullptr) continue;
    const PageInfo info = ground.space.info(page);
    const bool elsewhere =
        info.owner == lane.req && info.column >= 0 && info.column != entry.logical;
    apart = apart && !info.unknown && info.owner != kNone && !elsewhere;
    std::uint64_t& stamp = stamps_.at(static_cast<std::uint64_t>(value));
    if (stamp == stamp_) {
      clean = report_entry(ground, row, entry, Rule::kAliasedWrite,
                           "stands twice among the row's live entries", kAllLayers, 0, true);
    }
    stamp = stamp_;
  }
  return clean;
}

}  // namespace pagetape
