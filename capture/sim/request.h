// SPDX-License-Identifier: Apache-2.0
// A request of the simulated engine.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "capture/pagetape_capture.h"
#include "capture/sim/allocator.h"

namespace pagetape::sim {

struct Request {
  std::int64_t id = 0;  // "r" and this is its name.
  ptape_name name = 0;
  std::int64_t prompt = 0;      // Tokens.
  std::int64_t end = 0;         // Tokens at which it is done.
  std::int64_t prefill_to = 0;  // The prompt; after a preemption, all tokens it had.
  std::int64_t len = 0;         // Tokens that are stored and accepted.
  std::int64_t accepted = 0;    // Drafted tokens, in this step.
  int lane = -1;                // Row of the tables; -1: not running.
  int system_prompt = -1;       // Its pages may come from the prefix cache; -1: none.
  bool ran = false;
  PageList full, swa;             // By logical page; swa 0: taken back.
  std::int32_t shared_pages = 0;  // The first so many belong to the prefix cache too.
  std::int32_t prompt_next = 0;   // The prompt's next page to take back when the pool is dry.
  std::int32_t output_next = 0;   // The next behind the prompt, when the window has left it.
  std::int32_t freed_early = 0;   // A page that a planted defect has freed already.

  // Whether its SWA pages have the numbers of its full pages, from a logical page on.
  bool same_ids(std::int64_t first) const {
    return std::equal(full.begin() + first, full.end(), swa.begin() + first, swa.end());
  }
};

using Running = std::vector<std::unique_ptr<Request>>;  // In the order of their lanes.

}  // namespace pagetape::sim
