// SPDX-License-Identifier: Apache-2.0
// A replay from end to end: survey, passes over the layers that fit, digests.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "replay/executor.h"
#include "replay/machine.h"
#include "traces/names.h"
#include "traces/status.h"

namespace pagetape {

struct ReplayOptions {
  // Whether this physical layer is among `layers`.
  bool wants(Layer layer) const;
  // Bytes of K and V at a time; a layer is taken however large it is.
  std::uint64_t memory_of(const Machine& machine) const {
    return memory > 0 ? memory : machine.room();
  }
  // What is executed, in words: seed, layers, heads, and whether ids are clamped.
  std::string name() const;

  ExecutorOptions executor;
  std::vector<std::int32_t> layers;  // Physical, by number; empty: all.
  std::int32_t heads = 0;            // K/V heads that are kept; 0: all.
  std::uint64_t memory = 0;          // Bytes of K and V at a time; 0: the machine's room().
  bool lanes = false;                // Keep the digest of every lane.
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
  std::set<LeftOut> left_out;
  std::set<Name> owners_checked;     // Pools whose pages' owners the machine knew.
  std::vector<std::string> assumed;  // Pools without geometry, by name.
};

// The layers of each pass, of those wanted: as many as fit into `memory` bytes, in order of pools
// and layers. One pass without layers where there are none: to say what is not executed, and why.
std::vector<Executor::PassLayers> passes_of(
    const Survey& survey, std::uint64_t memory,
    const std::function<bool(const PoolRef&, Layer)>& wanted);

// `memory` bytes of K and V are more than the machine has.
Status no_room(const Machine& machine, std::uint64_t memory);

// Never throws; what failed is in `status`: kSystem where it was the machine.
ReplayReport replay_trace(const std::string& path, const ReplayOptions& options, Machine& machine);

// What `work`, given the machine, reports: a replay, or anything else with a `status`. Where the
// machine fails (too little memory, a fault under another process) and may be replaced, that is
// told and the CPU does all of the work.
template <class Work, class Tell>
auto work_on(std::unique_ptr<Machine>& machine, bool replaceable, unsigned threads, Work&& work,
             Tell&& tell) {
  auto report = work(*machine);
  if (!replaceable || report.status.code() != Code::kSystem) return report;
  tell(report.status);
  machine = make_cpu_machine(threads);
  return work(*machine);
}

}  // namespace pagetape
