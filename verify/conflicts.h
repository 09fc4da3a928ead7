// SPDX-License-Identifier: Apache-2.0
// Pairs of events whose order matters and for which the recording does not vouch.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "replay/observer.h"
#include "verify/event_dependencies.h"

namespace pagetape {

// `second` came after `first`, both touch one page, buffer or graph, one of them changes it, and no
// dependency orders them. Both are of the device, or one is a completion: what a scheduler does to
// pages is written behind the launches that come before it on the device, as the model says of the
// order of events, and touches nothing there. What then writes the page that it gave away does.
struct Conflict {
  EventIndex first = kNever, second = kNever;
  // What it is a case of: kinds and streams.
  std::uint8_t first_kind = 0, second_kind = 0;
  std::int32_t first_stream = 0, second_stream = 0;
  bool operator==(const Conflict&) const = default;
};

// Listens while a trace is applied. Of the device's earlier events that touched a thing, the last
// of each stream is compared; earlier ones come before that one in any order. Has identity.
class Conflicts final : public Observer {
 public:
  Conflicts() = default;
  Conflicts(const Conflicts&) = delete;

  void on_event(const World& world, const Event& event, EventIndex index) override;
  void on_page(World& world, const PageAct& act) override;
  void on_launch(World& world, const LaunchView& view) override;
  void on_graph_launch(const World& world, Name name, const GraphState& graph) override;
  // To be called when the event was applied.
  void applied(const Event& event, EventIndex index);

  const Acknowledged& acknowledged() const { return acknowledged_; }
  // Of a completion: that of its operation.
  std::int32_t stream_of(const Event& event, EventIndex index) const {
    const auto end = end_streams_.find(index);
    return end == end_streams_.end() ? event.stream : end->second;
  }
  // Of most different kinds first: before a second one of a kind, one of every other.
  std::vector<Conflict> in_order() const;
  std::uint64_t too_far() const { return too_far_; }  // Apart; they are left out.
  bool full() const { return found_.size() >= kMost; }

  static constexpr std::size_t kMost = 1 << 20;

 private:
  enum class Kind : std::uint8_t { kPage, kBuffer, kGraph };
  struct Thing {
    Kind kind;
    std::int64_t rank;
    std::uint32_t object;  // A page's allocator; else the thing's index or name.
    std::int64_t page;
    auto operator<=>(const Thing&) const = default;
  };
  struct Hash {
    std::size_t operator()(const Thing& t) const {
      std::uint64_t h = static_cast<std::uint64_t>(t.kind) << 60 ^ t.object;
      for (std::int64_t part : {t.rank, t.page}) {
        h = (h ^ static_cast<std::uint64_t>(part)) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
      }
      return h;
    }
  };
  struct Touch {
    Thing thing;
    bool changes;
    auto operator<=>(const Touch&) const = default;
  };
  struct Last {
    std::uint32_t chain = 0;
    std::int32_t stream = 0;
    EventIndex read = kNever, changed = kNever;
    std::uint8_t read_kind = 0, changed_kind = 0;
  };
  struct Ended {
    EventIndex end = kNever;
    std::int32_t stream = 0;  // Of the operation.
    bool writes = false;
    std::uint32_t pool = kNoPool;
    std::vector<std::uint32_t> met;  // Chains whose next event on the page was compared.
  };
  struct History {
    std::vector<Last> last;
    std::vector<Ended> ended;
  };
  using Clock = std::vector<EventIndex>;  // By chain: 1 + the last event that comes before.

  void touch(Kind kind, std::uint32_t object, std::int64_t page, bool changes) {
    touched_.push_back({{kind, rank_, object, page}, changes});
  }
  void touch_page(const World& world, std::uint32_t pool, PageId page, bool changes) {
    touch(Kind::kPage, world.space_of(world.pool(pool)).allocator, raw(page), changes);
  }
  void read_entries(const World& world, const LaunchView& view);
  void acknowledge(const World& world, const PageAct& act);
  Clock clock_of(const Event& event, EventIndex index);
  void forget_clocks();
  void compare(const Touch& touch, const Event& event, EventIndex index, const Clock& clock);
  void compare_ended(const Touch& touch, const Event& event, EventIndex index);
  void remember(const Touch& touch, const Event& event, EventIndex index);
  void add(const Conflict& conflict);

  Acknowledged acknowledged_;
  Dependencies dependencies_{acknowledged_};
  std::unordered_map<Thing, History, Hash> histories_;
  std::unordered_map<EventIndex, Clock> clocks_;
  std::unordered_set<EventIndex> known_;  // Completions acknowledged or forgotten.
  std::unordered_map<EventIndex, std::int32_t> end_streams_;
  std::size_t forget_at_ = 4096;
  std::int64_t rank_ = INT64_MIN;
  EventIndex index_ = 0;
  std::vector<Touch> touched_;
  Ended ended_;  // The operation that the event at hand ends.
  std::vector<Thing> ended_on_;
  std::vector<Conflict> found_;
  std::uint64_t too_far_ = 0;
};

}  // namespace pagetape
