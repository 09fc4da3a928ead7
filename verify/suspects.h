// SPDX-License-Identifier: Apache-2.0
// Launches that had begun and not completed when the run ended, and what CUDA said: where a crash
// is looked for first.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "traces/event.h"
#include "verify/finding.h"

namespace pagetape {

// An event that begins a launch, says that one completed, or is an error of CUDA's.
enum class Mark : std::uint8_t { kBegun, kCompleted, kError };
struct LaunchMark {
  EventIndex event = 0;  // Of the launch, or of the error.
  std::int64_t rank = 0;
  std::int32_t stream = 0;
  Mark mark = Mark::kBegun;
};
std::optional<LaunchMark> launch_mark(const Event& event, EventIndex index);

class Suspects {
 public:
  // All of them in their order. What a stream was given before a launch that completed has
  // completed.
  void see(const LaunchMark& mark);
  void see(const Event& event, EventIndex index) {
    if (const auto mark = launch_mark(event, index)) see(*mark);
  }

  // Whether the trace says at all which launches completed.
  bool known() const { return known_; }
  // Ascending; of each stream the last kKept. None where nothing is known.
  std::vector<EventIndex> list() const;
  std::uint64_t count() const;

  // The first errors, kKept of them at most, and how many there were.
  const std::vector<EventIndex>& errors() const { return errors_; }
  std::uint64_t error_count() const { return error_count_; }

  static constexpr std::size_t kKept = 64;

 private:
  struct Stream {
    std::vector<EventIndex> begun;  // Since the last that completed; those before the last kKept
                                    // may be missing.
    std::uint64_t count = 0;
  };
  std::map<std::pair<std::int64_t, std::int32_t>, Stream> streams_;  // By rank and stream.
  std::vector<EventIndex> errors_;
  std::uint64_t error_count_ = 0;
  bool known_ = false;
};

}  // namespace pagetape
