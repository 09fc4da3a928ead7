// SPDX-License-Identifier: Apache-2.0
#include "verify/trace_parts.h"

#include <algorithm>

namespace pagetape {

std::vector<TracePart> trace_parts(const std::vector<KeyframeInfo>& keyframes, EventIndex events,
                                   std::size_t most) {
  std::vector<TracePart> parts(1);
  if (keyframes.empty()) return parts;
  const EventIndex first = std::min(keyframes.front().event, events);
  for (std::size_t i = 0; i < most; ++i) {
    const EventIndex due = first + (events - first) * i / most;
    const KeyframeInfo& nearest = *std::ranges::min_element(
        keyframes, {},
        [due](const KeyframeInfo& k) { return std::max(k.event, due) - std::min(k.event, due); });
    const EventIndex begin = parts.back().from ? parts.back().from->event : 0;
    if (nearest.event <= begin || nearest.event >= events) continue;
    parts.back().end = nearest.event;
    parts.emplace_back().from = nearest;
  }
  return parts;
}

bool enter_part(Source& source, const KeyframeInfo& from, Names& names, State& state,
                std::uint64_t& digest) {
  std::string bytes;
  if (!source.keyframe_state(from, bytes).ok() || !state.load(bytes, names).ok()) return false;
  // Not that of the bytes, in which an older version had another order.
  digest = state.digest();
  return state.next_event() == from.event && source.seek(from.event).ok();
}

}  // namespace pagetape
