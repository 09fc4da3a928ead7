// SPDX-License-Identifier: Apache-2.0
// What someone looking at a trace leaves behind: bookmarks with notes, and where they were. Kept
// beside the trace, in TRACE.view.json.
#pragma once

#include <string>
#include <vector>

#include "replay/extents.h"
#include "traces/status.h"

namespace pagetape {

struct Bookmark {
  EventIndex event = 0;
  std::string note;
  bool operator==(const Bookmark&) const = default;
};

struct Session {
  EventIndex selected = 0;
  double begin = 0, end = 0;              // The part in view; both 0: all.
  std::vector<std::string> hidden_rules;  // By name.
  std::string layer, request;             // Of the filters; empty: none.
  std::string colours;                    // Of the pool map.
  std::vector<std::string> pinned_lanes{}, hidden_lanes{};
  std::string lanes{};  // The filter of lanes.
  bool dark = true;
  std::vector<Bookmark> bookmarks;  // By event, one each.
  bool operator==(const Session&) const = default;
};

std::string side_file_of(const std::string& trace);

// No such file: `out` stays and the status is ok. One that cannot be understood is an error.
Status read_session(const std::string& file, Session& out);
// Under another name first, so that what stood there before stays until this is complete.
Status write_session(const std::string& file, const Session& session);

}  // namespace pagetape
