// SPDX-License-Identifier: Apache-2.0
// The page tables of the simulated engine's target and draft, kept up to date cell by cell.
#pragma once

#include <vector>

#include "capture/sim/config.h"
#include "capture/sim/request.h"
#include "capture/sim/tape.h"

namespace pagetape::sim {

class Tables {
 public:
  Tables(Tape& tape, const Config& config);

  // Every lane of the draft is padding: one entry, the reserved page.
  void start();
  // The request's columns from `col` on.
  void write(const Request& request, std::int64_t col);
  // The SWA page of one column is gone.
  void clear_swa(const Request& request, std::int64_t col);
  // The lane is padding from here on.
  void release(const Request& request);
  // The draft's tables count as rewritten for its next graph launch.
  void refresh_draft();

 private:
  struct DraftTable {
    ptape_name buffer, space;
    bool swa, clamped;
    bool fresh = false;  // Rewritten since the last launch.
  };
  void write_draft(DraftTable& table, const Request& request, std::int64_t col, std::int64_t n);

  Tape& tape_;
  const Config& config_;
  std::vector<DraftTable> draft_;
  PageList cells_;
};

}  // namespace pagetape::sim
