// SPDX-License-Identifier: Apache-2.0
// Two independent judges: what the machine found while it executed, and what the rules say.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "replay/session.h"

namespace pagetape {

struct CrossCheck {
  std::uint64_t agreed = 0;              // Uses of an id that both found.
  std::uint64_t differing = 0;           // That one of them did not.
  std::vector<std::string> differences;  // The first ones, in words.
};

// Verifies the trace and compares what it says of the ids that attention reads, use for use, with
// the findings of a replay of it under the same options. A difference is a defect of pagetape.
CrossCheck crosscheck(const ReplayReport& replay, const ReplayOptions& options);

}  // namespace pagetape
