// SPDX-License-Identifier: Apache-2.0
#include "verify/oracle.h"

#include <algorithm>

#include "verify/judge.h"

namespace pagetape {

RuleBits newly_raised(const std::array<std::uint64_t, kRuleCount>& before,
                      const std::array<std::uint64_t, kRuleCount>& after) {
  RuleBits bits = 0;
  for (std::size_t r = 0; r < kRuleCount; ++r) {
    if (after[r] != before[r]) bits |= RuleBits{1} << r;
  }
  return bits;
}

static bool corresponds(const Finding& found, const Goal& goal) {
  const Finding& f = goal.finding;
  return found.rule == f.rule && found.backend == f.backend && found.has_layer == f.has_layer &&
         found.layer == f.layer && found.logical_layer == f.logical_layer && found.req == f.req &&
         (!goal.by_column || found.column == f.column) && found.page == f.page &&
         found.bound == f.bound && found.pool == f.pool && found.slot == f.slot &&
         found.op == f.op && found.graph == f.graph && found.map == f.map &&
         found.buffer == f.buffer && found.object == f.object;
}

bool Oracle::holds(Tape& tape, const Goal& goal) {
  ++trials_;
  JudgeOptions options;
  options.max_findings = 1;
  State state(names_);
  Judge judge(names_, options, all_rules());
  std::size_t kept = 0;
  for (std::size_t i = 0; i < tape.size(); ++i) {
    const auto before = judge.findings().counts();
    ++applied_;
    if (!state.apply(tape[i].event, &judge).applied()) {
      if (tape[i].pinned) return false;
      state.skip_to(kept);
      continue;
    }
    const RuleBits raised = newly_raised(before, judge.findings().counts());
    if (raised != 0) {
      const auto allowed = goal.allowed.find(tape[i].origin);
      if (allowed == goal.allowed.end() || (raised & ~allowed->second) != 0) return false;
    }
    if (kept != i) tape[kept] = std::move(tape[i]);
    ++kept;
  }
  tape.resize(kept);
  judge.finish();
  const Finding* first = judge.findings().first(goal.finding.rule);
  if (first == nullptr || !corresponds(*first, goal)) return false;
  if (first->event >= tape.size() || tape[first->event].origin != goal.finding.event) return false;
  finding_ = *first;
  return true;
}

}  // namespace pagetape
