// SPDX-License-Identifier: Apache-2.0
// Time travel: the state just before any event of a trace.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "replay/state.h"
#include "traces/codec.h"
#include "traces/source.h"

namespace pagetape {

struct TimelineOptions {
  std::uint64_t memory = std::uint64_t{256} << 20;  // Bytes that states kept on the way may take.
  // Weight (replay/compact.h) from one kept state to the next: some 10 ms of reading and applying.
  std::uint64_t spacing = 200'000;
  // Asked now and then on the way of a seek, where set, with the place. False ends the seek there.
  std::function<bool(EventIndex)> goes_on = nullptr;
};

// Follows a timeline from event to event.
class Watch : public Observer {
 public:
  // The events to come do not follow on those told before. What was found so far stands.
  virtual void restart() {}
  // Asked once behind each event: was it what is looked for?
  virtual bool met() = 0;
};

// Stands before one event of a trace, or at its end. A seek takes the nearest state before (a
// keyframe of the file, one kept on the way, or the empty one) and applies what lies between: with
// keyframes 20 ms apart, that long and the decoding of a segment. Memory: the state, one segment,
// a few hundred events, and TimelineOptions::memory. Not thread-safe; several timelines over one
// file are independent, each with its own names.
//
// The state before an event is the same whichever way led there. Behind damage it is that of a
// `gap`, until the next keyframe of the file, which knows what is missing. A trace with an event
// that cannot apply ends before that event.
class Timeline {
 public:
  // On failure returns null and sets `status`. `names` outlives the timeline.
  static std::unique_ptr<Timeline> open(const std::string& path, Names& names,
                                        const TimelineOptions& options, Status& status);

  // Events before the place; the index of event(). Where events are missing, it skips theirs.
  EventIndex at() const { return at_; }
  EventIndex end() const { return end_; }
  bool at_end() const { return at_ >= end_; }
  // The state just before event(). Valid until the place moves.
  const State& state() const { return state_; }
  // Null at the end. Valid until the place moves.
  const Event* event() const { return at_end() ? nullptr : &window_[cursor_].event; }

  // Applies event(). False at the end, or where it cannot apply: that is then the end. `watch` may
  // be null.
  bool step(Watch* watch = nullptr);
  // To the event before: false at the first. Many in a row cost a few hundred events each.
  bool back();
  // To the event, or to the next one that is not missing. Fails, at the end, where there is none;
  // and on the way where goes_on said so.
  Status seek(EventIndex event);

  // To the next event that is met, or to the end (false). event() itself counts just if told so.
  bool run_until(Watch& watch, bool from_here = false);
  // To the last event before event() that is met, or to the first event (false).
  bool run_back_until(Watch& watch);

  // kDamaged once damage was met, kUsage where the trace ends in error.
  const Status& status() const { return status_; }
  // Of the reader; keyframes that could not be used, further damage, events left out behind it
  // for naming what was declared in a missing part.
  std::vector<std::string> warnings() const;
  std::uint64_t kept_bytes() const { return kept_bytes_; }

 private:
  struct Kept {
    std::string state;
    bool missing = false;
  };
  struct Fetched {
    EventIndex index = 0;
    Event event;
  };

  Timeline(std::unique_ptr<Source> source, Names& names, const TimelineOptions& options);

  EventIndex known_before(EventIndex event) const;
  EventIndex known_behind(EventIndex event) const;
  const KeyframeInfo* keyframe_before(EventIndex event) const;
  const KeyframeInfo* keyframe_at(EventIndex event) const;
  bool restore(EventIndex known);
  bool load_keyframe(const KeyframeInfo& keyframe);
  void walk(EventIndex event);
  void fetch(Watch* watch);
  bool fetch_behind_damage(Watch* watch);
  bool in_window(EventIndex event);
  void keep();
  void thin_out(EventIndex but);
  void note(const Status& status);
  void note_left_out();
  void refuse(const Outcome& outcome);
  void go_to_last_before(EventIndex event);

  std::unique_ptr<Source> source_;
  Names& names_;
  const TimelineOptions options_;
  std::vector<KeyframeInfo> keyframes_;  // Of the file; one that cannot be read is taken out.
  std::map<EventIndex, Kept> kept_;
  std::uint64_t kept_bytes_ = 0;

  State state_;
  EventIndex at_ = 0, end_ = 0;
  bool missing_ = false;      // Events before the place are, and no keyframe made up for it since.
  std::uint64_t weight_ = 0;  // Applied since a state was known.
  EventIndex next_known_ = 0;

  // The events read last, so that going back a little reads nothing again. The source stands
  // behind the last of them.
  std::vector<Fetched> window_;
  std::size_t fetched_ = 0, cursor_ = 0;

  Status status_;
  std::vector<std::string> warnings_;
};

}  // namespace pagetape
