// SPDX-License-Identifier: Apache-2.0
// The simulated engine's draft: four layers that read the target's K and V. Its pools are swapped
// for the target's while it runs; each decode step replays a CUDA graph.
#pragma once

#include <string>
#include <vector>

#include "capture/sim/config.h"
#include "capture/sim/request.h"
#include "capture/sim/tables.h"
#include "capture/sim/tape.h"

namespace pagetape::sim {

class DraftRunner {
 public:
  DraftRunner(Tape& tape, const Config& config, Tables& tables);

  // One graph for each batch size, captured inside the view of the target's pools: pointers, and
  // which table serves which layer, are frozen here.
  void capture();
  // The first draft of a prompt runs without a graph.
  void seed(const Request& request);
  // `stale_lens` leaves the lengths as the launch before had them.
  void launch(const Running& running, bool stale_lens);
  // Whether the window layers read the request's own pages.
  bool reads_right(const Request& request) const;

 private:
  void enter_view();
  void leave_view();
  // The two launches, of the window layers and of the full one, as JSON objects.
  std::string attention(bool window, const std::string& rows) const;

  Tape& tape_;
  const Config& config_;
  Tables& tables_;
  ptape_name own_pool_;
  std::vector<std::int64_t> sizes_, lens_;
  std::vector<ptape_name> graphs_;
  std::vector<ptape_row> rows_;
};

}  // namespace pagetape::sim
