// SPDX-License-Identifier: Apache-2.0
// Click = blame: who wrote last what a finding, a cell or a page depends on, in sentences.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gui/app/trace_index.h"
#include "traces/status.h"
#include "verify/blame.h"

namespace pagetape {

// What is blamed at an event. Nothing given: the event's findings, or its first live entry.
struct Ask {
  std::optional<std::size_t> launch;  // Of the event's attention launches.
  std::optional<std::int64_t> row, column;
  std::string bound{};  // Of a launch that uses several pools, the one that is meant.
  std::string pool{};   // Where given, `page` of it.
  std::int64_t page = -1;
};

struct Explanation {
  EventIndex at = kNever;
  std::string subject;
  std::vector<Link> links;  // Oldest first; the last is the event itself.
  Status status;            // Not ok: nothing to blame there, in words.
};

// `known`: what the whole trace lets be judged.
Explanation explain(Seeker& place, const Coverage& known, EventIndex at, const Ask& ask);

}  // namespace pagetape
