// SPDX-License-Identifier: Apache-2.0
// The simulated engine's target model: prompts in chunks, then verify steps of all lanes.
#pragma once

#include <vector>

#include "capture/sim/config.h"
#include "capture/sim/request.h"
#include "capture/sim/tape.h"

namespace pagetape::sim {

// What a planted defect changes in one verify step.
struct Tweaks {
  bool full_table_for_swa = false, narrow_table = false, pad_lane_writes = false;
  const Request* stored_too_late = nullptr;  // Its first token is left out of the full layers.
};

class TargetRunner {
 public:
  TargetRunner(Tape& tape, const Config& config);

  // Tokens [begin, end) of a prompt were stored: reads them and what stands before.
  void extend(const Request& request, std::int64_t begin, std::int64_t end);
  // Stores the next kDraftTokens of every lane and reads.
  void verify(const Running& running, const Tweaks& tweaks);
  // Stores one token of the full layers.
  void store_full(const Request& request, std::int64_t token);

 private:
  ptape_launch launch(bool swa) const;
  void store(const Running& running, bool swa, const Tweaks& tweaks);
  void read(bool swa, const Tweaks& tweaks, const Running& running);

  Tape& tape_;
  const Config& config_;
  std::vector<std::int32_t> swa_layers_, full_layers_;
  std::vector<std::int64_t> lens_;
  std::vector<SlotNumbers> slots_;
  std::vector<ptape_row> rows_;
};

}  // namespace pagetape::sim
