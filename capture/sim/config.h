// SPDX-License-Identifier: Apache-2.0
// What the simulated engine is told to do.
#pragma once

#include <cstdint>

#include "capture/sim/bugs.h"
#include "capture/sim/models.h"

namespace pagetape::sim {

struct Config {
  const Model* model = nullptr;
  Bug bug = Bug::kNone;
  std::uint64_t seed = 1;
  std::int64_t requests = 0, concurrency = 0, prompt_tokens = 0, output_tokens = 0;
  std::int64_t steps = 0;  // Ends the run after so many; 0: when all requests have finished.
  bool live = false;       // As an engine that runs: completions are recorded, and `pace` is kept.
  double pace = 0;         // Steps a second; 0: as fast as it can.
  bool lean = false;       // Without `accept` and `rewind`, which are most of the events.
};

inline constexpr int kDraftTokens = 4;     // Of a verify step: the last token and three drafts.
inline constexpr int kSharedPagesMax = 3;  // Of a prompt that begins with a system prompt.
inline constexpr int kSystemPrompts = 2;

// The draft reads through the full table for its window layers.
constexpr bool draft_is_stale(Bug bug) { return bug == Bug::kStaleSwa || bug == Bug::kClamp; }

}  // namespace pagetape::sim
