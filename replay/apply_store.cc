// SPDX-License-Identifier: Apache-2.0
// Stores: which pages they write, and fronts, by which a step's stores are told of once.
#include <algorithm>
#include <bit>
#include <utility>

#include "replay/applier.h"
#include "replay/quotient.h"

namespace pagetape {

// Calls f(page, begin, end) for each part of a run in a page, offsets within that, until it is
// false.
template <class F>
static bool each_part(std::span<const ev::SlotRun> runs, int shift, F&& f) {
  for (const ev::SlotRun& run : runs) {
    std::int64_t slot = raw(run.first);
    if (slot > INT64_MAX - (std::int64_t{1} << 32)) return f(slot >> shift, 0, 1);  // Of no pool.
    for (const std::int64_t end = slot + run.count; slot < end;) {
      const std::int64_t page = slot >> shift, first = page << shift;
      const std::int64_t to = std::min<std::int64_t>(end, first + (std::int64_t{1} << shift));
      if (!f(page, slot - first, to - first)) return false;
      slot = to;
    }
  }
  return true;
}

// A request's slots in pages of its own, which no one else has: most lanes. False: nothing is done.
[[gnu::always_inline]] inline bool Applier::store_runs(Name req, std::span<const ev::SlotRun> runs,
                                                       int shift, UsualWrites& usual) {
  if (runs.size() == 1) {
    const std::int64_t slot = raw(runs[0].first), page = slot >> shift;
    const std::int64_t begin = slot - (page << shift), end = begin + runs[0].count;
    if (end <= std::int64_t{1} << shift) {
      if (!usual.takes(req, page)) return false;
      usual.write(page, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end));
      return true;
    }
  }
  return store_pages(req, runs, shift, usual);
}

// The same, of any number of pages.
bool Applier::store_pages(Name req, std::span<const ev::SlotRun> runs, int shift,
                          UsualWrites& usual) {
  State::Cache& cache = state_.cache_;
  const std::uint64_t lane = ++cache.stamp;
  const bool usually = each_part(runs, shift, [&](std::int64_t page, auto, auto) {
    if (!usual.takes(req, page)) return false;
    // A page that comes twice is told but once.
    return std::exchange(cache.stamps.at(static_cast<std::uint64_t>(page)), lane) != lane;
  });
  return usually &&
         each_part(runs, shift, [&](std::int64_t page, std::int64_t begin, std::int64_t end) {
           usual.write(page, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end));
           return true;
         });
}

// Calls f(page, begin, end) for what the store's lane writes in each page, until it is false.
template <class F>
static bool each_part_of(const LaunchView& view, std::size_t lane, int shift, F&& f) {
  if (view.slot_lanes != nullptr) return each_part(view.slot_lanes->runs_of(lane), shift, f);
  const Lane& of = view.lanes[lane];
  const std::span<const SlotId> slots(view.slots.data() + of.slots_begin, of.slots_count);
  for (std::size_t k = 0; k < slots.size();) {
    ev::SlotRun run{slots[k], 1};
    while (++k < slots.size() && raw(slots[k]) == raw(run.first) + run.count) ++run.count;
    if (!each_part({&run, 1}, shift, f)) return false;
  }
  return true;
}

// Does the store write the same, maybe in other layers?
bool Applier::is_front_of(const State::FrontOf& front, const LaunchView& view) const {
  const ev::Store& e = *view.store;
  if (front.pool == kNoPool || front.rank != rank_ || !front.rows.is(e.rows)) return false;
  if (world_.pool(front.pool).extents.front() != front.number) return false;
  if (front.of_graph != (view.today != nullptr) || front.slots != e.slots) return false;
  if (front.of_graph && !front.today.is(*view.today)) return false;
  return world_.rewritten(e.slots) == front.rewritten;
}

// Stores of the same lanes, layer by layer, to pages that are each a request's alone: told once,
// and then but of one layer more. Padding beside them writes what is reserved for it. No pages
// where it is another store.
Applier::FrontPages Applier::store_front(LaunchView& view, const Targets::Group& target, int shift,
                                         const UsualWrites& usual) {
  Pool& pool = world_.pool(target.pool);
  State::Cache& cache = state_.cache_;
  const std::int64_t bound = view.bound_of(pool);
  for (const State::FrontOf& front : cache.fronts) {
    if (front.pool == target.pool && front.bound == bound && is_front_of(front, view) &&
        pool.extents.widen_front(world_.layers, front.number, target.layers, index_)) {
      return {.pages = pool.extents.front_pages().size(), .pads = front.pads};
    }
  }
  world_.settle(target.pool);
  // All layers that are ever written, at once.
  if (pool.layers_written == target.layers || target.layers == kAllLayers) return {};
  if (view.slot_lanes == nullptr && view.lanes.empty()) make_lanes(view);
  const std::uint64_t number = pool.extents.begin_front(target.layers, index_);
  const std::size_t lanes = view.slot_lanes != nullptr ? view.slot_lanes->reqs.size()  //
                                                       : view.lanes.size();
  bool usually = true;
  std::uint64_t pads = 0;
  for (std::size_t i = 0; i < lanes && usually; ++i) {
    const Name req = view.slot_lanes != nullptr ? view.slot_lanes->reqs[i] : view.lanes[i].req;
    if (req == kNone) ++cache.stamp;
    usually =
        each_part_of(view, i, shift, [&](std::int64_t page, std::int64_t begin, std::int64_t end) {
          if (req == kNone) {
            if (page < 0) return true;  // Nothing is written.
            if (!usual.pads(page)) return false;
            // A page that comes twice in a lane is told but once.
            std::uint64_t& told = cache.stamps.at(static_cast<std::uint64_t>(page));
            pads += std::exchange(told, cache.stamp) != cache.stamp;
            return true;
          }
          return usual.takes(req, page) &&
                 pool.extents.join_front(world_.layers, static_cast<std::uint32_t>(page),
                                         static_cast<std::uint32_t>(begin),
                                         static_cast<std::uint32_t>(end));
        });
  }
  const std::size_t pages = pool.extents.front_pages().size();
  if (!usually || pages == 0) {
    pool.extents.drop_front();
    return {};
  }
  for (const std::uint32_t page : pool.extents.front_pages()) {
    if (Name* digest = pool.digests.find(page)) *digest = kNone;
  }
  world_.fronts.push_back(target.pool);
  const ev::Store& e = *view.store;
  cache.fronts[cache.next_front++ % cache.fronts.size()] = {
      .rank = rank_,
      .bound = bound,
      .pool = target.pool,
      .number = number,
      .rows = e.rows,
      .today = view.today == nullptr ? ev::Rows() : *view.today,
      .of_graph = view.today != nullptr,
      .slots = e.slots,
      .rewritten = world_.rewritten(e.slots),
      .pads = pads};
  return {.pages = pages, .pads = pads};
}

void Applier::run_store(LaunchView& view, std::uint32_t g) {
  const Targets::Group& target = view.targets->groups[g];
  Pool& pool = world_.pool(target.pool);
  const bool wraps = state_.names().text(view.store->negative) == "wrap";
  const ev::SlotLanes* by_runs = view.slot_lanes;
  const bool counts =
      std::has_single_bit(pool.page_size) && (observer_ == nullptr || observer_->counts_pages());
  const int shift = std::countr_zero(pool.page_size);
  UsualWrites usual(world_, pool, view.bound_of(pool), target.layers, index_);
  if (counts && !wraps) {
    if (const auto [pages, pads] = store_front(view, target, shift, usual); pages != 0) {
      pool.layers_written = world_.layers.unite(pool.layers_written, target.layers);
      if (observer_ != nullptr) observer_->on_pages(view, g, pages, pads);
      return;
    }
  }
  world_.settle(target.pool);
  PageAct act{.act = Act::kStore,
              .pool = target.pool,
              .layers = target.layers,
              .launch = &view,
              .group = g};
  if (by_runs == nullptr && view.lanes.empty()) make_lanes(view);
  const std::size_t lanes = by_runs != nullptr ? by_runs->reqs.size() : view.lanes.size();
  for (std::size_t i = 0; i < lanes; ++i) {
    if (counts && by_runs != nullptr &&
        store_runs(by_runs->reqs.data()[i], by_runs->runs_of(i), shift, usual)) {
      continue;
    }
    if (view.lanes.empty()) make_lanes(view);
    act.row = static_cast<std::int64_t>(i);
    store_lane(view, act, wraps);
  }
  if (observer_ != nullptr && usual.pages() > 0) observer_->on_pages(view, g, usual.pages(), 0);
}

void Applier::store_lane(const LaunchView& view, PageAct& act, bool wraps) {
  const std::uint32_t page_size = world_.pool(act.pool).page_size;
  const Lane& lane = view.lanes[static_cast<std::size_t>(act.row)];
  const std::span<const SlotId> slots(view.slots.data() + lane.slots_begin, lane.slots_count);
  act.req = lane.req;
  // Pages told already, with their fate: a page is reported once a lane, not once a slot.
  std::optional<Told> told;
  for (std::size_t k = 0; k < slots.size();) {
    const std::int64_t slot = raw(slots[k]);
    if (slot == INT64_MIN || (slot < 0 && !wraps)) {
      ++k;
      continue;
    }
    // Slots that follow one another within a page are one write.
    std::size_t run = 1;
    const std::int64_t page = slot < 0 ? -1 : quotient(slot, page_size);
    const std::int64_t first = page * page_size;
    const std::size_t most = std::min<std::size_t>(
        slots.size() - k, static_cast<std::size_t>(slot < 0 ? 1 : page_size - (slot - first)));
    while (run < most && raw(slots[k + run]) == slot + static_cast<std::int64_t>(run)) ++run;
    const auto begin = slot < 0 ? 0 : static_cast<std::uint32_t>(slot - first);
    act.page = PageId{static_cast<std::int32_t>(std::min<std::int64_t>(page, INT32_MAX))};
    act.column = static_cast<std::int64_t>(k);
    act.slot = slots[k];
    const bool only = run == slots.size();  // The usual case needs no set.
    if (!only && !told) told.emplace();
    write_page(act, begin, begin + static_cast<std::uint32_t>(run), kNone, only ? nullptr : &*told);
    k += run;
  }
}

}  // namespace pagetape
