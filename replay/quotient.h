// SPDX-License-Identifier: Apache-2.0
// Division of slots and positions by a page's size.
#pragma once

#include <cstdint>

namespace pagetape {

// a / b. Both mostly fit 32 bits, where a processor divides in a fraction of the time.
constexpr std::int64_t quotient(std::int64_t a, std::int64_t b) {
  if ((a | b) >> 32 != 0) [[unlikely]]
    return a / b;
  return static_cast<std::uint32_t>(a) / static_cast<std::uint32_t>(b);
}

}  // namespace pagetape
