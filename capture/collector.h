// SPDX-License-Identifier: Apache-2.0
// The collector: parent of an engine's processes. Each that records shares a ring, which a thread
// here drains into a trace of its own; the engine pays for no compression and no disk.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "capture/companion.h"
#include "capture/flight_flags.h"
#include "traces/status.h"

namespace pagetape {

struct CollectorOptions {
  std::string out;                   // Folder of the traces; made if it is missing.
  std::vector<std::string> command;  // Looked for in PATH.
  std::uint64_t ring_bytes = std::uint64_t{64} << 20;
  std::string shared_memory = "/dev/shm";
  int zstd_level = 3;
  std::string cupti, python, guard;  // As in Injection.
  CompanionFactory companion;        // May be empty, but for a flight recorder.
  // A flight recorder, where limits or triggers are given; its traces get keyframes of these.
  FlightLimits last;
  std::vector<Trigger> triggers;
  CompanionFactory keyframes;
  bool flight() const { return last.any() || !triggers.empty(); }
};

// Runs the command to its end and returns its status, 128 + signal where it was killed, 127 where
// it was not found, 126 where it cannot be run, 125 where recording could not begin. Stays while
// any process below holds a ring. Messages go to stderr.
int collect(const CollectorOptions& options);

struct RecoverOptions {
  std::string out;  // The folder that was given to the collector.
  int zstd_level = 3;
  CompanionFactory companion;
};

// Completes the traces that a collector left behind from their rings, which are removed then.
// `said` gets a line for each.
Status recover(const RecoverOptions& options, std::vector<std::string>& said);

}  // namespace pagetape
