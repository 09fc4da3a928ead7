// SPDX-License-Identifier: Apache-2.0
#include "verify/event_dependencies.h"

#include <algorithm>
#include <array>

namespace pagetape {
namespace {

template <class... T>
constexpr std::array<bool, kKinds> kinds_of() {
  std::array<bool, kKinds> out{};
  ((out[kKindOf<T>] = true), ...);
  return out;
}

constexpr auto kOfDevice =
    kinds_of<ev::Attention, ev::Store, ev::Copy, ev::GraphLaunch, ev::GraphStep, ev::Kernel,
             ev::Table, ev::Lens, ev::SlotList, ev::Refresh, ev::AsyncBegin, ev::StreamWait>();
// A launch has its pointers and scalars from when it was issued: it cannot be moved past these.
constexpr auto kOfSetup =
    kinds_of<ev::Pool, ev::Buffer, ev::Map, ev::PoolSet, ev::Backend, ev::PoolSwap, ev::SwaState,
             ev::Cached, ev::LayerRemap, ev::Version, ev::GraphCapture, ev::Scalar, ev::Dropped,
             ev::Gap, ev::End>();

bool forgets(const Event& event) {
  return std::holds_alternative<ev::Gap>(event.body) ||
         std::holds_alternative<ev::Dropped>(event.body) ||
         std::holds_alternative<ev::End>(event.body);
}

// The launch before it that the event says is complete; a trace may name a number that is none.
EventIndex completed(const Event& event, EventIndex index) {
  std::int64_t launch = -1;
  if (const auto* done = std::get_if<ev::LaunchDone>(&event.body)) launch = done->event;
  if (const auto* error = std::get_if<ev::CudaError>(&event.body))
    launch = error->after.value_or(-1);
  const bool is_one = launch >= 0 && static_cast<EventIndex>(launch) < index;
  return is_one ? static_cast<EventIndex>(launch) : kNever;
}

}  // namespace

Actor Dependencies::actor_of(const Event& event, bool acknowledges) {
  if (std::holds_alternative<ev::AsyncEnd>(event.body)) return Actor::kEnd;
  if (kOfSetup[event.kind()]) return Actor::kSetup;
  if (kOfDevice[event.kind()]) return Actor::kDevice;
  const bool is_write = std::holds_alternative<ev::Fill>(event.body) && !acknowledges;
  return is_write ? Actor::kDevice : Actor::kHost;
}

Dependencies::Rank& Dependencies::rank_of(const Event& event) {
  const auto [at, fresh] = ranks_.try_emplace(event.rank.value_or(INT64_MIN));
  if (fresh) at->second.host.number = chains_++;
  return at->second;
}

Dependencies::Chain& Dependencies::stream_of(Rank& rank, std::int32_t stream) {
  const auto [at, fresh] = rank.streams.try_emplace(stream);
  if (fresh) at->second.number = chains_++;
  return at->second;
}

void Dependencies::need_all(const Rank& rank) {
  for (const auto& [stream, chain] : rank.streams) need(chain.last);
}

void Dependencies::on_wait(Rank& rank, const Event& event, const ev::StreamWait& wait,
                           EventIndex index) {
  const auto on = static_cast<std::int32_t>(wait.on);
  if (!wait.ops) need(stream_of(rank, on).last);
  for (auto& [name, op] : rank.ops) {
    if (wait.ops && std::ranges::find(*wait.ops, name) == wait.ops->end()) continue;
    const auto there = std::ranges::find(op.waits, on, &std::pair<std::int32_t, EventIndex>::first);
    if (op.stream != on && there == op.waits.end()) continue;
    if (wait.ops) need(op.stream == on ? op.begin : there->second);
    const auto known =
        std::ranges::find(op.waits, event.stream, &std::pair<std::int32_t, EventIndex>::first);
    if (known == op.waits.end()) op.waits.emplace_back(event.stream, index);
  }
}

void Dependencies::on_begin(Rank& rank, const Event& event, const ev::AsyncBegin& begin,
                            EventIndex index) {
  Operation& op = rank.ops[begin.op];
  need(op.begin);
  need(op.end);
  op = {event.stream, index, kNever, {}};
}

void Dependencies::on_end(Rank& rank, const ev::AsyncEnd& end, EventIndex index) {
  const auto op = rank.ops.find(end.op);
  if (op == rank.ops.end()) {
    need(rank.gap);  // It began before that, or before the first event given.
  } else {
    need(op->second.begin);
    op->second.end = index;
  }
  rank.ends.push_back(index);
  if (rank.ops.size() >= rank.prune_at) forget_old(rank, index);
}

void Dependencies::forget_old(Rank& rank, EventIndex now) {
  const auto old = [&](EventIndex end) { return end != kNever && end + kFarApart < now; };
  std::erase_if(rank.ends, old);
  std::erase_if(rank.ops, [&](const auto& op) { return old(op.second.end); });
  rank.prune_at = 2 * rank.ops.size() + 1024;
}

void Dependencies::on_host(Rank& rank, const Event& event, EventIndex index) {
  need(completed(event, index));
  if (const auto ends = acknowledged_.find(index); ends != acknowledged_.end()) {
    for (EventIndex end : ends->second) need(end);
  }
  if (actor_ == Actor::kSetup) need_all(rank);
  if (!forgets(event)) return;
  for (EventIndex end : rank.ends) need(end);
  rank.ends.clear();
  rank.ops.clear();
  rank.gap = index;
}

const std::vector<EventIndex>& Dependencies::before(const Event& event, EventIndex index) {
  before_.clear();
  actor_ = actor_of(event, acknowledged_.contains(index));
  Rank& rank = rank_of(event);
  Chain& stream = stream_of(rank, event.stream);
  host_chain_ = rank.host.number;
  stream_chain_ = stream.number;
  if (actor_ == Actor::kEnd) {
    on_end(rank, std::get<ev::AsyncEnd>(event.body), index);
    return before_;
  }
  need(rank.host.last);
  need(stream.last);
  if (const auto* wait = std::get_if<ev::StreamWait>(&event.body)) {
    on_wait(rank, event, *wait, index);
  } else if (const auto* begin = std::get_if<ev::AsyncBegin>(&event.body)) {
    on_begin(rank, event, *begin, index);
  } else if (actor_ != Actor::kDevice) {
    on_host(rank, event, index);
  }
  stream.last = index;
  if (actor_ != Actor::kDevice) rank.host.last = index;
  return before_;
}

std::vector<EventIndex> Dependencies::live() const {
  std::vector<EventIndex> out;
  for (const auto& [number, rank] : ranks_) {
    out.push_back(rank.host.last);
    for (const auto& [stream, chain] : rank.streams) out.push_back(chain.last);
    out.insert(out.end(), rank.ends.begin(), rank.ends.end());
    for (const auto& [name, op] : rank.ops) {
      out.push_back(op.begin);
      for (const auto& [stream, wait] : op.waits) out.push_back(wait);
    }
  }
  return out;
}

}  // namespace pagetape
