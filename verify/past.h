// SPDX-License-Identifier: Apache-2.0
// The state before any event of a trace: from the nearest keyframe, or from the beginning.
#pragma once

#include <memory>
#include <string>

#include "replay/state.h"
#include "traces/reader.h"
#include "traces/source.h"

namespace pagetape {

// Going forward goes on from where it stands; going back costs a keyframe and the events behind it.
// Has identity; not thread-safe.
class Past {
 public:
  // On failure returns null and sets `status`. `names` must outlive it.
  static std::unique_ptr<Past> open(const std::string& path, Names& names, Status& status);

  // From here on the state goes without events of these kinds, and without what they change.
  void leave_out(const KindSet& kinds);
  // Makes state() what it was before the event. On failure says why (an event that is not there
  // is kUsage), and the state is that of an earlier event.
  Status go_before(EventIndex event);
  // Applies the event that the state stands before, which `event` becomes.
  Status pass(Event& event, Observer* observer);

  const State& state() const { return *state_; }
  // The same for events that are reached from the same keyframe, or from the beginning.
  EventIndex reached_from(EventIndex event);

 private:
  Past(std::string path, Names& names) : path_(std::move(path)), names_(names) {}
  bool leap(EventIndex event);
  Status restart();
  Status apply(const Event& event, Observer* observer);
  Status end_of(EventIndex event) const;

  std::string path_;
  Names& names_;
  std::unique_ptr<Source> source_;
  Reader* reader_ = nullptr;  // The source, where it can seek.
  std::unique_ptr<State> state_;
  EventIndex at_ = 0;  // Of the next event.
  KindSet left_out_;
};

}  // namespace pagetape
