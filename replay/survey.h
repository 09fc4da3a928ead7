// SPDX-License-Identifier: Apache-2.0
// What a trace needs of a machine, found by going through it once: the pools that launches touch,
// their layers, and which of their pages ever hold anything.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "replay/attention.h"
#include "replay/observer.h"
#include "replay/state.h"

namespace pagetape {

// Pages that a replay can tell apart: no engine has as many, and a number in a file costs no
// memory.
inline constexpr std::int64_t kMostPages = 1 << 24;

// A pool of one rank, by its index in World::pools.
using PoolRef = std::pair<std::int64_t, std::uint32_t>;

struct PoolPlan {
  Name name = kNone;
  KvShape kv;
  std::uint32_t page_size = 1;
  bool assumed = false;               // The trace gives no geometry: one head of 64 bf16 numbers.
  std::string refused;                // Why its launches are not executed; empty: they are.
  bool owners_known = false;          // Its allocations are recorded.
  std::vector<Layer> layers;          // Physical, that launches or copies touch; ascending.
  std::vector<std::uint32_t> frames;  // By page: 0, as for those behind: it never holds anything.
  std::uint32_t frame_count = 1;      // Frame 0 is zeros.

  // Of K and V of one layer.
  std::uint64_t layer_bytes() const {
    return 2 * frame_count * static_cast<std::uint64_t>(kv.page_stride) *
           static_cast<std::uint64_t>(bytes_of(kv.dtype));
  }
};

struct Survey {
  std::map<PoolRef, PoolPlan> pools;
  std::vector<std::int64_t> steps;  // In order; -1 for what came before the first.
};

// Pass it to State::apply for every event, then call survey().
class Surveyor : public Observer {
 public:
  // `heads` 0: all.
  Surveyor(const Names& names, std::int32_t heads) : names_(names), heads_(heads) {}

  void on_event(const World& world, const Event& event, EventIndex index) override;
  void on_page(World& world, const PageAct& act) override;
  void on_launch(World& world, const LaunchView& view) override;

  Survey survey();

 private:
  PoolPlan& plan(std::uint32_t pool) { return survey_.pools[{rank_, pool}]; }
  void declare(const World& world, const ev::Pool& pool);
  void touch_layers(PoolPlan& plan, const std::vector<Layer>& layers);

  const Names& names_;
  const std::int32_t heads_;
  Survey survey_;
  std::int64_t rank_ = State::kNoRank;
  std::map<PoolRef, ev::Pool> said_;
  std::vector<std::pair<PoolRef, PoolRef>> copies_;  // From, to.
};

// The geometry that a pool event gives; `refused` where there is no kernel for it.
PoolPlan plan_for(const ev::Pool& pool, std::int32_t heads, const Names& names);

}  // namespace pagetape
