// SPDX-License-Identifier: Apache-2.0
// How much a flight recorder keeps, and what starts, stops or dumps it, as the command line says.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "traces/status.h"

namespace pagetape {

struct FlightLimits {
  std::uint64_t ns = 0;     // Kept at least so long; 0: for ever.
  std::uint64_t bytes = 0;  // At most so many, and the latest part; 0: without bound.
  bool any() const { return ns != 0 || bytes != 0; }
};

struct Trigger {
  enum class Act : std::uint8_t { kStart, kStop, kDump };
  std::string cause;  // "usr1", "usr2", "cuda-error", "finding" or "guard".
  Act act = Act::kDump;
  bool operator==(const Trigger&) const = default;
};

inline constexpr std::string_view kCudaErrorCause = "cuda-error", kFindingCause = "finding",
                                  kGuardCause = "guard";

// "90s", "10min", "2h": a time; "512MB", "2GiB": a size.
Status parse_last(std::string_view text, FlightLimits& limits);
// CAUSE=ACTION
Status parse_trigger(std::string_view text, Trigger& trigger);

// The signal that a cause is; 0: it is none.
int signal_of(std::string_view cause);

}  // namespace pagetape
