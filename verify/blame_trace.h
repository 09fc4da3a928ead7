// SPDX-License-Identifier: Apache-2.0
// Blame at an event of a trace, and its report in words and as JSON.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "traces/names.h"
#include "traces/status.h"
#include "verify/blame.h"
#include "verify/finding.h"

namespace pagetape {

// What to blame, as it is written on the command line. With nothing given: the event's findings;
// without one, what the event uses or writes first.
struct Question {
  std::optional<std::int64_t> row, column;  // Lane and entry, as in findings; cells of a table.
  std::optional<std::int64_t> launch;       // Within a graph launch.
  std::string layer;                        // Logical or physical.
  std::string page;                         // POOL:PAGE, or PAGE where there is one pool.
  std::string binding;                      // BACKEND:LAYER.
  std::string scalar;
  bool before = true;  // Look up what stood there before each event of the chain.

  // Nothing is asked but of the event.
  bool open() const {
    return !row && !column && !launch && layer.empty() && page.empty() && binding.empty() &&
           scalar.empty();
  }
};

struct BlameReport {
  std::string trace;
  std::shared_ptr<Names> names;
  Status status;        // Not ok: nothing was found, or links could not be read again.
  std::string subject;  // What is blamed, in words.
  EventIndex at = 0;
  std::vector<Finding> findings;  // Blamed: the event's first of each rule.
  std::vector<Link> links;        // Oldest first; the last is the event itself.

  int exit_code() const;
};

// A look-up: the state before the event is reached from the nearest keyframe (compact_trace adds
// them; without one every event before is applied), and so is each value before.
BlameReport blame_trace(const std::string& path, EventIndex at, const Question& question);

// Fills in of the links, which are in order, what is read from the trace, but for the values
// before.
void annotate(const std::string& path, Names& names, std::vector<Link>& links);

std::string blame_text(const BlameReport& report);
std::string blame_json(const BlameReport& report);
// The links of a chain that ends at event `at`.
nlohmann::ordered_json links_json(const std::vector<Link>& links, EventIndex at,
                                  const Names& names);

}  // namespace pagetape
