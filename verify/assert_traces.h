// SPDX-License-Identifier: Apache-2.0
// What `assert` makes of several traces, in one form or another for the tools of CI.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "verify/verify.h"

namespace pagetape {

// Something that keeps a trace from passing.
struct Problem {
  enum class Kind : std::uint8_t { kFinding, kNotChecked, kDamaged, kUnreadable };

  Kind kind = Kind::kFinding;
  Rule rule = Rule::kOobPage;     // Of a finding, and of a rule that was not checked.
  std::string id;                 // Stable over runs, and unique within the trace.
  std::string place;              // "OOB_PAGE at event 9, layer 22 …", of a finding.
  std::string message;            // Without the place.
  EventIndex event = kNever;      // Where it stands; kNever: nowhere in particular.
  std::uint64_t line = 0;         // In a text trace, from 1; 0: a binary one, or not known.
  std::vector<EventIndex> cause;  // Oldest first.
  std::uint64_t of_rule = 0;      // All findings of the rule, where this is the first of them.

  // The rule's name, DAMAGED or UNREADABLE.
  std::string_view title() const;
  std::string sentence() const { return place.empty() ? message : place + ": " + message; }
};

struct RuleResult {
  std::uint64_t judged = 0, findings = 0;
  std::string not_checked;  // "backend d, pool S (needs alloc)"; "" where nothing is missing.
  bool failed = false;      // It has findings, or was required and not checked.
};

struct TraceResult {
  std::string trace;
  int exit_code = 0;
  std::uint64_t events = 0, launches = 0;
  std::uint64_t total = 0;        // Findings, those not listed included.
  std::vector<Problem> problems;  // Findings in order, then rules not checked, then the file's.
  std::vector<Problem> firsts;    // Each rule's first finding, then the other problems.
  std::array<RuleResult, kRuleCount> rules;
  std::vector<std::string> warnings;
};

// Judges each trace; one that is damaged or cannot be read does not keep the others from it.
// `jobs` threads (0: one a core), each with a trace at a time, or with a part of one; the results
// stand in the order of the traces whatever the jobs.
std::vector<TraceResult> assert_traces(const std::vector<std::string>& traces,
                                       const VerifyOptions& options, unsigned jobs);

// Over all traces: what cannot be read wins over findings, and those over damage.
int exit_code(const std::vector<TraceResult>& results);

// "ok", "FAILED", "DAMAGED" or "ERROR".
std::string_view outcome(const TraceResult& result);

// A line a trace.
std::string assert_lines(const std::vector<TraceResult>& results);

// JUnit XML: a suite a trace, a case a rule and one for the file itself.
std::string assert_junit(const std::vector<TraceResult>& results);

// SARIF 2.1.0: a result a problem. A binary trace has no lines: there a logical location alone
// names the event.
std::string assert_sarif(const std::vector<TraceResult>& results);

// Workflow commands of GitHub Actions: an annotation for each rule's first finding.
std::string assert_github(const std::vector<TraceResult>& results);

// A table of the traces, and what is wrong with those that failed.
std::string assert_markdown(const std::vector<TraceResult>& results);

}  // namespace pagetape
