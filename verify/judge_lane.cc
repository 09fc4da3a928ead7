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
  Against now{.epoch = ground.space.epoch(),
              .pool_version = ground.pool.version,
              .pools = ground.world.pools.size()};
  if (ground.map != nullptr) {
    now.from_epoch = ground.from_space->epoch();
    now.from_space = ground.world.pool(ground.map->from).space;
  }
  if (memos.against != now) memos = {.against = now, .lanes = {}, .standing = {}};
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
      lens(ground.view.lens_of),
      first_lens(lens == nullptr ? nullptr : lens->lens.first_chunk()),
      claimed(ground.view.claim != kNoSpace),
      spans(ground.spans),
      covered(ground.covered) {
  take(ground.memos);
}

void Judge::Usual::cover(Ground& ground, LayerSet layers) {
  if (ground.view.rows_like < 0) return;  // No one asks.
  covered = ground.world.layers.intersect(covered, layers);
  covered_by = layers;
}

void Judge::Usual::end(Ground& ground) const {
  ground.counts[static_cast<std::size_t>(Rule::kShortTable)] += widths;
  ground.skipped += skipped;
  ground.skipped_claimed += skipped_claimed;
  ground.covered =
      ground.covered == covered ? covered : ground.world.layers.intersect(ground.covered, covered);
}

// Is the last page written as far as the lane goes? In the layers of the memo, or at least in those
// of the launch: the pages before it may have been written in more.
bool Judge::last_page_written(Ground& ground, Usual& usual, std::int64_t len, const Memo& memo,
                              const Live& live) {
  for (const LayerSet layers : {memo.layers, ground.targets.layers}) {
    if (!written(ground, len, memo.page, layers, live.from, live.hi - 1)) continue;
    usual.cover(ground, layers);
    return true;
  }
  return false;
}

// The usual lane: since it was judged clean, no more happened than that tokens came or went in its
// last page. False says nothing. The lane may be stale.
[[gnu::always_inline]] inline bool Judge::stands(Ground& ground, Usual& usual, const Lane& lane,
                                                 std::int64_t len) {
  if (!lane.usual || static_cast<std::size_t>(lane.row) >= usual.rows || len < 0) return false;
  const Memo& memo = usual.memos[lane.row];
  const Holder* holder = usual.space->holder_at(memo.holder_at);
  const bool by_row = ground.view.lens_of != nullptr;  // No lane says its own length or position.
  const Live live = usual.live(len, by_row ? len - lane.q_len : lane.q_pos);
  if (holder == nullptr || memo.moved != holder->moved || memo.end != live.hi ||
      memo.req != lane.req || memo.usual > live.from || memo.first != lane.first ||
      memo.row_version != lane.table->changes.version() || memo.page == kUnknownPage ||
      !spans_launch(ground, usual.spans, memo.layers)) {
    return false;
  }
  if (usual.from_space != nullptr) {
    const Holder* from = usual.from_space->holder_at(memo.from_at);
    if (from == nullptr || memo.from_moved != from->moved ||
        memo.from_mapped != from->mapped.version()) {
      return false;
    }
  }
  const std::int64_t width = ground.width(lane);
  if (width >= 0 && (live.lo < lane.first || live.hi - lane.first > width)) return false;
  const auto end = static_cast<std::uint32_t>(len - (live.hi - 1) * usual.tokens);
  const auto page = static_cast<std::uint32_t>(memo.page);
  if (!usual.extents->begins_with(page, memo.layers, end)) {
    if (!last_page_written(ground, usual, len, memo, live)) return false;
  } else if (memo.layers != usual.covered_by) {
    usual.cover(ground, memo.layers);
  }
  const auto n = static_cast<std::uint64_t>(live.hi - live.lo);
  if (width >= 0) ++usual.widths;
  usual.skipped += n;
  if (usual.claimed || memo.claimed) usual.skipped_claimed += n;
  return true;
}

// The same of a plain lane of which nothing else was touched.
[[gnu::always_inline]] inline bool Judge::stands(Ground& ground, Usual& usual, const Lane& now,
                                                 const Standing::Lane& lane) {
  const std::int64_t len = usual.first_lens[now.row].value;
  const std::int64_t hi = (len + usual.tokens - 1) >> usual.shift;
  if (hi != lane.end || now.req != lane.req || now.q_len != lane.q_len ||
      now.entries != lane.entries || len < lane.least) {
    return false;
  }
  const auto end = static_cast<std::uint32_t>(len - ((hi - 1) << usual.shift));
  if (!usual.extents->begins_with(lane.page, lane.layers, end)) return false;
  if (lane.layers != usual.covered_by) usual.cover(ground, lane.layers);
  const std::int64_t from = len - lane.q_len + 1 - usual.window;
  const std::int64_t lo = usual.window > 0 && from > 0 ? from >> usual.shift : 0;
  ++usual.widths;
  usual.skipped += static_cast<std::uint64_t>(hi - lo);
  if (usual.claimed || lane.claimed) usual.skipped_claimed += static_cast<std::uint64_t>(hi - lo);
  return true;
}

// Where lanes are told apart by what was touched; null where they cannot be.
Standing* Judge::standing_of(Ground& ground, const Usual& usual) {
  const LaunchView& view = ground.view;
  if (ground.memos == nullptr || view.lens_of == nullptr || usual.first_lens == nullptr ||
      usual.shift < 0) {
    return nullptr;
  }
  Standing& standing = ground.memos->standing;
  standing.begin({usual.window, ground.cols, ground.targets.layers}, *view.table_of, ground.space,
                 ground.from_space);
  return &standing;
}

// The plain lane, where its memo is of now.
void Judge::set_standing(Standing& standing, const Usual& usual, const Lane& lane) {
  const Memo& memo = usual.memos[lane.row];
  if (memo.req != lane.req || memo.end > INT32_MAX || lane.q_len > INT32_MAX ||
      memo.page == kUnknownPage)
    return;
  if (usual.window == 0 && memo.usual > 0) return;
  standing.set(lane.row, {.end = static_cast<std::int32_t>(memo.end),
                          .req = lane.req,
                          .page = static_cast<std::uint32_t>(memo.page),
                          .layers = memo.layers,
                          .least = memo.usual > 0 ? memo.usual - 1 + usual.window + lane.q_len : 0,
                          .entries = lane.entries,
                          .q_len = static_cast<std::int32_t>(lane.q_len),
                          .claimed = memo.claimed,
                          .holder = memo.holder_at,
                          .from_holder = usual.from_space == nullptr ? UINT32_MAX : memo.from_at});
}

// Is it the lane of the memo, and what has moved since? False: it is judged from the start.
bool Judge::still_holds(Ground& ground, const Lane& lane, const Memo& memo, const Live& live,
                        Rest& rest) const {
  if (rest.holder == nullptr || !same_lane(memo, lane, *rest.holder, live.from)) return false;
  if (memo.from_birth != (rest.from_holder == nullptr ? 0 : rest.from_holder->birth)) return false;
  if (!spans_launch(ground, ground.spans, memo.layers)) return false;
  rest.covered = memo.layers;
  rest.tagged = memo.tag != kNoTag;
  rest.tag = rest.tagged ? memo.tag : 0;
  rest.from = memo.end - 1;  // It may have been written further, or less.
  if (lane.table->changes.version() != memo.row_version) {
    rest.changed =
        lane.table->changes.low_since(memo.row_version, live.lo - lane.first) + lane.first;
    rest.from = std::min(rest.from, rest.changed);
  }
  rest.from = std::min(rest.from, rest.holder->changes.low_since(memo.holder_version, live.lo));
  if (const Holder* from = rest.from_holder) {
    rest.from = std::min({rest.from, from->changes.low_since(memo.from_version, live.lo),
                          from->mapped.low_since(memo.from_mapped, live.lo)});
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
  static const Holder kNobody;
  const Holder& from = rest.from_holder == nullptr ? kNobody : *rest.from_holder;
  memo.from_birth = from.birth;
  memo.from_version = from.changes.version();
  memo.from_mapped = from.mapped.version();
  memo.from_moved = from.moved;
  memo.holder_at = ground.space.holder_index(lane.req);
  memo.from_at = rest.from_holder == nullptr ? 0 : ground.from_space->holder_index(lane.req);
  memo.head = rest.head;
  memo.first = lane.first;
  memo.live = live;
  memo.usual = std::max(live, rest.head.known * ground.entry_tokens);
  memo.end = hi;
  const Cell* last = lane.table->find(hi - 1 - lane.first);
  const bool judged =
      hi > quotient(live, ground.entry_tokens) && last != nullptr && last->page != kUnknownPage;
  memo.tag = judged ? last->tag : kNoTag;
  memo.claimed = judged && ground.claimed(last->tag);
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
         written(ground, lane.len, cell.page, rest.covered, live, logical);
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
  const bool reused = still_holds(ground, lane, memo, live, rest);
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
  const LaunchView& view = ground.view;
  Standing* const standing = standing_of(ground, usual);
  for (std::size_t i = 0, n = view.lanes.size(); i < n; ++i) {
    const Lane& lane = view.lanes.data()[i];
    const bool may_stand = standing != nullptr && lane.plain;
    if (may_stand && stands(ground, usual, lane, standing->rows()[lane.row])) {
      ++stood_;
      continue;
    }
    const std::int64_t len = view.stale ? usual.length_at(lane.row) : lane.len;
    if (stands(ground, usual, lane, len)) {
      if (may_stand) set_standing(*standing, usual, lane);
      continue;
    }
    if (may_stand) standing->forget(lane.row);
    view.refresh(i);
    if (lane.len < 0) continue;
    Live live = usual.live(lane.len, lane.q_pos);
    if (const std::int64_t width = ground.width(lane); width >= 0) {
      ++usual.widths;
      if (live.lo < lane.first || live.hi - lane.first > width) [[unlikely]]
        report_width(ground, i, live.lo, live.hi);
    }
    live.hi = std::max(live.lo, live.hi);
    if (lane.pages == nullptr && lane.table == nullptr) continue;
    judge_lane(ground, i, live);
    usual.take(ground.memos);
    if (may_stand && live.hi <= ground.width(lane)) set_standing(*standing, usual, lane);
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
