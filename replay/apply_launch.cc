// SPDX-License-Identifier: Apache-2.0
// Attention, store and copy: what the device is about to do, and what it then has done.
#include <algorithm>
#include <utility>

#include "replay/applier.h"

namespace pagetape {

// More slots or entries than this in one lane are no engine's (contexts end far below).
static constexpr std::int64_t kLaneMax = 1 << 20;

Targets Applier::make_targets(const BackendState& backend, std::span<const Layer> layers,
                              Name bound_pool) {
  Targets out;
  const std::uint32_t bound = world_.pools.index(bound_pool);
  std::vector<std::vector<Layer>> physical;
  for (Layer logical : layers) {
    Target target{.logical = logical, .physical = logical, .binding = backend.all};
    if (auto it = backend.remap.find(logical); it != backend.remap.end()) {
      target.physical = it->second.to;
      target.remapped_by = it->second.by;
    }
    if (auto it = backend.layers.find(target.physical); it != backend.layers.end()) {
      target.binding = it->second;
    }
    // The tensor that the kernel really got says more than any binding.
    const std::uint32_t pool = bound != kNoPool ? bound : target.binding.pool;
    std::size_t g = 0;
    while (g < out.groups.size() && out.groups[g].pool != pool) ++g;
    if (g == out.groups.size()) {
      out.groups.push_back({.pool = pool, .layers = kNoLayers, .members = {}});
      physical.emplace_back();
    }
    out.groups[g].members.push_back(static_cast<std::uint32_t>(out.list.size()));
    physical[g].push_back(target.physical);
    out.list.push_back(target);
  }
  for (std::size_t g = 0; g < out.groups.size(); ++g) {
    out.groups[g].layers = world_.layers.of(physical[g]);
  }
  return out;
}

const Targets& Applier::resolve(std::uint32_t b, const std::optional<Layer>& layer,
                                const std::optional<Layers>& layers,
                                const std::optional<ev::Bound>& bound) {
  const BackendState& backend = world_.backends[b];
  const std::span<const Layer> list =
      layer ? std::span<const Layer>(&*layer, 1) : std::span<const Layer>(*layers);
  const Name bound_pool = bound ? bound->pool : kNone;
  const std::uint64_t key = static_cast<std::uint64_t>(rank_) << 32 ^ b;
  State::ResolvedOf& of = state_.cache_.resolved[key];
  std::vector<State::Resolved>& kept = of.all;
  // From the last one on: mostly it is that, or the next.
  for (std::size_t looked = 0; looked < kept.size(); ++looked) {
    if (of.next >= kept.size()) of.next = 0;
    const State::Resolved& r = kept[of.next];
    if (r.changes == backend.changes && r.bound_pool == bound_pool &&
        std::ranges::equal(r.layers, list)) {
      return r.targets;
    }
    ++of.next;
  }
  std::erase_if(kept, [&](const State::Resolved& r) { return r.changes != backend.changes; });
  if (kept.size() >= 512) kept.clear();
  kept.push_back({Layers(list.begin(), list.end()), bound_pool, backend.changes,
                  make_targets(backend, list, bound_pool)});
  return kept.back().targets;
}

Outcome Applier::check_rows(const ev::Rows& rows, bool slots_buffer) const {
  if (rows.slot_lanes() != nullptr || rows.by_row()) return {};
  for (const ev::Row& row : rows) {
    if (slots_buffer && row.n.value_or(0) > kLaneMax) return {OutcomeCode::kTooLarge, row.req};
    if (!row.spaces) continue;
    for (Name space : *row.spaces) {
      if (space_named(space) == kNoSpace) {
        return undeclared(OutcomeCode::kUndeclaredSpace, space);
      }
    }
  }
  return {};
}

template <class L>
static Outcome check_common(const World& world, const L& e) {
  if (world.backends.find(e.backend) == nullptr) {
    return {OutcomeCode::kUndeclaredBackend, e.backend};
  }
  if (e.bound && e.bound->pool != kNone && world.pools.find(e.bound->pool) == nullptr) {
    return {OutcomeCode::kUndeclaredPool, e.bound->pool};
  }
  return {};
}

Outcome Applier::check_names(const ev::Attention& e) const {
  if (Outcome o = check_common(world_, e); !o.applied()) return o;
  for (Name buffer : {e.table, e.lens}) {
    if (buffer != kNone && world_.buffers.find(buffer) == nullptr) {
      return undeclared(OutcomeCode::kUndeclaredBuffer, buffer);
    }
  }
  if (e.space != kNone && space_named(e.space) == kNoSpace) {
    return undeclared(OutcomeCode::kUndeclaredSpace, e.space);
  }
  return check_rows(e.rows, false);
}

Outcome Applier::check_names(const ev::Store& e) const {
  if (Outcome o = check_common(world_, e); !o.applied()) return o;
  if (e.slots != kNone && world_.buffers.find(e.slots) == nullptr) {
    return undeclared(OutcomeCode::kUndeclaredBuffer, e.slots);
  }
  if (e.space != kNone && space_named(e.space) == kNoSpace) {
    return undeclared(OutcomeCode::kUndeclaredSpace, e.space);
  }
  return check_rows(e.rows, true);
}

Outcome Applier::check_names(const ev::Copy& e) const {
  for (Name pool : {e.from_pool, e.to_pool}) {
    if (world_.pools.find(pool) == nullptr) return undeclared(OutcomeCode::kUndeclaredPool, pool);
  }
  return {};
}

static const ev::Row kLeftOut{};  // A captured lane that the graph launch does not name.

// The row of a graph launch that stands for captured lane `i`, matched by `row` or by position;
// where the graph launch names none at all, the captured lanes are as they are.
static const ev::Row& todays_row(const ev::Rows* today, const ev::Row& captured, std::size_t i) {
  if (today == nullptr) return captured;
  // Mostly the lanes are in the same order.
  const bool in_place =
      i < today->size() && (!captured.row.has_value() || (*today)[i].row == captured.row);
  if (in_place) return (*today)[i];
  if (!captured.row.has_value()) return kLeftOut;
  const auto found = std::ranges::find(*today, captured.row, &ev::Row::row);
  return found == today->end() ? kLeftOut : *found;
}

// A field of today's row, or the captured one's.
template <class M>
static const M& pick(const ev::Row& captured, const ev::Row& today, M ev::Row::*member) {
  return (today.*member).has_value() ? today.*member : captured.*member;
}

// A lane of a captured launch, as its graph runs it today.
static void fill_lane(Lane& lane, const ev::Row& captured, const ev::Row& row,
                      const BufferState* table) {
  lane.req = row.req;
  lane.row = pick(captured, row, &ev::Row::row).value_or(-1);
  if (const auto& pages = pick(captured, row, &ev::Row::pages)) {
    lane.pages = &*pages;
    lane.entries = static_cast<std::int64_t>(pages->size());
  } else if (table != nullptr && lane.row >= 0) {
    lane.entries = pick(captured, row, &ev::Row::n).value_or(table->cols);
  }
  lane.len = pick(captured, row, &ev::Row::len).value_or(-1);
  lane.q_len = pick(captured, row, &ev::Row::q_len).value_or(1);
  lane.q_pos = pick(captured, row, &ev::Row::q_pos).value_or(-1);
  lane.first = pick(captured, row, &ev::Row::first).value_or(0);
  if (const auto& logical = pick(captured, row, &ev::Row::logical)) lane.logical = &*logical;
  if (const auto& spaces = pick(captured, row, &ev::Row::spaces)) lane.spaces = &*spaces;
}

// The lanes of an attention with the same rows as one before.
bool Applier::take_known_lanes(LaunchView& view, const ev::Attention& e, const ev::Rows* today) {
  const BufferState* table = world_.buffers.find(e.table);
  const BufferState* lens = world_.buffers.find(e.lens);
  State::Cache& cache = state_.cache_;
  const auto known = std::ranges::find_if(cache.known, [&](const State::KnownLanes& k) {
    return k.rows.is(e.rows) && k.of_graph == (today != nullptr) &&
           (today == nullptr || k.today.is(*today)) && k.table == e.table && k.lens == e.lens &&
           k.rank == rank_ && !k.lanes.empty();
  });
  if (known == cache.known.end() || known->cols != table->cols) return false;
  cache.in_view = &*known;
  view.lanes.swap(known->lanes);
  view.table_of = table;
  view.lens_of = lens;
  view.stale = true;
  if (observer_ != nullptr && observer_->takes_stale_lanes()) return true;
  for (std::size_t i = 0; i < view.lanes.size(); ++i) view.refresh(i);
  view.stale = false;
  return true;
}

void Applier::fill_view(LaunchView& view, const ev::Attention& e, const ev::Rows* today) {
  view.attention = &e;
  view.claim = e.space == kNone ? kNoSpace : space_named(e.space);
  view.table = e.table == kNone ? UINT32_MAX : world_.buffers.index(e.table);
  if (take_known_lanes(view, e, today)) return;
  const BufferState* table = world_.buffers.find(e.table);
  const BufferState* lens = world_.buffers.find(e.lens);
  bool by_row = table != nullptr && lens != nullptr;  // All lanes, and nothing else.
  view.lanes.clear();
  view.lanes.resize(e.rows.size());
  for (std::size_t i = 0; i < e.rows.size(); ++i) {
    const ev::Row& captured = e.rows.data()[i];
    const ev::Row& row = todays_row(today, captured, i);
    Lane& lane = view.lanes.data()[i];
    const bool has_len = pick(captured, row, &ev::Row::len).has_value();
    const bool has_q_pos = pick(captured, row, &ev::Row::q_pos).has_value();
    fill_lane(lane, captured, row, table);
    if (lane.pages == nullptr && table != nullptr && lane.row >= 0) {
      lane.look_up_row(*table);
    }
    if (!has_len && lens != nullptr) {
      lane.len = lens->length_at(lane.row >= 0 ? lane.row : static_cast<std::int64_t>(i));
    }
    if (!has_q_pos) lane.q_pos = lane.len - lane.q_len;
    by_row = by_row && lane.row >= 0 && !has_len && !has_q_pos && lane.pages == nullptr &&
             lane.logical == nullptr && lane.spaces == nullptr;
  }
  constexpr std::size_t kMostKnown = 4096;  // Lanes: more are no engine's.
  if (!by_row || view.lanes.size() > kMostKnown) return;
  State::Cache& cache = state_.cache_;
  State::KnownLanes& known = cache.known[cache.next_known++ % cache.known.size()];
  view.table_of = table;
  view.lens_of = lens;
  known.rows = e.rows;
  known.today = today == nullptr ? ev::Rows() : *today;
  known.of_graph = today != nullptr;
  known.table = e.table;
  known.lens = e.lens;
  known.rank = rank_;
  known.cols = table->cols;
  known.lanes.clear();
  cache.in_view = &known;
}

void Applier::add_slots(LaunchView& view, Lane& lane, const ev::Row& captured, const ev::Row& today,
                        const BufferState* buffer) {
  lane.slots_begin = static_cast<std::uint32_t>(view.slots.size());
  const auto& inline_slots = pick(captured, today, &ev::Row::slots);
  const OptInt n = pick(captured, today, &ev::Row::n);
  if (inline_slots) {
    view.slots.insert(view.slots.end(), inline_slots->begin(), inline_slots->end());
  } else if (buffer != nullptr && lane.row >= 0 && n.has_value()) {
    for (std::int64_t k = 0; k < std::min(*n, kLaneMax); ++k) {
      const Value* value = buffer->slots.find(static_cast<std::uint64_t>(lane.row + k));
      view.slots.push_back(SlotId{value == nullptr ? INT64_MIN : value->value});
    }
  }
  lane.slots_count = static_cast<std::uint32_t>(view.slots.size()) - lane.slots_begin;
}

// The lanes of a store, with their slots.
void Applier::make_lanes(LaunchView& view) {
  if (const ev::SlotLanes* from = view.slot_lanes; from != nullptr) {
    view.lanes.resize(from->reqs.size());
    for (std::size_t i = 0; i < from->reqs.size(); ++i) {
      Lane& lane = view.lanes[i];
      lane.req = from->reqs[i];
      lane.slots_begin = static_cast<std::uint32_t>(view.slots.size());
      from->list(i, view.slots);
      lane.slots_count = static_cast<std::uint32_t>(view.slots.size()) - lane.slots_begin;
    }
    return;
  }
  const ev::Store& e = *view.store;
  const BufferState* buffer = world_.buffers.find(e.slots);
  view.lanes.resize(e.rows.size());
  for (std::size_t i = 0; i < e.rows.size(); ++i) {
    const ev::Row& captured = e.rows.data()[i];
    const ev::Row& row = todays_row(view.today, captured, i);
    Lane& lane = view.lanes.data()[i];
    lane.req = row.req;
    lane.row = pick(captured, row, &ev::Row::row).value_or(-1);
    add_slots(view, lane, captured, row, buffer);
  }
}

void Applier::fill_view(LaunchView& view, const ev::Store& e, const ev::Rows* today) {
  view.store = &e;
  view.claim = e.space == kNone ? kNoSpace : space_named(e.space);
  view.slot_lanes = today == nullptr ? e.rows.slot_lanes() : nullptr;
  view.lanes.clear();
  const bool unseen = observer_ == nullptr || !observer_->looks_at_slots();
  const auto known = [&](const State::FrontOf& front) { return is_front_of(front, view); };
  if (unseen && (view.slot_lanes != nullptr || std::ranges::any_of(state_.cache_.fronts, known))) {
    return;
  }
  make_lanes(view);
}

// The view for the next launch, with the storage that it has; its lanes are still to be set.
LaunchView& Applier::empty_view() {
  State::Cache& cache = state_.cache_;
  LaunchView& view = cache.view;
  if (cache.in_view != nullptr) cache.in_view->lanes.swap(view.lanes);
  cache.in_view = nullptr;
  std::vector<Lane> lanes = std::move(view.lanes);
  std::vector<SlotId> slots = std::move(view.slots);
  slots.clear();
  view = {};
  view.lanes = std::move(lanes);
  view.slots = std::move(slots);
  view.event = index_;
  view.stream = stream_;
  return view;
}

void Applier::run_launch(LaunchView& view) {
  if (observer_ != nullptr) observer_->on_launch(world_, view);
  if (view.copy != nullptr) return run_copy(*view.copy, view);
  if (view.store == nullptr) return;
  for (std::uint32_t g = 0; g < view.targets->groups.size(); ++g) {
    if (view.targets->groups[g].pool != kNoPool) run_store(view, g);
  }
}

void Applier::copy_page(const ev::Copy& e, std::size_t i, const LaunchView& view) {
  const std::uint32_t from = world_.pools.index(e.from_pool), to = world_.pools.index(e.to_pool);
  const LayerSet layers = e.layers ? world_.layers.of(*e.layers) : kAllLayers;
  PageAct act{.act = Act::kCopyRead,
              .pool = from,
              .page = e.from[i],
              .req = e.req,
              .column = static_cast<std::int64_t>(i),
              .layers = layers,
              .launch = &view};
  const Space& space = world_.space_of(world_.pool(from));
  if (!world_.pool(from).in_bounds(e.from[i])) {
    act.fate = Fate::kOutside;
  } else if (!space.known(e.from[i])) {
    act.fate = Fate::kUnknown;
  } else if (world_.pool(from).reserved_page(e.from[i]) == nullptr && !space.owned(e.from[i])) {
    act.fate = Fate::kNoOwner;
  }
  tell(act);
  const bool outside = act.fate == Fate::kOutside, unknown = act.fate == Fate::kUnknown;
  act.act = Act::kCopyWrite;
  act.pool = to;
  act.page = e.to[i];
  Pool& target = world_.pool(to);
  act.fate = write_fate(target, act.page, e.req);
  tell(act);
  if (act.fate == Fate::kOutside || act.fate == Fate::kNullPage || act.fate == Fate::kPad ||
      outside) {
    return;
  }
  std::int64_t end = target.page_size;
  if (e.slots && !e.slots->empty()) {
    end = std::min(end, (*e.slots)[e.slots->size() == 1 ? 0 : std::min(i, e.slots->size() - 1)]);
  }
  const Pool& source = world_.pool(from);
  const auto from_page = static_cast<std::uint32_t>(e.from[i]);
  const auto to_page = static_cast<std::uint32_t>(e.to[i]);
  target.extents.copy(world_.layers, to_page, source.extents, from_page, layers,
                      static_cast<std::uint32_t>(end), index_);
  target.layers_written = world_.layers.unite(
      target.layers_written, world_.layers.intersect(source.layers_written, layers));
  const Name* digest = source.digests.find(from_page);
  const bool whole = end == target.page_size && layers == kAllLayers;
  if (whole && digest != nullptr && *digest != kNone) {
    target.digests.at(to_page) = *digest;
  } else if (Name* old = target.digests.find(to_page)) {
    *old = kNone;
  }
  world_.space_of(target).touch(e.to[i]);
  if (unknown) world_.space_of(target).lose(e.to[i]);
}

void Applier::run_copy(const ev::Copy& e, const LaunchView& view) {
  world_.settle();
  for (std::size_t i = 0; i < e.from.size(); ++i) copy_page(e, i, view);
}

Outcome Applier::on(const ev::Attention& e) {
  if (Outcome o = check_names(e); !o.applied()) return o;
  const std::uint32_t b = world_.backends.index(e.backend);
  LaunchView& view = empty_view();
  view.backend = &world_.backends[b];
  view.targets = &resolve(b, e.layer, e.layers, e.bound);
  view.facts = &view.backend->facts;
  if (observer_ == nullptr) return {};  // It changes nothing.
  fill_view(view, e, nullptr);
  run_launch(view);
  return {};
}

Outcome Applier::on(const ev::Store& e) {
  if (Outcome o = check_names(e); !o.applied()) return o;
  const std::uint32_t b = world_.backends.index(e.backend);
  LaunchView& view = empty_view();
  view.backend = &world_.backends[b];
  view.targets = &resolve(b, e.layer, e.layers, e.bound);
  view.facts = &view.backend->facts;
  fill_view(view, e, nullptr);
  run_launch(view);
  return {};
}

Outcome Applier::on(const ev::Copy& e) {
  if (Outcome o = check_names(e); !o.applied()) return o;
  LaunchView& view = empty_view();
  view.lanes.clear();
  view.copy = &e;
  run_launch(view);
  return {};
}

Outcome Applier::on(const ev::LaunchDone& e) {
  const bool before = e.event >= 0 && static_cast<EventIndex>(e.event) < index_;
  return before ? Outcome{} : Outcome{OutcomeCode::kNoSuchLaunch, kNone};
}

void Applier::run_captured(Name name, GraphState& graph, std::size_t index, const ev::Rows* today) {
  const CapturedLaunch& captured = graph.launches[index];
  LaunchView& view = empty_view();
  view.graph = &graph;
  view.graph_name = name;
  view.number = static_cast<std::int64_t>(index);
  view.rows_like = captured.rows_like;
  view.today = today;
  if (const auto* copy = std::get_if<ev::Copy>(&captured.body)) {
    view.copy = copy;
    return run_launch(view);
  }
  view.targets = &captured.targets;
  view.facts = &captured.facts;
  if (const auto* attention = std::get_if<ev::Attention>(&captured.body)) {
    view.backend = world_.backends.find(attention->backend);
    if (observer_ == nullptr) return;
    fill_view(view, *attention, today);
  } else {
    const auto& store = std::get<ev::Store>(captured.body);
    view.backend = world_.backends.find(store.backend);
    fill_view(view, store, today);
  }
  run_launch(view);
}

}  // namespace pagetape
