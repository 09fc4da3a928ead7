// SPDX-License-Identifier: Apache-2.0
// A finding's trace made as small as it gets, with the verifier as the judge of every step.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "traces/status.h"
#include "verify/oracle.h"

namespace pagetape {

struct ShrinkOptions {
  Rule rule = Rule::kOobPage;
  // Events applied in all trials; then what was reached is the result (about a million a second).
  std::uint64_t budget = 20'000'000;
  std::function<void(const std::string&)> progress = [](const std::string&) {};
};

struct ShrinkReport {
  Status status;  // Not ok: nothing was shrunk, and why.
  std::shared_ptr<Names> names;
  std::vector<Event> events;
  Finding was, is;  // In the recording and in `events`.
  std::uint64_t events_before = 0;
  std::uint64_t trials = 0;
  bool small_ids = false;
  bool out_of_budget = false;
};

// Keeps the first finding of the rule. First what it cannot depend on is cut out, then delta
// debugging takes out requests, runs of events, and what stands in lists and optional fields; then
// names and ids become small. Every step is one that the verifier bears out; the events returned
// were judged as a whole.
ShrinkReport shrink(const std::string& path, const ShrinkOptions& options);

}  // namespace pagetape
