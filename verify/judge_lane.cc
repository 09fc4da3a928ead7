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

// Are they all the launch's layers? Then what is found whole is whole in no others.
bool Judge::Ground::take_spans(LayerSet layers) {
  if (!world.layers.contains(layers, targets.layers)) return false;
  spans = layers;
  if (kept) covered = world.layers.intersect(covered, layers);
  return true;
}

Judge::Usual::Usual(Ground& ground, bool strict_window)
    : pages(ground.pool.extents.pages()),
      fronts(ground.front != 0 ? ~0u : 0),
      tokens(ground.entry_tokens),
      window(strict_window ? 0 : ground.window),
      shift(std::has_single_bit(static_cast<std::uint64_t>(tokens))
                ? std::countr_zero(static_cast<std::uint64_t>(tokens))
                : -1),
      lens(ground.view.lens_of) {
  if (ground.memos == nullptr) return;
  ground.memos->standing.begin(ground.cols, ground.world.buffers[ground.view.table], ground.space,
                               ground.from_space, ground.front);
  take(ground.memos);
}

void Judge::Usual::end(Ground& ground) const {
  ground.counts[static_cast<std::size_t>(Rule::kShortTable)] += stood - no_width;
  ground.skipped += skipped;
  ground.skipped_claimed += skipped - unclaimed;
}

// Goes over lanes from `i` on as long as they stand and are alike in what is said: most. Returns
// the first that is to be looked at by stands(), which may say the same of it. They may be stale.
std::size_t Judge::stand_from(std::size_t i, const Ground& ground, Usual& usual) {
  if (usual.lens == nullptr || usual.shift < 0) return i;
  const SparseArray<Value>::Near lens(usual.lens->lens);
  const Value* const first_lens = lens.find(0);
  if (first_lens == nullptr) return i;
  const std::uint64_t known = std::min<std::uint64_t>(usual.known, usual.lens->lens.kChunkSize);
  const SparseArray<Extents::Page>::Near pages = usual.pages;
  const Lane* const lanes = ground.view.lanes.data();
  const std::size_t n = ground.view.lanes.size(), first = i;
  const std::int64_t window = usual.window;
  const std::uint32_t fronts = usual.fronts;
  const int shift = usual.shift;
  const std::uint64_t tokens = std::uint64_t{1} << shift;
  std::uint64_t entries = 0;
  // Mostly all say alike.
  const auto first_row = static_cast<std::uint64_t>(i < n ? lanes[i].row : -1);
  const std::uint8_t unsaid = first_row < known ? usual.rows[first_row].unsaid : 0;
  for (; i < n; ++i) {
    const auto row = static_cast<std::uint64_t>(lanes[i].row);
    if (row >= known) break;
    const Standing::Lane& lane = usual.rows[row];
    const Extents::Page* const page = pages.find(lane.page);
    if (page == nullptr) break;
    if (!lane.like(lanes[i]) || lane.layers != ground.spans || lane.unsaid != unsaid) break;
    const std::int64_t len = first_lens[row].value;
    const auto held = static_cast<std::uint64_t>(len) - static_cast<std::uint64_t>(lane.begin);
    // More than a page may be written where the pool's were larger once.
    if (held - 1 >= std::min<std::uint64_t>(page->written(lane.written, fronts), tokens)) break;
    std::int64_t from = 0;
    if (window > 0) from = std::max<std::int64_t>(0, len - lane.q_len + 1 - window);
    if (from < lane.usual) break;
    entries += static_cast<std::uint64_t>(lane.end - (from >> shift));
  }
  usual.stood += i - first;
  usual.skipped += entries;
  if (unsaid != 0) usual.leave_out(unsaid, i - first, entries);
  return i;
}

// The usual lane: since it was judged clean, no more happened than that tokens came or went in its
// last page. False says nothing. It may be stale.
bool Judge::stands(Ground& ground, Usual& usual, const Lane& now) {
  const auto row = static_cast<std::uint64_t>(now.row);
  if (row >= usual.known) return false;
  const Standing::Lane& lane = usual.rows[row];
  if (lane.page == Standing::kUnknown || !lane.like(now)) return false;
  if (usual.lens == nullptr && !now.usual) return false;
  const std::int64_t len = usual.length_of(now);
  const std::int64_t from = usual.live_from(usual.lens == nullptr ? now.q_pos : len - lane.q_len);
  if (from < lane.usual || from > len) return false;
  // Tokens in the last page, where it still is that one: 1 to a page of them.
  const std::int64_t held = len - lane.begin;
  if (held < 1 || held > usual.tokens) return false;
  const Extents::Page* const page = usual.pages.find(lane.page);
  const bool as_then = page != nullptr && held <= page->written(lane.written, usual.fronts) &&
                       ground.cover(lane.layers);
  const bool front_wrote = page != nullptr && usual.fronts != 0 && held <= page->front;
  if (!as_then && !last_page_written(ground, lane, from, len, front_wrote)) return false;
  usual.count(lane, from);
  return true;
}

// Is the last page written as far as the lane goes, if not as it was then? At least in the layers
// of the launch: those before it may have been written in more. `front_wrote`: in all those of a
// front.
bool Judge::last_page_written(Ground& ground, const Standing::Lane& lane, std::int64_t from,
                              std::int64_t len, bool front_wrote) {
  const LayerSet layers = ground.targets.layers;
  if (!ground.cover(lane.before)) return false;
  if (front_wrote) return true;
  ground.cover_own();
  return written(ground, len, PageId{static_cast<std::int32_t>(lane.page)}, layers, from,
                 lane.end - 1);
}

// The lane was just judged clean; its last entry is this one.
[[gnu::always_inline]] inline void Judge::set_standing(Ground& ground, const Lane& lane,
                                                       const Live& live, const Rest& rest,
                                                       const Cell& last) {
  const std::int64_t width = ground.width(lane);
  const bool whole = width < 0 || (live.lo >= lane.first && live.hi - lane.first <= width);
  // What a map leads from may come to be the request's unheard where nothing of that is now.
  const bool followed = ground.from_space == nullptr || rest.from_holder != nullptr;
  const std::int64_t most = std::max({live.hi, lane.q_len, lane.first, lane.entries});
  if (rest.from >= live.hi || !whole || !followed || most > INT32_MAX) return;
  const auto page = static_cast<std::uint32_t>(last.page);
  const LayerSet alike = ground.pool.extents.alike(page);
  const LayerSet written = alike == kNoLayers ? rest.whole.layers : alike;
  const std::int64_t known = std::max(rest.head.known, width < 0 ? 0 : lane.first);
  const bool claimed = ground.claimed(last.tag);
  ground.memos->standing.set(
      static_cast<std::size_t>(lane.row),
      {.req = lane.req,
       .q_len = static_cast<std::int32_t>(lane.q_len),
       .first = static_cast<std::int32_t>(lane.first),
       .entries = static_cast<std::int32_t>(lane.entries),
       .begin = (live.hi - 1) * ground.entry_tokens,
       .usual = std::max(live.from, known * ground.entry_tokens),
       .page = page,
       .written = written,
       .before = rest.whole.layers,
       .layers = ground.world.layers.intersect(rest.whole.layers, written),
       .end = static_cast<std::int32_t>(live.hi),
       .by_front = rest.whole.fresh < live.hi - 1,
       .unsaid = static_cast<std::uint8_t>((claimed ? 0 : Standing::Lane::kClaim) |
                                           (width < 0 ? Standing::Lane::kWidth : 0)),
       .holder = ground.space.holder_index(lane.req),
       .from_holder = ground.from_space == nullptr ? Standing::kUnknown
                                                   : ground.from_space->holder_index(lane.req)});
}

// Is it the lane of the memo, and what has moved since? False: it is judged from the start.
[[gnu::always_inline]] inline bool Judge::still_holds(Ground& ground, const Lane& lane,
                                                      const Memo& memo, const Live& live,
                                                      Rest& rest) {
  if (rest.holder == nullptr || !same_lane(memo, lane, *rest.holder, live.from)) return false;
  if (memo.from_birth != (rest.from_holder == nullptr ? 0 : rest.from_holder->birth)) return false;
  if (!ground.cover(memo.layers)) return false;
  rest.whole.layers = memo.layers;
  rest.tagged = memo.tag != kNoTag;
  rest.tag = rest.tagged ? memo.tag : 0;
  rest.from = memo.end - 1;  // It may have been written further, or less.
  if (ground.front != 0 && ground.front == memo.front) {
    rest.whole.fresh = memo.fresh;
  } else {
    rest.from = std::min(rest.from, memo.fresh);
  }
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

[[gnu::always_inline]] inline void Judge::remember(Memo& memo, Ground& ground, const Lane& lane,
                                                   const Rest& rest, const Live& live) {
  static const Holder kNobody;
  const Holder& from = rest.from_holder == nullptr ? kNobody : *rest.from_holder;
  memo.req = lane.req;
  memo.row_version = lane.table->changes.version();
  memo.holder_version = rest.holder->changes.version();
  memo.from_version = from.changes.version();
  memo.from_mapped = from.mapped.version();
  memo.layers = rest.whole.layers;
  memo.fresh = rest.whole.fresh;
  memo.front = ground.front;
  memo.end = live.hi;
  memo.live = live.from;
  memo.first = lane.first;
  memo.head = rest.head;
  memo.birth = rest.holder->birth;
  memo.from_birth = from.birth;
  const Cell* last = live.hi > live.lo ? lane.table->find(live.hi - 1 - lane.first) : nullptr;
  const bool judged = last != nullptr && last->page != kUnknownPage;
  memo.tag = judged ? last->tag : kNoTag;
  if (judged) set_standing(ground, lane, live, rest, *last);
}

// Is the entry owned by the lane's request at that column, mapped as the map says, and neither
// evicted nor reserved? Whatever changes that moves the request's logs at or before that column. A
// page of several owners or columns may stand at another one, too: then `rest.apart` is cleared.
[[gnu::always_inline]] inline bool Judge::in_place(const Ground& ground, const Lane& lane,
                                                   const Cell& cell, std::int64_t logical,
                                                   Rest& rest) {
  if (rest.holder == nullptr) return false;
  const Column* column = rest.holder->columns.find(static_cast<std::uint64_t>(logical));
  if (raw(cell.page) < 0 || raw(cell.page) >= std::min(ground.bound, ground.fits) ||
      column == nullptr || column->evicted || column->page != cell.page ||
      ground.pool.reserved_page(cell.page) != nullptr) {
    return false;
  }
  const PageInfo* info = ground.space.find(cell.page);
  if (info == nullptr || info->unknown) return false;
  if (info->owner != lane.req || info->column != logical) {
    if (!ground.space.follows(*info, lane.req, logical)) return false;
    rest.apart = false;
  }
  if (ground.map == nullptr) return true;
  if (ground.map->by_slot || rest.from_holder == nullptr) return false;
  const Column* source = rest.from_holder->columns.find(static_cast<std::uint64_t>(logical));
  if (source == nullptr || source->evicted) return false;
  const PageInfo* from = ground.from_space->find(source->page);
  if (from == nullptr || !ground.from_space->follows(*from, lane.req, logical)) return false;
  const MapEntry* mapped = ground.map->entries.find(static_cast<std::uint32_t>(source->page));
  return mapped != nullptr && mapped->to == raw(cell.page);
}

// The first entry of [begin, end), all held by the row, that is not clean by the few looks that the
// usual one costs. One that a front of all those layers wrote is: they stay written behind it.
std::int64_t Judge::usual_until(const Ground& ground, const Lane& lane, std::int64_t live,
                                std::int64_t begin, std::int64_t end, Rest& rest) {
  if (!rest.tagged) return begin;
  const std::vector<Cell>& cells = lane.table->cells;
  const SparseArray<Extents::Page>::Near pages(ground.pool.extents.pages());
  end = std::min(end, lane.first + static_cast<std::int64_t>(cells.size()));
  for (; begin < end; ++begin) {
    const Cell& cell = cells.data()[begin - lane.first];
    if (cell.tag != rest.tag || !in_place(ground, lane, cell, begin, rest)) break;
    const Extents::Page* const page = pages.find(static_cast<std::uint32_t>(cell.page));
    const std::int64_t held = std::min(ground.entry_tokens, lane.len - begin * ground.entry_tokens);
    const bool as_others = page != nullptr && held <= page->written(rest.whole.layers);
    if (!as_others && !written(ground, lane.len, cell.page, rest.whole.layers, live, begin)) break;
  }
  return begin;
}

// Entries [begin, end) are not in the table.
void Judge::note_absent(Ground& ground, const Lane& lane, Rest& rest, std::int64_t begin,
                        std::int64_t end) {
  if (begin >= end) return;
  ground.miss(lane);
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
  rest.apart = begin == rest.from && end == hi;
  note_absent(ground, lane, rest, rest.from, begin);
  for (std::int64_t logical = begin; logical < end; ++logical) {
    const std::int64_t usual = usual_until(ground, lane, live, logical, end, rest);
    ground.skip(logical, usual, rest.head, rest.tag);
    logical = usual;
    if (logical == end) break;
    Entry entry{.index = logical - lane.first, .logical = logical, .cell = {}};
    if (!lane.entry(entry.index, entry.cell)) {
      rest.apart = false;
      const std::int64_t next = std::min(lane.first + lane.next(entry.index + 1), end);
      note_absent(ground, lane, rest, logical, next);
      logical = next - 1;
      continue;
    }
    const bool right = judge_entry(ground, row, entry, rest.whole);
    clean = clean && right;
    if (!in_place(ground, lane, entry.cell, logical, rest)) rest.apart = false;
    if (!right) continue;
    note_unlike(ground, rest, entry);
    rest.tagged = true;
    rest.tag = entry.cell.tag;
  }
  note_absent(ground, lane, rest, end, hi);
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
  memo.apart = memo.apart && rest.apart;
  // Pages in their places are different ones.
  if (!memo.apart && !as_before) {
    clean = judge_distinct(ground, row, lo, hi, memo.apart) && clean;
  }
  ground.clean = ground.clean && clean;
  // What changes is known by column: a lane that lists a page elsewhere is not remembered.
  if (clean && ground.followed && rest.holder != nullptr) {
    ground.cover(rest.whole.layers);
    remember(memo, ground, lane, rest, live);
  } else {
    memo = {};
    ground.covered = kNoLayers;
  }
}

[[gnu::always_inline]] inline void Judge::judge_lane(Ground& ground, std::size_t row,
                                                     const Live& live) {
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
  for (std::size_t i = 0, n = view.lanes.size(); (i = stand_from(i, ground, usual)) < n; ++i) {
    if (stands(ground, usual, view.lanes[i])) continue;
    view.refresh(i);
    const Lane& lane = view.lanes[i];
    if (lane.len < 0) {
      ground.miss(lane);
      continue;
    }
    Live live = usual.live(lane.len, lane.q_pos);
    if (const std::int64_t width = ground.width(lane); width >= 0) {
      ++ground.counts[static_cast<std::size_t>(Rule::kShortTable)];
      if (live.lo < lane.first || live.hi - lane.first > width) [[unlikely]]
        report_width(ground, i, live.lo, live.hi);
    }
    live.hi = std::max(live.lo, live.hi);
    if (lane.pages == nullptr && lane.table == nullptr) {
      if (live.lo < live.hi) ground.miss(lane);
      continue;
    }
    judge_lane(ground, i, live);
    usual.take(ground.memos);
  }
  stood_ += usual.stood;
  usual.end(ground);
}

}  // namespace pagetape
