// SPDX-License-Identifier: Apache-2.0
#include "replay/timeline.h"

#include <algorithm>

#include "replay/compact.h"
#include "replay/missing.h"
#include "replay/refusal.h"
#include "traces/check.h"

namespace pagetape {
namespace {

// Events that are kept decoded.
constexpr std::size_t kWindow = 256;
// Going back, the state so many events before the place is kept: less than the window holds.
constexpr EventIndex kTrail = 128;

}  // namespace

Timeline::Timeline(std::unique_ptr<Source> source, Names& names, const TimelineOptions& options)
    : source_(std::move(source)),
      names_(names),
      options_(options),
      state_(names),
      window_(kWindow) {}

std::unique_ptr<Timeline> Timeline::open(const std::string& path, Names& names,
                                         const TimelineOptions& options, Status& status) {
  std::unique_ptr<Source> source = open_trace(path, names, status);
  if (source == nullptr) return nullptr;
  std::unique_ptr<Timeline> timeline(new Timeline(std::move(source), names, options));
  timeline->end_ = timeline->source_->events();
  timeline->keyframes_ = timeline->source_->keyframes();
  if (status = timeline->source_->seek(0); status.code() == Code::kUsage) return nullptr;
  status = Status();
  timeline->fetch(nullptr);
  timeline->next_known_ = timeline->known_behind(timeline->at_);
  return timeline;
}

std::vector<std::string> Timeline::warnings() const {
  std::vector<std::string> all = source_->warnings();
  all.insert(all.end(), warnings_.begin(), warnings_.end());
  return all;
}

void Timeline::note(const Status& status) {
  if (status_.ok()) {
    status_ = status;
  } else if (status.message() != status_.message() &&
             std::ranges::find(warnings_, status.message()) == warnings_.end()) {
    warnings_.push_back(status.message());
  }
}

void Timeline::note_left_out() {
  const std::string what =
      "events behind the damage are left out where they name what was "
      "declared in the missing part";
  if (std::ranges::find(warnings_, what) == warnings_.end()) warnings_.push_back(what);
}

// ---- states that are known ----

// The last one of the file at or before an event; null where there is none.
const KeyframeInfo* Timeline::keyframe_before(EventIndex event) const {
  const auto it = std::ranges::upper_bound(keyframes_, event, {}, &KeyframeInfo::event);
  return it == keyframes_.begin() ? nullptr : &*std::prev(it);
}

const KeyframeInfo* Timeline::keyframe_at(EventIndex event) const {
  const KeyframeInfo* keyframe = keyframe_before(event);
  return keyframe != nullptr && keyframe->event == event ? keyframe : nullptr;
}

// The last event at or before this one whose state need not be come by.
EventIndex Timeline::known_before(EventIndex event) const {
  EventIndex known = 0;
  if (const auto it = kept_.upper_bound(event); it != kept_.begin()) known = std::prev(it)->first;
  const KeyframeInfo* keyframe = keyframe_before(event);
  return keyframe == nullptr ? known : std::max(known, keyframe->event);
}

EventIndex Timeline::known_behind(EventIndex event) const {
  const auto kept = kept_.upper_bound(event);
  const auto file = std::ranges::upper_bound(keyframes_, event, {}, &KeyframeInfo::event);
  return std::min(kept == kept_.end() ? kNever : kept->first,
                  file == keyframes_.end() ? kNever : file->event);
}

// False where the keyframe is damaged: it is then no longer known, and the state is to be restored.
bool Timeline::load_keyframe(const KeyframeInfo& keyframe) {
  std::string bytes;
  Status status = source_->keyframe_state(keyframe, bytes);
  if (status.ok()) status = state_.load(bytes, names_);
  if (status.ok() && state_.next_event() == keyframe.event) {
    missing_ = false;
    return true;
  }
  warnings_.push_back("the keyframe before event " + std::to_string(keyframe.event) +
                      " cannot be used" + (status.ok() ? "" : ": " + status.message()));
  std::erase(keyframes_, KeyframeInfo(keyframe));
  return false;
}

// Goes to a known state. False where it turned out not to be.
bool Timeline::restore(EventIndex known) {
  if (const auto kept = kept_.find(known); kept != kept_.end()) {
    const Status status = state_.load(kept->second.state, names_);
    PAGETAPE_CHECK(status.ok(), "state before event %llu", static_cast<unsigned long long>(known));
    missing_ = kept->second.missing;
  } else if (const KeyframeInfo* keyframe = keyframe_at(known)) {
    if (!load_keyframe(*keyframe)) return false;
  } else {
    state_ = State(names_);
    missing_ = false;
  }
  if (!in_window(known)) {
    fetched_ = cursor_ = 0;
    (void)source_->seek(known);  // Damage shows when the event is fetched.
  }
  fetch(nullptr);
  weight_ = 0;
  next_known_ = known_behind(at_);
  return true;
}

void Timeline::keep() {
  weight_ = 0;
  if (known_before(at_) == at_ || at_end()) return;
  Kept& kept = kept_[at_] = {state_.save(), missing_};
  kept_bytes_ += kept.state.size();
  thin_out(at_);
}

// Gives up states until the rest fit: first those with the nearest neighbours.
void Timeline::thin_out(EventIndex but) {
  while (kept_bytes_ > options_.memory && kept_.size() > 1) {
    auto nearest = kept_.end();
    EventIndex least = kNever, before = 0;
    for (auto it = kept_.begin(); it != kept_.end(); ++it) {
      const auto next = std::next(it);
      const EventIndex behind = next == kept_.end() ? end_ : next->first;
      if (it->first != but && behind - before < least) {
        least = behind - before;
        nearest = it;
      }
      before = it->first;
    }
    kept_bytes_ -= nearest->second.state.size();
    kept_.erase(nearest);
  }
}

// ---- events ----

// Is the event among those read last? Then it is the next one.
bool Timeline::in_window(EventIndex event) {
  const auto end = window_.begin() + static_cast<std::ptrdiff_t>(fetched_);
  const auto it = std::lower_bound(window_.begin(), end, event,
                                   [](const Fetched& f, EventIndex e) { return f.index < e; });
  if (it == end || it->index != event) return false;
  cursor_ = static_cast<std::size_t>(it - window_.begin());
  return true;
}

// Makes window_[cursor_] the next event, and the state the one before it.
void Timeline::fetch(Watch* watch) {
  if (cursor_ == fetched_) {
    if (fetched_ == window_.size()) fetched_ = cursor_ = 0;
    while (!source_->next(window_[cursor_].event)) {
      if (source_->status().ok() || !fetch_behind_damage(watch)) {
        if (!source_->status().ok()) note(source_->status());
        at_ = end_ = std::min(source_->position(), end_);
        state_.skip_to(at_);
        return;
      }
    }
    window_[cursor_].index = source_->position() - 1;
    fetched_ = cursor_ + 1;
  }
  at_ = window_[cursor_].index;
  if (missing_) {
    const KeyframeInfo* keyframe = keyframe_at(at_);
    if (keyframe != nullptr) {
      State before = state_;
      if (!load_keyframe(*keyframe)) state_ = std::move(before);
      if (watch != nullptr) watch->restart();
    }
  }
  state_.skip_to(at_);
  const std::int64_t rank = window_[cursor_].event.rank.value_or(State::kNoRank);
  if (missing_ && state_.world(rank) == nullptr) forget(state_, rank, watch);
}

// False where no good event follows.
bool Timeline::fetch_behind_damage(Watch* watch) {
  const EventIndex lost = source_->position();
  note(source_->status());
  if (!source_->resume()) return false;
  const EventIndex next = source_->position();
  if (next == lost) return true;  // A keyframe was lost, and no event.
  fetched_ = cursor_ = 0;         // What is read from here on does not follow on the window.
  missing_ = true;
  const State before = state_;
  for (const KeyframeInfo* keyframe; (keyframe = keyframe_before(next)) != nullptr;) {
    const EventIndex known = keyframe->event;
    if (known <= lost) break;
    if (load_keyframe(*keyframe)) {
      missing_ = known < next;
      break;
    }
    state_ = before;
  }
  if (missing_) forget_all(state_, watch);
  if (watch != nullptr) watch->restart();
  return true;
}

// The event at hand cannot apply: the trace ends before it.
void Timeline::refuse(const Outcome& outcome) {
  const Event event = window_[cursor_].event;
  state_.skip_to(at_);
  end_ = at_;
  // So that the source names the event's place.
  fetched_ = cursor_ = 0;
  if (source_->seek(at_).ok()) (void)source_->next(window_[0].event);
  note(refusal(*source_, outcome, event, names_));
}

bool Timeline::step(Watch* watch) {
  if (at_end()) return false;
  const Event& event = window_[cursor_].event;
  const Outcome outcome = state_.apply(event, watch);
  if (!outcome.applied()) {
    if (!missing_) {
      refuse(outcome);
      return false;
    }
    note_left_out();
  }
  weight_ += apply_weight(event);
  ++cursor_;
  fetch(watch);
  if (at_ >= next_known_) {
    weight_ = 0;
    next_known_ = known_behind(at_);
  } else if (weight_ >= options_.spacing) {
    keep();
  }
  return true;
}

void Timeline::walk(EventIndex event) {
  constexpr std::uint64_t kAsk = 64;  // Steps, a millisecond or less.
  for (std::uint64_t n = 1; at_ < event && step(); ++n) {
    if (n % kAsk == 0 && options_.goes_on && !options_.goes_on(at_)) return;
  }
}

Status Timeline::seek(EventIndex event) {
  const EventIndex end = end_;
  for (const EventIndex to = std::min(event, end);;) {
    const EventIndex known = known_before(to);
    if (at_ <= to && known <= at_) break;
    if (restore(known)) break;
  }
  walk(event);
  if (at_ >= event) return {};
  if (!at_end()) return usage("the seek was stopped at event " + std::to_string(at_));
  return !status_.ok() && status_.code() != Code::kDamaged
             ? status_
             : usage("there is no event " + std::to_string(event) + ", the trace ends with " +
                     std::to_string(end_) + " events");
}

bool Timeline::back() {
  if (at_ == 0) return false;
  const EventIndex from = at_, to = at_ - 1;
  for (;;) {
    const EventIndex known = known_before(to);
    if (!restore(known)) continue;
    if (at_ + kTrail < to) {
      walk(to - kTrail);
      // The window begins anew here, and holds all up to `to`.
      if (at_ < to) {
        keep();
        const auto begin = window_.begin();
        std::rotate(begin, begin + static_cast<std::ptrdiff_t>(cursor_),
                    begin + static_cast<std::ptrdiff_t>(fetched_));
        fetched_ -= cursor_;
        cursor_ = 0;
      }
    }
    walk(to);
    break;
  }
  if (at_ < from) return true;
  go_to_last_before(from);  // The event before is missing.
  return at_ < from;
}

void Timeline::go_to_last_before(EventIndex event) {
  EventIndex to = event - 1;
  for (;;) {
    const EventIndex known = known_before(to);
    if (!restore(known)) continue;
    EventIndex last = kNever;
    while (at_ < event) {
      last = at_;
      if (!step()) break;
    }
    if (last != kNever) {
      (void)seek(last);
      return;
    }
    if (known == 0) return;
    to = known - 1;
  }
}

bool Timeline::run_until(Watch& watch, bool from_here) {
  if (!from_here) step();
  watch.restart();
  for (;;) {
    const EventIndex here = at_;
    if (!step(&watch)) return false;
    if (!watch.met()) continue;
    (void)seek(here);
    return true;
  }
}

bool Timeline::run_back_until(Watch& watch) {
  for (EventIndex until = at_; until > 0;) {
    const EventIndex known = known_before(until - 1);
    if (!restore(known)) continue;
    watch.restart();
    EventIndex found = kNever;
    while (at_ < until) {
      const EventIndex here = at_;
      if (!step(&watch)) break;
      if (watch.met()) found = here;
    }
    if (found != kNever) {
      (void)seek(found);
      return true;
    }
    until = known;
  }
  (void)seek(0);
  return false;
}

}  // namespace pagetape
