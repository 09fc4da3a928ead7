// SPDX-License-Identifier: Apache-2.0
// Plants one defect into one verify step of the simulated engine, and takes it back, so that what
// follows is healthy again.
#pragma once

#include <utility>

#include "capture/sim/config.h"
#include "capture/sim/request.h"
#include "capture/sim/tape.h"
#include "capture/sim/target_runner.h"

namespace pagetape::sim {

class Planter {
 public:
  Planter(Tape& tape, const Config& config) : tape_(tape), config_(config) {}

  // Called before the draft of each decode step: decides whether this is the step. `decodes` is
  // how many steps in a row decoded these lanes.
  void begin_step(const Running& running, std::int64_t decodes);
  // A lane is lost before the target runs: a later step will do.
  void cancel() { done_ = done_ && !std::exchange(now_, false); }
  bool stale_draft_lens() const { return now_ && config_.bug == Bug::kInputNotRefreshed; }
  Tweaks before_verify();
  // The request that cannot go on, or null.
  Request* after_verify(TargetRunner& target);

 private:
  bool suitable(const Running& running) const;
  void free_in_window();
  void wrong_entry(std::int32_t page) const;
  void hit_after_drop(std::int32_t page) const;
  void use_far_page() const;

  Tape& tape_;
  const Config& config_;
  bool done_ = false, now_ = false;
  Request* victim_ = nullptr;
  const Request* other_ = nullptr;
};

}  // namespace pagetape::sim
