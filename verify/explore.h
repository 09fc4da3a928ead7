// SPDX-License-Identifier: Apache-2.0
// Hazards that did not happen this time: other orders of a trace's events, judged by the rules.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "traces/names.h"
#include "traces/status.h"
#include "verify/conflicts.h"
#include "verify/finding.h"
#include "verify/orders.h"

namespace pagetape {

struct ExploreOptions {
  std::uint64_t seed = 1;             // Of the first order; the others have the seeds after it.
  std::uint64_t orders = 10'000;      // Tried at most.
  std::uint64_t budget = 20'000'000;  // Events judged in all of them, at most.
  std::size_t max_hazards = 20;       // Kept; 0: all.
};

// An order that breaks a rule which the recorded order keeps.
struct Hazard {
  std::uint64_t seed = 0;     // Gives this one order again.
  Finding finding;            // The first of it; events by their recorded index.
  Conflict swapped;           // Two events that change places, the recorded order's first first.
  std::string first, second;  // What they are, in words.
  std::string missing;        // The dependency that would rule it out.
  std::uint64_t others = 0;   // Further orders of the same kind.
};

struct ExploreReport {
  std::string trace;
  std::shared_ptr<Names> names;
  Status status;
  std::uint64_t events = 0;
  std::uint64_t recorded = 0;   // Findings of the recorded order: they are no hazards.
  std::string unchecked;        // Why there is nothing to permute; "": there is.
  std::uint64_t conflicts = 0;  // Unordered pairs that touch one thing.
  std::uint64_t too_far = 0;    // Pairs too far apart to try.
  bool not_all = false;         // There were more pairs than are kept.
  std::uint64_t seed = 1, next_seed = 1;
  std::uint64_t orders = 0, judged = 0;  // Orders tried, events judged in them.
  std::uint64_t hazardous = 0;           // Of the orders.
  std::vector<Hazard> hazards;           // One a kind, in the order of their seeds.
  std::uint64_t hazard_kinds = 0;

  // 0: clean; 1: a hazard, findings as recorded, or nothing that could be checked; else as the
  // model says of a trace that cannot be read.
  int exit_code() const;
};

// What a seed stands for, which depends on the trace alone: seeds from 1 on to the number of
// conflicts reverse one conflict each, those behind draw an order around one. Reads the trace
// twice: all of it is judged as it is, then each order around its stretch, from a copy of the state
// before it to kBehind events behind it. The same for the same trace and options, to the byte.
ExploreReport explore(const std::string& path, const ExploreOptions& options);

// One order, to be written.
struct ChosenOrder {
  Stretch stretch;
  Order order;
};
// The order of one seed. kUsage where the trace leaves none.
Status choose_order(const std::string& path, std::uint64_t seed, Names& names, ChosenOrder& out);
// Writes the whole trace in that order (`to` ending in .jsonl: as text).
Status write_order(const std::string& path, Names& names, const ChosenOrder& chosen,
                   const std::string& to);

std::string explore_text(const ExploreReport& report);
std::string explore_json(const ExploreReport& report);

}  // namespace pagetape
