// SPDX-License-Identifier: Apache-2.0
// A trace cut at some of its keyframes, for threads that go through its parts side by side.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "replay/outcome.h"
#include "replay/state.h"
#include "traces/codec.h"
#include "traces/source.h"

namespace pagetape {

struct TracePart {
  std::optional<KeyframeInfo> from;  // None: the beginning.
  EventIndex end = kNever;           // kNever: where the trace ends.
};

// From the beginning to the first keyframe, and then `most` parts of about the same number of
// events, so that threads end together; fewer where keyframes are few, and one where none are.
std::vector<TracePart> trace_parts(const std::vector<KeyframeInfo>& keyframes, EventIndex events,
                                   std::size_t most);

// How it went through a part.
struct Passage {
  bool good = false;                // To its end, and every event was applied.
  bool skipped = false;             // Something was warned about, or was of a newer format.
  std::uint64_t digest_before = 0;  // Of the keyframe's state; 0: the beginning.
  std::uint64_t events = 0;
};

// Makes `state` what the part's keyframe holds, and has the source go on from there.
bool enter_part(Source& source, const KeyframeInfo& from, Names& names, State& state,
                std::uint64_t& digest);

// Gives each event of the part and its index to f, which applies it to `state`, an empty one of
// `names`; brief ones to `briefly`, where that is given, some at a time. Not good where the file is
// not what it was, or a keyframe cannot be read.
template <class F, class B = std::nullptr_t>
Passage go_through(const std::string& path, const TracePart& part, Names& names, State& state,
                   F&& f, B&& briefly = nullptr) {
  Passage out;
  Status status;
  const std::unique_ptr<Source> source = open_trace(path, names, status);
  if (source == nullptr) return out;
  if (part.from && !enter_part(*source, *part.from, names, state, out.digest_before)) return out;
  // The index of the event at hand is that of the state's next one.
  const auto come_to = [&](EventIndex index) {
    if (state.next_event() == index) return;
    out.skipped = true;
    state.skip_to(index);
  };
  Event event;
  while (source->position() < part.end) {
    if constexpr (!std::is_null_pointer_v<std::remove_cvref_t<B>>) {
      const EventIndex first = source->position();
      // A part ends where a segment does.
      if (const Briefs briefs = source->briefs(); briefs.count > 0) {
        come_to(first);
        if (!briefly(briefs)) return out;
        source->pass(briefs);
        out.events += briefs.count;
        continue;
      }
    }
    if (!source->next(event)) break;
    const EventIndex index = source->position() - 1;
    come_to(index);
    if (!f(event, index).applied()) return out;
    ++out.events;
  }
  out.skipped |= !source->warnings().empty() || source->skipped_unknown();
  out.good = source->status().ok() && (part.end == kNever || source->position() == part.end);
  return out;
}

}  // namespace pagetape
