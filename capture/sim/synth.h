// SPDX-License-Identifier: Apache-2.0
// Writes the trace of a simulated run.
#pragma once

#include <cstdint>
#include <string>

#include "capture/sim/config.h"

namespace pagetape::sim {

struct SynthResult {
  std::string error;  // "": the trace is complete.
  std::uint64_t events = 0, dropped = 0, bytes = 0;
  std::int64_t steps = 0, preemptions = 0;
};

// What is 0 in the configuration stands for the model's figures. A path ending in .jsonl gets the
// text form. The same configuration gives the same bytes.
SynthResult synthesize(Config config, const std::string& path);

}  // namespace pagetape::sim
