// SPDX-License-Identifier: Apache-2.0
// A trace as it would have been under a variant, event by event.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "replay/state.h"
#include "traces/names.h"
#include "traces/status.h"
#include "verify/variant.h"

namespace pagetape {

// Turns recorded events into those of a variant, one after the other. A launch whose table holds
// ids of a space that a map leads from into the space of the pool bound is one that was routed
// wrongly; where the variant says that it would have been routed right, it gets a table of its own
// with the mapped ids. `names` must outlive it.
class Rewriter {
 public:
  Rewriter(const Variant& variant, Names& names) : variant_(variant), names_(names) {}

  // Changes `event`, whose index is `at`; `state` is the variant's before it.
  Status rewrite(const State& state, EventIndex at, Event& event);

  // What the last call said beside it.
  bool dropped() const { return dropped_; }
  const std::vector<Event>& before() const { return before_; }  // For State::imply.
  const std::vector<Event>& after() const { return after_; }

 private:
  struct Route {
    std::uint32_t pool = kNoPool, map = 0;
    Name table = kNone, twin = kNone;  // kNone: pages inline.
    std::int64_t entry_tokens = 1;
    Binding binding;
  };
  using Rank = std::int64_t;

  Status edit(EventIndex at, Event& event);
  bool find_route(const World& world, const ev::Attention& e, Route& route);
  bool source_space(const World& world, const ev::Attention& e, std::uint32_t& space) const;
  void imply(std::vector<Event>& list, EventBody body) const;
  void swap_state(const BackendState& backend, const World& world, const Route& route);
  void declare_twin(const World& world, const Route& route);
  void translate(const World& world, const Route& route, Pages& pages) const;
  void fill_row(const World& world, const Route& route, const ev::Row& row, Name lens);
  void blank_rows(const World& world, const Route& route, const ev::Rows& rows);
  void apply_route(const World& world, const Route& route, ev::Attention& e) const;
  void on_attention(const World& world, ev::Attention& e);
  void on_capture(const World& world, ev::GraphCapture& e);
  void on_launch(const World& world, const ev::GraphLaunch& e);

  const Variant& variant_;
  Names& names_;
  bool dropped_ = false;
  std::vector<Event> before_, after_;
  Rank rank_ = State::kNoRank;
  std::set<std::pair<Rank, Name>> declared_;
  struct Captured {
    Route route;
    Name lens = kNone;
  };
  std::map<std::pair<Rank, Name>, std::vector<Captured>> graphs_;  // Rerouted launches.
};

}  // namespace pagetape
