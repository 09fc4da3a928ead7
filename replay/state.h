// SPDX-License-Identifier: Apache-2.0
// The state machine: what every event of the trace model does to the paged KV caches.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "replay/observer.h"
#include "replay/outcome.h"
#include "replay/world.h"
#include "traces/brief.h"
#include "traces/event.h"
#include "traces/names.h"
#include "traces/status.h"

namespace pagetape {

// A copyable value; knows no right or wrong beyond "this event cannot apply". Events are applied
// page by page as section 4 of the trace model says, so that state and rules go on past a fault
// without a cascade: an id outside the pool is skipped, a free by a non-owner changes nothing, an
// alloc of an owned page adds the owner. Not thread-safe.
class State {
 public:
  // `names` is the table of the events to come and outlives the state.
  explicit State(const Names& names);
  // In state.cc: the copying of all that a state holds takes a compiler seconds.
  State(const State&);
  State(State&&) noexcept;
  State& operator=(const State&);
  State& operator=(State&&) noexcept;
  ~State();

  // Applies the event with the next index. Where the outcome is not kApplied, nothing changed
  // but the index. `observer` may be null.
  Outcome apply(const Event& event, Observer* observer = nullptr);
  // The same for brief ones, of which an observer would be told no more than that they came. False
  // where not all would be kApplied: then nothing changed.
  bool apply(const Briefs& briefs);

  // Applies what no event of the trace says, a `gap` where events are missing: takes no index.
  Outcome imply(const Event& event, Observer* observer = nullptr);
  // Goes on with the event of this index: those up to it are missing.
  void skip_to(EventIndex next) { next_ = next; }

  // Index of the event that apply() will take next.
  EventIndex next_event() const { return next_; }

  // The state of a rank; null where no event of it came. `kNoRank`: events without a rank.
  static constexpr std::int64_t kNoRank = INT64_MIN;
  const World* world(std::int64_t rank = kNoRank) const;
  const std::map<std::int64_t, World>& worlds() const { return worlds_; }
  const Names& names() const { return *names_; }

  // 64-bit hash of everything that later events and findings can depend on, provenance included.
  // The same for the same events, whatever table interned their names.
  std::uint64_t digest() const;
  // … of the state that was saved as these bytes.
  static std::uint64_t digest_of(std::string_view saved);

  // The same state with nothing under way that is told only of all pages together (Extents): what
  // it holds stands at each page. `scratch` is where it is made if need be.
  const State& settled(std::optional<State>& scratch) const;

  // The whole state as bytes, and back. A damaged keyframe gives kDamaged and leaves the state
  // empty. Loading interns names.
  std::string save() const;
  Status load(std::string_view bytes, Names& names);

 private:
  friend class Applier;
  World& world_of(std::int64_t rank) {
    // Most traces are of one rank.
    const bool first = !worlds_.empty() && worlds_.begin()->first == rank;
    return first ? worlds_.begin()->second : worlds_[rank];
  }

  // A launch's layers resolved through remaps and bindings, kept while these do not move.
  struct Resolved {
    Layers layers;
    Name bound_pool = kNone;
    std::uint32_t changes = 0;
    Targets targets;
  };
  struct ResolvedOf {
    std::vector<Resolved> all;
    std::size_t next = 0;  // Where to look first: layers come in the order in which they came.
  };
  const Names* names_;
  EventIndex next_ = 0;
  std::map<std::int64_t, World> worlds_;
  // The lanes of an attention, kept for the next one with the same rows, where all that moves is
  // lengths and the contents of tables.
  struct KnownLanes {
    ev::Rows rows, today;
    bool of_graph = false;
    Name table = kNone, lens = kNone;
    std::int64_t rank = kNoRank, cols = -1;
    std::vector<Lane> lanes;
  };
  // What a front is the write of: stores of the same lanes and slots widen it.
  struct FrontOf {
    std::int64_t rank = kNoRank, bound = 0;
    std::uint32_t pool = kNoPool;
    std::uint64_t number = 0;
    ev::Rows rows, today;
    bool of_graph = false;
    Name slots = kNone;
    EventIndex rewritten = kNever;  // The buffer of slots.
    std::uint64_t pads = 0;         // Reserved pages that padding writes, lane by lane.
  };
  // Derived, and rebuilt where it is missing: a copied or loaded state starts without.
  struct Cache {
    std::unordered_map<std::uint64_t, ResolvedOf> resolved;  // By rank and backend.
    LaunchView view;
    std::array<KnownLanes, 8> known;
    std::size_t next_known = 0;
    KnownLanes* in_view = nullptr;  // Whose lanes the view holds.
    std::array<FrontOf, 8> fronts;
    std::size_t next_front = 0;
    // By page: the last list in which it came, counted; tells whether it comes in one twice.
    SparseArray<std::uint64_t, 1024> stamps;
    std::uint64_t stamp = 0;
    Cache() = default;
    Cache(const Cache&) {}
    Cache(Cache&& other) noexcept : Cache() { resolved = std::move(other.resolved); }
    Cache& operator=(const Cache&) {
      resolved.clear();
      known = {};
      in_view = nullptr;
      fronts = {};
      return *this;
    }
  };
  Cache cache_;
};

}  // namespace pagetape
