// SPDX-License-Identifier: Apache-2.0
// The checker checked: faults are planted into a clean trace, and the rules must find them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "traces/names.h"
#include "traces/status.h"
#include "verify/coverage.h"
#include "verify/finding.h"
#include "verify/rules.h"

namespace pagetape {

struct SelfcheckOptions {
  std::uint64_t seed = 1;
  std::size_t count = 4;  // Faults of each kind.
  std::array<bool, kRuleCount> rules;
  // Threads; 0: one a core. The report is the same to the byte. Only a binary trace with keyframes
  // has parts for more than one.
  unsigned jobs = 1;
  SelfcheckOptions() { rules.fill(true); }
};

// A fault that no finding of its rule answered.
struct Miss {
  Rule rule;
  std::string_view mutation;
  EventIndex event = kNever;
  Name object = kNone;
  std::uint64_t seed = 0;  // Of the fault; the run's seed makes it again.
};

struct RuleScore {
  std::uint64_t made = 0, found = 0;
  std::uint64_t remade = 0;  // Places tried where the mutation would have had no effect.
};

struct SelfcheckReport {
  std::string trace;
  std::shared_ptr<Names> names;
  Status status;
  std::uint64_t seed = 0;
  std::uint64_t events = 0;
  std::uint64_t findings = 0;   // Of the trace as it is: there must be none.
  std::vector<Finding> firsts;  // Of those, the first of each rule.
  std::vector<NotChecked> unchecked;
  std::array<RuleScore, kRuleCount> scores{};
  std::array<bool, kRuleCount> rules{};  // Asked for.
  std::vector<Miss> misses;

  std::uint64_t made() const;
  std::uint64_t found() const;
  // Every fault was found, and there was one.
  bool full() const { return status.ok() && findings == 0 && made() > 0 && made() == found(); }
  // 0: a full score; else 1, or what the model says of a trace that cannot be read.
  int exit_code() const;
};

// Reads the trace three times: it is judged as it is, places are drawn, and each fault is planted
// into a copy of the state before its event, under a judge that has seen what came shortly before.
// The same for the same seed and the same keyframes; a rule's faults do not depend on which other
// rules are asked for.
SelfcheckReport selfcheck(const std::string& path, const SelfcheckOptions& options);

std::string selfcheck_text(const SelfcheckReport& report);
std::string selfcheck_json(const SelfcheckReport& report);

}  // namespace pagetape
