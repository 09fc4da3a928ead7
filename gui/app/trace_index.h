// SPDX-License-Identifier: Apache-2.0
// What a viewer knows of a whole trace, from one pass over it, in bounded memory.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gui/app/pool_history.h"
#include "gui/app/set_numbers.h"
#include "gui/app/stale_uses.h"
#include "gui/app/track.h"
#include "replay/timeline.h"
#include "verify/coverage.h"
#include "verify/finding.h"

namespace pagetape {

// One backend's lanes.
struct BackendLane {
  std::int64_t rank = 0;
  Name name = kNone;
  EventIndex declared = kNever;  // The event that named it first.
  Density launches, findings;
  Track pool;  // Bound: 1 + index of TraceIndex::words.
  // Its sliding-window state, likewise; flagged from a launch on for which it contradicted the pool
  // bound (of a graph: as captured), until either may have moved.
  Track swa;
};

struct GraphLane {
  std::int64_t rank = 0;
  Name name = kNone;
  EventIndex declared = kNever;  // Its capture.
  Density launches;
};

struct StreamLane {
  std::int32_t stream = 0;
  Density events;
};

struct RequestLife {
  Name req = kNone;
  EventIndex begin = 0, end = kNever;  // kNever: not over at the end.
  std::uint32_t row = 0;               // Lives in one row do not overlap.
};

// A run-time error, a gap, events that the recorder dropped.
struct Incident {
  EventIndex event = 0;
  std::string text;
};

// Findings of one rule at one event.
struct FindingGroup {
  EventIndex event = 0;
  Rule rule = Rule::kOobPage;
  std::uint32_t count = 0;
  std::uint32_t reqs = 0, layers = 0;  // Which: of TraceIndex::req_sets and layer_sets.
};

struct StepStart {
  EventIndex event = 0;
  std::int64_t step = 0;
  Name mode = kNone;
  std::optional<std::int64_t> t{};  // Nanoseconds.
};

// What the whole trace says of each event alone.
struct Known {
  EventIndex read_to = 0;  // It is of the events before.
  Coverage rules;          // With it, an event is judged alone as in the whole.
  StaleUses stale;
};

struct TraceIndex {
  static constexpr std::size_t kMostGroups = std::size_t{1} << 20;
  static constexpr std::size_t kMostLives = std::size_t{1} << 17;
  static constexpr std::size_t kMostIncidents = 1000;
  // In sets of requests, and of layers. A hundred thousand requests that run by 64 fit: one comes
  // and one goes, a set each.
  static constexpr std::size_t kMostMembers = std::size_t{1} << 24;
  static constexpr std::size_t kMostStreams = 8;

  EventIndex events = 0;
  EventIndex read_to = 0;      // What is told is of the events before.
  bool ended = false;          // The recorder said that it came to its end.
  Density summary;             // Launches, as the file's index says before anything was read.
  std::uint64_t launches = 0;  // As verify counts them: one a layer.
  std::vector<std::string> words;
  std::vector<BackendLane> backends;
  std::vector<GraphLane> graphs;
  std::vector<PoolHistory> pools;
  std::vector<RequestLife> lives;
  std::uint32_t life_rows = 0;
  std::vector<StepStart> steps;
  std::vector<Incident> incidents;
  Track ops;                           // Asynchronous operations pending.
  std::vector<StreamLane> streams;     // In order of appearance.
  std::vector<FindingGroup> findings;  // By event, then rule.
  Sets<Name> req_sets{{}};
  Sets<Layer> layer_sets{{}};   // Logical and physical ones.
  std::vector<Finding> firsts;  // Of each rule.
  std::array<std::uint64_t, kRuleCount> counts{}, judged{};
  std::uint64_t total = 0;
  Density finding_density;
  bool timed = false;  // Some event says when it was.
  Known known;
  Status status;
  std::vector<std::string> warnings;

  std::string word(std::uint32_t value) const {
    return value == 0 || value > words.size() ? std::string() : words[value - 1];
  }
  bool whole() const { return read_to >= events; }
  // The step that the event is in; null before the first.
  const StepStart* step_at(EventIndex event) const;
  // Index of the first group at or behind the event.
  std::size_t first_finding_from(EventIndex event) const;
};

// Where a trace is looked at, with names of its own: what is not read elsewhere yet has names there
// that nobody else knows. One thread at a time, but for what is atomic.
struct Seeker {
  Seeker() = default;
  Seeker(const Seeker&) = delete;  // The timeline refers to what is beside it.
  Seeker& operator=(const Seeker&) = delete;

  std::string path;
  Names names;
  std::atomic<bool> stop = false;       // Ends a seek on its way.
  std::atomic<std::uint64_t> going{0};  // Where the seek is.
  std::unique_ptr<Timeline> timeline;
};

// What is known of a trace opened for viewing.
struct OpenTrace {
  std::string path;
  Names names;
  TraceIndex index;
  std::unique_ptr<Seeker> place;  // Null: the one that was given before is as good.
};

// Asked for and told while a trace is read, from any thread.
struct Loading {
  std::atomic<std::uint64_t> done{0}, events{0};
  std::atomic<bool> cancel{false};
  // Where set, asked now and then, with the place: false is as `cancel`.
  std::function<bool(EventIndex)> going;
  // Where set, called with what is known so far: at once, and then less and less often.
  std::function<void(std::unique_ptr<OpenTrace>)> tell;
};

// Null, and `status`, where the trace cannot be opened or `cancel` was set. Damage is no failure:
// TraceIndex::status says where it begins.
std::unique_ptr<OpenTrace> load_trace(const std::string& path, Loading& loading, Status& status);

}  // namespace pagetape
