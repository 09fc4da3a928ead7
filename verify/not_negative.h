// SPDX-License-Identifier: Apache-2.0
// A check of options that count.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>

namespace pagetape {

// CLI11 takes -1 for the greatest number there is.
inline CLI::Validator not_negative() {
  return CLI::Range(std::uint64_t{0}, std::uint64_t{1} << 62).description("");
}

}  // namespace pagetape
