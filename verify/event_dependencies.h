// SPDX-License-Identifier: Apache-2.0
// What must come before what: the orders of a trace's events for which the recording vouches.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "traces/event.h"
#include "verify/finding.h"

namespace pagetape {

// Acts that show that the host knew of completions, each with the `async_end` events known by then:
// a page let go after an operation on it ended, or a `fill` that says what a write brought.
using Acknowledged = std::map<EventIndex, std::vector<EventIndex>>;

// No order is looked at in which events change places over more than this.
inline constexpr EventIndex kFarApart = 1 << 14;

// Whose an event is, and with that where it takes effect.
enum class Actor : std::uint8_t {
  kHost,    // The scheduler's: in the order of its stream and in that of all its acts.
  kSetup,   // What launches take up when they are issued (bindings, scalars, …), and gaps: of the
            // host, and behind everything that was issued before.
  kDevice,  // In the order of its stream, behind what the host did before it was issued.
  kEnd,     // A completion: behind its operation's begin, and otherwise when it pleases.
};

// Gives for each event those that it directly depends on:
//   - the last event of its stream and the last act of the host (not for completions);
//   - `stream_wait`: the last event of the stream waited for; with `ops`, just their begins, and
//     the waits that ordered them for that stream;
//   - `async_end`: its `async_begin`; acts that acknowledge it: the `async_end`;
//   - `launch_done` and `cuda_error.after`: the launch named; whatever the host does after knows
//   it.
// Events are given in recorded order, from any event on: what lies before the first is not named.
// What ended more than kFarApart events ago is forgotten. Each rank is a scope of its own. The
// acknowledgements must be known of the events given so far.
class Dependencies {
 public:
  explicit Dependencies(const Acknowledged& acknowledged) : acknowledged_(acknowledged) {}

  const std::vector<EventIndex>& before(const Event& event, EventIndex index);

  // Of the event given last. Chains are numbered densely: one for each rank's host and for each of
  // its streams, and the events of one chain all depend on each other in recorded order.
  Actor actor() const { return actor_; }
  std::uint32_t host_chain() const { return host_chain_; }
  std::uint32_t stream_chain() const { return stream_chain_; }
  std::uint32_t chains() const { return chains_; }

  // Events that may still be named.
  std::vector<EventIndex> live() const;

  static Actor actor_of(const Event& event, bool acknowledges);

 private:
  struct Chain {
    std::uint32_t number = 0;
    EventIndex last = kNever;
  };
  struct Operation {
    std::int32_t stream = 0;
    EventIndex begin = kNever, end = kNever;
    std::vector<std::pair<std::int32_t, EventIndex>> waits;  // Streams that waited, and where.
  };
  struct Rank {
    Chain host;
    std::map<std::int32_t, Chain> streams;
    std::map<Name, Operation> ops;
    std::vector<EventIndex> ends;  // Since the last gap.
    EventIndex gap = kNever;
    std::size_t prune_at = 1024;  // Operations.
  };

  Rank& rank_of(const Event& event);
  Chain& stream_of(Rank& rank, std::int32_t stream);
  void need(EventIndex index) {
    if (index != kNever) before_.push_back(index);
  }
  void need_all(const Rank& rank);
  static void forget_old(Rank& rank, EventIndex now);
  void on_wait(Rank& rank, const Event& event, const ev::StreamWait& wait, EventIndex index);
  void on_begin(Rank& rank, const Event& event, const ev::AsyncBegin& begin, EventIndex index);
  void on_end(Rank& rank, const ev::AsyncEnd& end, EventIndex index);
  void on_host(Rank& rank, const Event& event, EventIndex index);

  const Acknowledged& acknowledged_;
  std::map<std::int64_t, Rank> ranks_;
  std::uint32_t chains_ = 0;
  std::vector<EventIndex> before_;
  Actor actor_ = Actor::kHost;
  std::uint32_t host_chain_ = 0, stream_chain_ = 0;
};

}  // namespace pagetape
