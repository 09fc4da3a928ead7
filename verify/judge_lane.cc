// SPDX-License-Identifier: Apache-2.0
// The lanes of an attention: which entries have to be judged (again). What a lane was judged clean
// against is remembered by version; what did not move since is not looked at.
#include <algorithm>
#include <bit>

#include "verify/judge.h"

namespace pagetape {

// The tag of a memo whose lane had no live entry: no tag was found right.
static constexpr std::uint32_t kNoTag = UINT32_MAX;

// The lanes' memos for this launch; null where its lanes cannot be judged by what changed.
Judge::Memos* Judge::memos_for(const Ground& ground) {
  const LaunchView& view = ground.view;
  const bool direct = ground.entry_tokens == ground.pool.page_size;
  if (view.table == UINT32_MAX || !direct || ground.pending || options_.strict_window ||
      !options_.reuse) {
    return nullptr;
  }
  constexpr std::size_t kMostSaid = 256;  // Of a sane trace there are a few.
  if (cache_->memos.size() > kMostSaid) cache_->memos.clear();
  Memos& memos =
      cache_->memos[{view.table, ground.targets.pool, view.claim, ground.unit, ground.bound}];
  Memos now{.epoch = ground.space.epoch(),
            .pool_version = ground.pool.version,
            .pools = ground.world.pools.size(),
            .lanes = {}};
  if (ground.map != nullptr) {
    now.from_epoch = ground.from_space->epoch();
    now.from_space = ground.world.pool(ground.map->from).space;
  }
  if (!memos.same_ground(now)) memos = std::move(now);
  return &memos;
}

// Where the lane is remembered; null where it cannot be.
inline Judge::Memo* Judge::memo_of(Ground& ground, const Lane& lane) {
  constexpr std::int64_t kMostRows = 1 << 16;
  if (ground.memos == nullptr || !lane.usual || lane.row >= kMostRows) return nullptr;
  std::vector<Memo>& lanes = ground.memos->lanes;
  const auto row = static_cast<std::size_t>(lane.row);
  if (row >= lanes.size()) lanes.resize(row + 1);
  return lanes.data() + row;
}

// Was the lane judged in all layers of the launch? Mostly in the same ones as the lane before it.
inline bool Judge::spans_launch(Ground& ground, LayerSet& spans, LayerSet layers) {
  if (layers == spans) return true;
  if (!ground.world.layers.contains(layers, ground.targets.layers)) return false;
  spans = layers;
  return true;
}

Judge::Usual::Usual(Ground& ground, bool strict_window)
    : space(&ground.space),
      from_space(ground.from_space),
      extents(&ground.pool.extents),
      tokens(ground.entry_tokens),
      window(strict_window ? 0 : ground.window),
      shift(std::has_single_bit(static_cast<std::uint64_t>(tokens))
                ? std::countr_zero(static_cast<std::uint64_t>(tokens))
                : -1),
      claimed(ground.view.claim != kNoSpace),
      spans(ground.spans),
      covered(ground.covered) {
  take(ground.memos);
}

void Judge::Usual::end(Ground& ground) const {
  ground.counts[static_cast<std::size_t>(Rule::kShortTable)] += widths;
  ground.skipped += skipped;
  ground.skipped_claimed += skipped_claimed;
  ground.covered =
      ground.covered == covered ? covered : ground.world.layers.intersect(ground.covered, covered);
}

// In which layers is the last page written as far as the lane goes? In those of the memo, or at
// least in those of the launch: the pages before it may have been written in more.
[[gnu::always_inline]] inline LayerSet Judge::last_page_written(const Ground& ground,
                                                                const Usual& usual,
                                                                const Lane& lane, const Memo& memo,
                                                                const Live& live) {
  const auto end = static_cast<std::uint32_t>(lane.len - (live.hi - 1) * usual.tokens);
  if (usual.extents->begins_with(static_cast<std::uint32_t>(memo.page), memo.layers, end)) {
    return memo.layers;
  }
  for (const LayerSet layers : {memo.layers, ground.targets.layers}) {
    if (written(ground, lane, memo.page, layers, live.from, live.hi - 1)) return layers;
  }
  return kNoLayers;
}

// The usual lane: since it was judged clean, no more happened than that tokens came or went in its
// last page. Then the memo is brought up to date. False says nothing.
[[gnu::always_inline]] inline bool Judge::stands(Ground& ground, Usual& usual, const Lane& lane,
                                                 Memo& memo, const Live& live) {
  const Holder* holder = usual.space->holder(lane.req);
  if (holder == nullptr || memo.moved != holder->moved || memo.req != lane.req ||
      memo.first != lane.first || memo.live > live.from || memo.end != live.hi ||
      memo.page == kUnknownPage || memo.row_version != lane.table->changes.version() ||
      memo.head.known > live.lo || !spans_launch(ground, usual.spans, memo.layers)) {
    return false;
  }
  std::int64_t from = std::min(memo.whole, holder->changes.low_since(memo.holder_version));
  std::uint32_t from_version = 0;
  if (usual.from_space != nullptr) {
    const Holder* other = usual.from_space->holder(lane.req);
    if (other == nullptr || memo.from_moved != other->moved) return false;
    from_version = other->changes.version();
    from = std::min(from, other->changes.low_since(memo.from_version));
  }
  if (from < live.hi - 1) return false;
  const LayerSet covered = last_page_written(ground, usual, lane, memo, live);
  if (covered == kNoLayers) return false;
  memo.holder_version = holder->changes.version();
  memo.from_version = from_version;
  // Looked at were the live positions of the last page alone, and in those layers.
  const bool whole = live.hi * usual.tokens <= lane.len && covered == memo.layers &&
                     live.from <= (live.hi - 1) * usual.tokens;
  memo.whole = whole ? live.hi : live.hi - 1;
  const auto n = static_cast<std::uint64_t>(live.hi - live.lo);
  usual.skipped += n;
  if (usual.claimed || ground.claimed(memo.tag)) usual.skipped_claimed += n;
  if (covered != usual.covered) [[unlikely]]
    usual.covered = ground.world.layers.intersect(usual.covered, covered);
  return true;
}

// Is it the lane of the memo, and what has moved since? False: it is judged from the start.
bool Judge::still_holds(Ground& ground, const Lane& lane, const Memo& memo, std::int64_t live,
                        Rest& rest) const {
  if (rest.holder == nullptr || !same_lane(memo, lane, *rest.holder, live)) return false;
  if (memo.from_birth != (rest.from_holder == nullptr ? 0 : rest.from_holder->birth)) return false;
  if (!spans_launch(ground, ground.spans, memo.layers)) return false;
  rest.covered = memo.layers;
  rest.tagged = memo.tag != kNoTag;
  rest.tag = rest.tagged ? memo.tag : 0;
  rest.from = memo.whole;
  if (lane.table->changes.version() != memo.row_version) {
    rest.changed = lane.table->changes.low_since(memo.row_version) + lane.first;
    rest.from = std::min(rest.from, rest.changed);
  }
  rest.from = std::min(rest.from, rest.holder->changes.low_since(memo.holder_version));
  if (rest.from_holder != nullptr) {
    rest.from = std::min(rest.from, rest.from_holder->changes.low_since(memo.from_version));
  }
  return true;
}

void Judge::remember(Memo& memo, const Ground& ground, const Lane& lane, const Rest& rest,
                     std::int64_t live, std::int64_t hi) const {
  memo.req = lane.req;
  memo.layers = rest.covered;
  memo.birth = rest.holder->birth;
  memo.row_version = lane.table->changes.version();
  memo.holder_version = rest.holder->changes.version();
  memo.moved = rest.holder->moved;
  memo.from_birth = rest.from_holder == nullptr ? 0 : rest.from_holder->birth;
  memo.from_version = rest.from_holder == nullptr ? 0 : rest.from_holder->changes.version();
  memo.from_moved = rest.from_holder == nullptr ? 0 : rest.from_holder->moved;
  memo.head = rest.head;
  memo.first = lane.first;
  memo.live = live;
  memo.whole = hi * ground.entry_tokens > lane.len ? hi - 1 : hi;
  if (rest.from == hi && memo.end == hi) return;  // The last entry is as it was.
  memo.end = hi;
  const Cell* last = lane.table->find(hi - 1 - lane.first);
  const bool judged =
      hi > quotient(live, ground.entry_tokens) && last != nullptr && last->page != kUnknownPage;
  memo.tag = judged ? last->tag : kNoTag;
  memo.page = judged && rest.in_place && rest.from < hi ? last->page : kUnknownPage;
}

// Is the entry owned by the lane's request at its one column, mapped as the map says, and neither
// evicted nor reserved? Whatever changes that moves the request's logs at or before that column.
inline bool Judge::in_place(const Ground& ground, const Lane& lane, const Cell& cell,
                            std::int64_t logical, const Rest& rest) const {
  if (rest.holder == nullptr) return false;
  const Column* column = rest.holder->columns.find(static_cast<std::uint64_t>(logical));
  if (raw(cell.page) < 0 || raw(cell.page) >= std::min(ground.bound, ground.fits) ||
      column == nullptr || column->evicted || column->page != cell.page ||
      ground.pool.reserved_page(cell.page) != nullptr) {
    return false;
  }
  const PageInfo* info = ground.space.find(cell.page);
  if (info == nullptr || info->unknown || info->owner != lane.req || info->column != logical) {
    return false;
  }
  if (ground.map == nullptr) return true;
  if (ground.map->by_slot || rest.from_holder == nullptr) return false;
  const Column* source = rest.from_holder->columns.find(static_cast<std::uint64_t>(logical));
  if (source == nullptr || source->evicted) return false;
  const PageInfo* from = ground.from_space->find(source->page);
  if (from == nullptr || from->owner != lane.req || from->column != logical) return false;
  const MapEntry* mapped = ground.map->entries.find(static_cast<std::uint32_t>(source->page));
  return mapped != nullptr && mapped->to == raw(cell.page);
}

// Is the entry clean, by the few looks that the usual one costs? False says nothing.
inline bool Judge::quick(const Ground& ground, const Lane& lane, std::int64_t live,
                         std::int64_t logical, const Rest& rest) const {
  const auto index = static_cast<std::uint64_t>(logical - lane.first);
  if (!rest.tagged || index >= lane.table->cells.size()) return false;
  const Cell& cell = lane.table->cells[index];
  return cell.tag == rest.tag && in_place(ground, lane, cell, logical, rest) &&
         written(ground, lane, cell.page, rest.covered, live, logical);
}

// Entries [begin, end) are not in the table.
void Judge::note_absent(Ground& ground, Rest& rest, std::int64_t begin, std::int64_t end) {
  if (begin >= end) return;
  if (rest.head.listed == begin && rest.head.known == begin) {
    rest.head = {end, end};
  } else {
    ground.followed = false;
  }
}

// An entry that was judged at length: does it count otherwise than those before it?
void Judge::note_unlike(Ground& ground, Rest& rest, const Entry& entry) {
  if (rest.tagged && ground.claimed(entry.cell.tag) != ground.claimed(rest.tag)) {
    ground.followed = false;
  }
  if (ground.space.known(entry.cell.page)) return;
  if (rest.head.known == entry.logical) {
    ++rest.head.known;
  } else {
    ground.followed = false;
  }
}

// Judges entries [rest.from, hi), the usual ones the quick way.
bool Judge::judge_rest(Ground& ground, std::size_t row, std::int64_t live, std::int64_t hi,
                       Rest& rest) {
  const Lane& lane = ground.view.lanes[row];
  bool clean = true;
  const std::int64_t begin = std::clamp(lane.first, rest.from, hi);
  const std::int64_t end = std::clamp(lane.first + lane.held(), begin, hi);
  rest.in_place = begin == rest.from && end == hi;
  note_absent(ground, rest, rest.from, begin);
  for (std::int64_t logical = begin; logical < end; ++logical) {
    if (quick(ground, lane, live, logical, rest)) {
      ground.skip(logical, logical + 1, rest.head, rest.tag);
      continue;
    }
    Entry entry{.index = logical - lane.first, .logical = logical, .cell = {}};
    if (!lane.entry(entry.index, entry.cell)) {
      rest.in_place = false;
      note_absent(ground, rest, logical, logical + 1);
      continue;
    }
    const bool right = judge_entry(ground, row, entry, rest.covered);
    clean = clean && right;
    rest.in_place = rest.in_place && right && (!rest.tagged || rest.tag == entry.cell.tag) &&
                    in_place(ground, lane, entry.cell, logical, rest);
    if (!right) continue;
    note_unlike(ground, rest, entry);
    rest.tagged = true;
    rest.tag = entry.cell.tag;
  }
  note_absent(ground, rest, end, hi);
  return clean;
}

void Judge::judge_remembered(Ground& ground, std::size_t row, Memo& memo, const Live& live) {
  const auto& [from, lo, hi] = live;
  const Lane& lane = ground.view.lanes[row];
  Rest rest;
  rest.holder = ground.space.holder(lane.req);
  if (ground.from_space != nullptr) rest.from_holder = ground.from_space->holder(lane.req);
  const bool reused = still_holds(ground, lane, memo, from, rest);
  if (reused) {
    rest.from = std::clamp(rest.from, lo, hi);
    rest.head = {std::clamp(memo.head.listed, lo, rest.from),
                 std::clamp(memo.head.known, lo, rest.from)};
    ground.skip(lo, rest.from, rest.head, rest.tag);
  } else {
    memo = {};
    memo.apart = true;  // As far as it has been looked at.
    memo.tag = kNoTag;
    rest.from = lo;
    rest.head = {lo, lo};
  }
  ground.followed = true;
  bool clean = judge_rest(ground, row, from, hi, rest);
  const bool as_before = reused && hi <= memo.end && rest.changed >= memo.end;
  memo.apart = memo.apart && rest.in_place;
  // Pages in their places are different ones.
  if (!memo.apart && !as_before) {
    clean = judge_distinct(ground, row, lo, hi, memo.apart) && clean;
  }
  ground.clean = ground.clean && clean;
  // What changes is known by column: a lane that lists a page elsewhere is not remembered.
  if (clean && ground.followed && rest.holder != nullptr) {
    ground.covered = ground.world.layers.intersect(ground.covered, rest.covered);
    remember(memo, ground, lane, rest, from, hi);
  } else {
    memo = {};
    ground.covered = kNoLayers;
  }
}

void Judge::judge_lane(Ground& ground, std::size_t row, const Live& live) {
  const Lane& lane = ground.view.lanes[row];
  if (Memo* memo = memo_of(ground, lane)) return judge_remembered(ground, row, *memo, live);
  bool apart = false;
  const bool clean = judge_entries(ground, row, live.lo, live.hi);
  ground.clean = judge_distinct(ground, row, live.lo, live.hi, apart) && clean && ground.clean;
  if (lane.req != kNone) ground.covered = kNoLayers;  // Not known entry by entry.
}

void Judge::judge_lanes(Ground& ground) {
  Usual usual(ground, options_.strict_window);
  for (std::size_t i = 0; i < ground.view.lanes.size(); ++i) {
    const Lane& lane = ground.view.lanes.data()[i];
    if (lane.len < 0) continue;
    Live live = usual.live(lane);
    if (const std::int64_t width = ground.width(lane); width >= 0) {
      ++usual.widths;
      if (live.lo < lane.first || live.hi - lane.first > width) [[unlikely]]
        report_width(ground, i, live.lo, live.hi);
    }
    live.hi = std::max(live.lo, live.hi);
    if (lane.usual && static_cast<std::size_t>(lane.row) < usual.rows &&
        stands(ground, usual, lane, usual.memos[lane.row], live)) {
      continue;
    }
    if (lane.pages == nullptr && lane.table == nullptr) continue;
    judge_lane(ground, i, live);
    usual.take(ground.memos);
  }
  usual.end(ground);
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
  end = std::min(end, lane.held());
  for (std::int64_t j = std::max<std::int64_t>(begin, 0); j < end; ++j) {
    Entry entry{.index = j, .logical = j + shift, .cell = {}};
    if (!lane.entry(j, entry.cell)) continue;
    const std::int64_t value = raw(entry.cell.page);
    if (value < 0 || value >= ground.bound) continue;
    if (lane.logical != nullptr) {
      entry.logical = (*lane.logical)[static_cast<std::size_t>(j)];
      if (entry.logical < lo || entry.logical >= hi) continue;
    }
    const bool direct = ground.entry_tokens == ground.pool.page_size;
    const auto page = direct ? entry.cell.page
                             : PageId{static_cast<std::int32_t>(value * ground.entry_tokens /
                                                                ground.pool.page_size)};
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
