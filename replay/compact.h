// SPDX-License-Identifier: Apache-2.0
// Writes a trace again with keyframes, so that a reader can seek in it.
#pragma once

#include <cstdint>
#include <string>

#include "traces/status.h"
#include "traces/writer.h"

namespace pagetape {

// Cells, slots, lanes and pages that an event carries, and one: about its cost to apply.
std::uint64_t apply_weight(const Event& event);

// A keyframe each time so much weight was applied: some 20 ms on the machine of the README's
// figures, and as much to read it, so that a look-up takes less than 50 ms. Counted, not timed, so
// that the same trace gives the same file.
inline constexpr std::uint64_t kKeyframeWeight = 500'000;

// Reads either form, writes the binary one beside `out` and renames it into place at the end.
// A damaged trace is written up to the damage, and the status says so.
Status compact_trace(const std::string& in, const std::string& out, const WriterOptions& options,
                     std::uint64_t keyframe_weight, std::uint64_t& keyframes);

}  // namespace pagetape
