// SPDX-License-Identifier: Apache-2.0
#include "verify/conflicts.h"

#include <algorithm>
#include <functional>
#include <map>
#include <tuple>

#include "replay/lanes.h"

namespace pagetape {

void Conflicts::on_event(const World& world, const Event& event, EventIndex index) {
  touched_.clear();
  ended_on_.clear();
  rank_ = event.rank.value_or(INT64_MIN);
  index_ = index;
  const auto rewrites = [&](Name buffer) {
    if (world.buffers.find(buffer) != nullptr) {
      touch(Kind::kBuffer, world.buffers.index(buffer), 0, true);
    }
  };
  if (const auto* table = std::get_if<ev::Table>(&event.body)) return rewrites(table->buffer);
  if (const auto* lens = std::get_if<ev::Lens>(&event.body)) return rewrites(lens->buffer);
  if (const auto* slots = std::get_if<ev::SlotList>(&event.body)) return rewrites(slots->buffer);
  if (const auto* refresh = std::get_if<ev::Refresh>(&event.body)) return rewrites(refresh->buffer);
  const auto* end = std::get_if<ev::AsyncEnd>(&event.body);
  if (end == nullptr) return;
  const auto op = std::ranges::find(world.ops, end->op, &Op::name);
  if (op == world.ops.end()) return;
  ended_ = {index, op->stream, op->writes, op->pool, {}};
  end_streams_[index] = op->stream;
  const std::uint32_t allocator = world.space_of(world.pool(op->pool)).allocator;
  for (PageId page : op->pages) ended_on_.push_back({Kind::kPage, rank_, allocator, raw(page)});
}

void Conflicts::on_page(World& world, const PageAct& act) {
  if (act.fate == Fate::kOutside || act.pool == kNoPool) return;
  const bool reads = act.act == Act::kCopyRead || act.act == Act::kTransferRead;
  touch_page(world, act.pool, act.page, !reads);
  acknowledge(world, act);
}

// What is let go, or said to have arrived, behind an operation's end shows that the end was seen.
void Conflicts::acknowledge(const World& world, const PageAct& act) {
  const bool let_go = act.act == Act::kFree || act.act == Act::kEvict || act.act == Act::kMapFree;
  if (!let_go && act.act != Act::kFill) return;
  const std::uint32_t allocator = world.space_of(world.pool(act.pool)).allocator;
  const auto history = histories_.find({Kind::kPage, rank_, allocator, raw(act.page)});
  if (history == histories_.end()) return;
  for (const Ended& op : history->second.ended) {
    if (known_.contains(op.end) || (!let_go && (!op.writes || op.pool != act.pool))) continue;
    known_.insert(op.end);
    acknowledged_[index_].push_back(op.end);
  }
}

void Conflicts::on_launch(World& world, const LaunchView& view) {
  const Name lens = view.attention != nullptr ? view.attention->lens : kNone;
  const Name slots = view.store != nullptr ? view.store->slots : kNone;
  for (Name buffer : {lens, slots}) {
    if (world.buffers.find(buffer) != nullptr) {
      touch(Kind::kBuffer, world.buffers.index(buffer), 0, false);
    }
  }
  if (view.table != UINT32_MAX) touch(Kind::kBuffer, view.table, 0, false);
  if (view.attention != nullptr && view.targets != nullptr) read_entries(world, view);
}

void Conflicts::read_entries(const World& world, const LaunchView& view) {
  for (const Targets::Group& group : view.targets->groups) {
    if (group.pool == kNoPool) continue;
    const Pool& pool = world.pool(group.pool);
    const EntryUnit unit = entry_unit(*view.attention, pool);
    LaneList list;
    gather_lanes(view, unit.tokens, view.attention->window.value_or(0), list);
    for (const AttentionLane& lane : list.lanes) {
      if (lane.owner == raw(kNone)) continue;  // Padding reads no page of which order matters.
      for (std::uint32_t i = 0; i < lane.entries; ++i) {
        const std::int64_t id = list.entries[lane.entries_begin + i];
        if (id == kNoEntry || id < 0 || id >= unit.bound) continue;
        const std::int64_t first = id * unit.tokens / pool.page_size;
        const std::int64_t last = (id * unit.tokens + unit.tokens - 1) / pool.page_size;
        for (std::int64_t page = first; page <= last; ++page) {
          touch_page(world, group.pool, PageId{static_cast<std::int32_t>(page)}, false);
        }
      }
    }
  }
}

void Conflicts::on_graph_launch(const World& world, Name name, const GraphState& graph) {
  touch(Kind::kGraph, raw(name), 0, true);
  for (Name input : graph.inputs) touch(Kind::kBuffer, world.buffers.index(input), 0, false);
}

Conflicts::Clock Conflicts::clock_of(const Event& event, EventIndex index) {
  Clock clock;
  const std::vector<EventIndex> before = dependencies_.before(event, index);
  clock.resize(dependencies_.chains(), 0);
  for (EventIndex earlier : before) {
    const auto known = clocks_.find(earlier);
    if (known == clocks_.end()) continue;
    for (std::size_t c = 0; c < known->second.size(); ++c) {
      clock[c] = std::max(clock[c], known->second[c]);
    }
  }
  if (dependencies_.actor() == Actor::kEnd) return clock;
  clock[dependencies_.stream_chain()] = index + 1;
  if (dependencies_.actor() != Actor::kDevice) clock[dependencies_.host_chain()] = index + 1;
  return clock;
}

// Keeps the clocks of events that may still be named, and of the last few.
void Conflicts::forget_clocks() {
  std::vector<EventIndex> live = dependencies_.live();
  std::ranges::sort(live);
  std::erase_if(clocks_, [&](const auto& entry) {
    return entry.first + kFarApart < index_ && !std::ranges::binary_search(live, entry.first);
  });
  forget_at_ = 2 * clocks_.size() + 4096;
}

void Conflicts::add(const Conflict& conflict) {
  if (conflict.second - conflict.first >= kFarApart) {
    ++too_far_;
  } else if (!full()) {
    found_.push_back(conflict);
  }
}

void Conflicts::compare(const Touch& touch, const Event& event, EventIndex index,
                        const Clock& clock) {
  const auto at = histories_.find(touch.thing);
  if (at == histories_.end()) return;
  const auto kind = static_cast<std::uint8_t>(event.kind());
  const std::uint32_t chain = dependencies_.stream_chain();
  for (const Last& last : at->second.last) {
    if (last.chain == chain) continue;
    const EventIndex ordered = last.chain < clock.size() ? clock[last.chain] : 0;
    if (last.changed != kNever && last.changed >= ordered) {
      add({last.changed, index, last.changed_kind, kind, last.stream, event.stream});
    }
    const bool later = last.changed == kNever || last.read > last.changed;
    if (touch.changes && last.read != kNever && later && last.read >= ordered) {
      add({last.read, index, last.read_kind, kind, last.stream, event.stream});
    }
  }
}

void Conflicts::compare_ended(const Touch& touch, const Event& event, EventIndex index) {
  const auto at = histories_.find(touch.thing);
  if (at == histories_.end()) return;
  const auto kind = static_cast<std::uint8_t>(event.kind());
  const std::uint32_t chain = dependencies_.stream_chain();
  std::erase_if(at->second.ended, [&](const Ended& op) {
    return known_.contains(op.end) || op.end + kFarApart < index;
  });
  for (Ended& op : at->second.ended) {
    if (op.stream == event.stream || !(op.writes || touch.changes)) continue;
    if (std::ranges::find(op.met, chain) != op.met.end()) continue;
    op.met.push_back(chain);
    add({op.end, index, static_cast<std::uint8_t>(kKindOf<ev::AsyncEnd>), kind, op.stream,
         event.stream});
  }
}

void Conflicts::remember(const Touch& touch, const Event& event, EventIndex index) {
  std::vector<Last>& all = histories_[touch.thing].last;
  const std::uint32_t chain = dependencies_.stream_chain();
  auto own = std::ranges::find(all, chain, &Last::chain);
  if (own == all.end()) own = all.insert(own, {.chain = chain, .stream = event.stream});
  const auto kind = static_cast<std::uint8_t>(event.kind());
  if (touch.changes) {
    own->changed = index;
    own->changed_kind = kind;
  } else {
    own->read = index;
    own->read_kind = kind;
  }
}

void Conflicts::applied(const Event& event, EventIndex index) {
  Clock clock = clock_of(event, index);
  if (dependencies_.actor() == Actor::kEnd) {
    for (const Thing& thing : ended_on_) histories_[thing].ended.push_back(ended_);
  }
  // Once a thing; what changes it says more than what reads it.
  std::ranges::sort(touched_, std::greater<>());
  const auto same = std::ranges::unique(touched_, {}, &Touch::thing);
  touched_.erase(same.begin(), same.end());
  const std::size_t before = found_.size();
  for (const Touch& touch : touched_) {
    compare_ended(touch, event, index);
    if (dependencies_.actor() != Actor::kDevice) continue;
    compare(touch, event, index, clock);
    remember(touch, event, index);
  }
  const auto begin = found_.begin() + static_cast<std::ptrdiff_t>(before);
  std::sort(begin, found_.end(),
            [](const Conflict& a, const Conflict& b) { return a.first < b.first; });
  found_.erase(std::unique(begin, found_.end()), found_.end());
  clocks_[index] = std::move(clock);
  if (clocks_.size() >= forget_at_) forget_clocks();
}

std::vector<Conflict> Conflicts::in_order() const {
  std::map<std::tuple<std::uint8_t, std::uint8_t, std::int32_t, std::int32_t>, std::uint64_t> met;
  std::vector<std::pair<std::uint64_t, Conflict>> out;
  for (const Conflict& c : found_) {
    out.emplace_back(met[{c.first_kind, c.second_kind, c.first_stream, c.second_stream}]++, c);
  }
  std::ranges::stable_sort(out, {}, &std::pair<std::uint64_t, Conflict>::first);
  std::vector<Conflict> list;
  for (const auto& [round, conflict] : out) list.push_back(conflict);
  return list;
}

}  // namespace pagetape
