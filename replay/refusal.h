// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "replay/outcome.h"
#include "traces/source.h"

namespace pagetape {

// What is wrong with this event of the source, which the state refused.
Status refusal(const Source& source, std::uint64_t index, const Outcome& outcome,
               const Event& event, const Names& names);
// The same of the one that it gave last.
inline Status refusal(const Source& source, const Outcome& outcome, const Event& event,
                      const Names& names) {
  return refusal(source, source.position() - 1, outcome, event, names);
}

}  // namespace pagetape
