// SPDX-License-Identifier: Apache-2.0
// What if the engine had been patched: the variants of a trace, gone over in a thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gui/app/background.h"
#include "verify/what_if.h"

namespace pagetape {

// A variant as it is shown.
struct VariantLine {
  WhatIfRow words;
  std::optional<std::uint64_t> first;  // The first event that reads a page that is not right.
  bool clean = false;                  // It applies, and there is none.
};

struct WhatIfTold {
  std::vector<VariantLine> lines;
  std::string doing;       // "counting clamp"; empty: over.
  std::string failed;      // Why it is over too early.
  std::uint64_t done = 0;  // Events of the pass at hand.
};
using WhatIfRun = Background<WhatIfTold>;

// First counts what every variant reads, a pass each; then executes, on a CPU, the launches of
// those that read something wrong, which tells how wrong their outputs are and can take long.
std::unique_ptr<WhatIfRun> run_what_if(const std::string& path);

}  // namespace pagetape
