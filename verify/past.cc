// SPDX-License-Identifier: Apache-2.0
#include "verify/past.h"

#include <algorithm>

#include "replay/refusal.h"

namespace pagetape {

std::unique_ptr<Past> Past::open(const std::string& path, Names& names, Status& status) {
  std::unique_ptr<Past> past(new Past(path, names));
  status = past->restart();
  return status.ok() ? std::move(past) : nullptr;
}

Status Past::restart() {
  Status status;
  source_ = open_trace(path_, names_, status);
  if (source_ == nullptr) return status;
  reader_ = dynamic_cast<Reader*>(source_.get());  // A text cannot seek.
  state_ = std::make_unique<State>(names_);
  at_ = 0;
  return {};
}

void Past::leave_out(const KindSet& kinds) {
  if ((left_out_ & ~kinds).any()) at_ = UINT64_MAX;  // What was left out would now be missing.
  left_out_ = kinds;
}

// The first keyframe behind the event.
static auto keyframe_behind(const std::vector<KeyframeInfo>& keyframes, EventIndex event) {
  return std::upper_bound(
      keyframes.begin(), keyframes.end(), event,
      [](EventIndex e, const KeyframeInfo& keyframe) { return e < keyframe.event; });
}

EventIndex Past::reached_from(EventIndex event) {
  if (reader_ == nullptr) return 0;
  const auto& keyframes = reader_->keyframes();
  const auto behind = keyframe_behind(keyframes, event);
  return behind == keyframes.begin() ? 0 : (behind - 1)->event;
}

// To the nearest keyframe before the event that can be read. False: none is nearer than the state.
bool Past::leap(EventIndex event) {
  const auto& keyframes = reader_->keyframes();
  auto after = keyframe_behind(keyframes, event);
  std::string bytes;
  while (after != keyframes.begin()) {
    const KeyframeInfo& keyframe = *--after;
    if (at_ <= event && keyframe.event <= at_) return false;
    if (!reader_->keyframe_state(keyframe, bytes).ok() || !state_->load(bytes, names_).ok()) {
      state_ = std::make_unique<State>(names_);
      at_ = UINT64_MAX;  // Nothing to go on from.
      continue;
    }
    at_ = keyframe.event;
    if (reader_->seek(keyframe.event).ok()) return true;
    at_ = UINT64_MAX;
  }
  return false;
}

Status Past::end_of(EventIndex event) const {
  if (!source_->status().ok()) return source_->status();
  return usage(path_ + ": has no event " + std::to_string(event) + ", only " +
               std::to_string(source_->position()));
}

Status Past::go_before(EventIndex event) {
  if (reader_ != nullptr && event < reader_->events()) leap(event);
  if (at_ > event) {
    if (Status status = restart(); !status.ok()) return status;
  }
  Event passed;
  while (at_ < event) {
    const bool more = reader_ != nullptr && left_out_.any()
                          ? reader_->next_but(left_out_, event, passed)
                          : source_->next(passed);
    if (!more && source_->status().ok() && source_->position() == event) {
      at_ = event;  // What was left out came last.
      state_->skip_to(event);
      break;
    }
    if (!more) return end_of(event);
    if (Status status = apply(passed, nullptr); !status.ok()) return status;
  }
  return {};
}

Status Past::pass(Event& event, Observer* observer) {
  if (!source_->next(event)) return end_of(at_);
  return apply(event, observer);
}

Status Past::apply(const Event& event, Observer* observer) {
  state_->skip_to(source_->position() - 1);  // Events of a newer format are skipped.
  const Outcome outcome = state_->apply(event, observer);
  if (!outcome.applied()) return refusal(*source_, outcome, event, names_);
  at_ = source_->position();
  return {};
}

}  // namespace pagetape
