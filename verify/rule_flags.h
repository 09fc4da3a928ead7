// SPDX-License-Identifier: Apache-2.0
// Rule names given on the command line.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "verify/rules.h"

namespace pagetape {

// Sets `chosen` to just the rules named ("all": every one). Returns what is wrong, or "".
inline std::string set_rules(const std::vector<std::string>& names,
                             std::array<bool, kRuleCount>& chosen) {
  chosen.fill(false);
  for (const std::string& name : names) {
    if (name == "all") {
      chosen.fill(true);
      continue;
    }
    const std::size_t r = rule_named(name);
    if (r == kRuleCount) return "there is no rule \"" + name + "\" (see `pagetape info --rules`)";
    chosen[r] = true;
  }
  return {};
}

}  // namespace pagetape
