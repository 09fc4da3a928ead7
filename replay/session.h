// SPDX-License-Identifier: Apache-2.0
// A replay from end to end: survey, passes over the layers that fit, digests.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "replay/executor.h"
#include "traces/names.h"
#include "traces/status.h"

namespace pagetape {

struct ReplayOptions {
  ExecutorOptions executor;
  std::vector<std::int32_t> layers;               // Physical, by number; empty: all.
  std::int32_t heads = 0;                         // K/V heads that are kept; 0: all.
  std::uint64_t memory = std::uint64_t{4} << 30;  // Bytes of K and V at a time; a layer at least.
  bool lanes = false;                             // Keep the digest of every lane.
};

// The digest of what was executed between two steps. A sum: passes add to it in any order.
struct StepDigest {
  std::int64_t step = -1;
  std::uint64_t digest = 0;
  bool operator==(const StepDigest&) const = default;
};

struct ReplayReport {
  std::string trace;
  std::string machine;
  std::shared_ptr<Names> names;
  Status status;
  std::vector<std::string> warnings;
  std::uint64_t events = 0;
  std::uint64_t launches = 0;  // Executed, one a layer.
  int passes = 0;
  std::string digest_name;   // What the digest is of: seed, layers and heads.
  std::uint64_t digest = 0;  // Of the run.
  std::vector<StepDigest> steps;
  std::vector<LaneDigest> lanes;        // Where they were asked for; in the order of the trace.
  std::vector<ReplayFinding> findings;  // In the order of the trace.
  std::map<std::string, NotExecuted> not_executed;
  std::vector<std::string> assumed;  // Pools without geometry, by name.
};

// Never throws; what failed is in `status`.
ReplayReport replay_trace(const std::string& path, const ReplayOptions& options, Machine& machine);

}  // namespace pagetape
