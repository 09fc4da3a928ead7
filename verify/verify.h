// SPDX-License-Identifier: Apache-2.0
// Verifies one trace: every event through the state machine, under the rules.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "traces/names.h"
#include "traces/source.h"
#include "verify/coverage.h"
#include "verify/finding.h"
#include "verify/judge.h"

namespace pagetape {

struct VerifyOptions {
  JudgeOptions judge;
  std::array<bool, kRuleCount> rules;     // Which findings count; all by default.
  std::array<bool, kRuleCount> required;  // Unchecked, these make the verdict incomplete.
  // Threads; 0: one a core. The report is the same to the byte. Only a binary trace with keyframes
  // has parts that can be judged at once.
  unsigned jobs = 1;
  VerifyOptions() {
    rules.fill(true);
    required.fill(false);
  }
};

enum class Verdict : std::uint8_t { kPass, kFail, kIncomplete, kDamaged };
std::string_view verdict_name(Verdict verdict);

// What the command line prints, in one form or another. A value; its names are those of `names`.
struct Report {
  std::string trace;
  std::shared_ptr<Names> names;
  Verdict verdict = Verdict::kPass;
  std::uint64_t events = 0;  // Judged: those missing or left out are not in it.
  std::uint64_t launches = 0;
  Status status;  // The first damage, or why reading ended early; `status_event` stands there.
  std::uint64_t status_event = 0;
  std::uint64_t missing_events = 0;  // Between those that could be read.
  std::array<std::uint64_t, kRuleCount> judged{}, counts{};
  std::vector<NotChecked> not_checked;
  std::vector<Finding> findings;  // The earliest, in order.
  std::vector<Finding> firsts;    // The earliest of each rule, in the order of the rules.
  std::uint64_t total = 0;        // Findings, those not kept included.
  std::vector<std::string> warnings;
  // Launches begun and not completed when the run ended; absent where the trace does not say which
  // completed. The last of each stream, and how many in all.
  std::optional<std::vector<EventIndex>> suspects;
  std::uint64_t suspects_total = 0;
  std::vector<EventIndex> cuda_errors;  // The first that were recorded.
  std::uint64_t cuda_errors_total = 0;
  std::vector<NotChecked> missing;  // Required, applicable, and not checked.

  // The exit code of the model: findings and missing rules win over damage; wrong text is 2.
  int exit_code() const;
};

// Reads the trace to its end, or to where it is in error; what came before is judged. Behind damage
// it goes on with the next good segment as behind a `gap`; events that name what was declared in
// the missing part are left out, and counted in a warning.
Report verify_trace(const std::string& path, const VerifyOptions& options);

}  // namespace pagetape
