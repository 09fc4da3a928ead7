// SPDX-License-Identifier: Apache-2.0
// Single events read again from a trace, for explanations.
#pragma once

#include <string>
#include <vector>

#include "replay/extents.h"
#include "traces/event.h"
#include "traces/names.h"

namespace pagetape {

struct Fetched {
  EventIndex index = kNever;
  std::int64_t step = -1;  // In which it stands; -1: before the first of its rank.
  Event event;
};

// The events of the given indices (ascending), those that can be read. Of a binary trace just the
// segments that hold them are decoded.
std::vector<Fetched> fetch_events(const std::string& path, Names& names,
                                  const std::vector<EventIndex>& wanted);

}  // namespace pagetape
