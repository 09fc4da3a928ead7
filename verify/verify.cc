// SPDX-License-Identifier: Apache-2.0
#include "verify/verify.h"

#include <algorithm>
#include <array>

#include "replay/missing.h"
#include "replay/refusal.h"
#include "verify/parts.h"
#include "verify/suspects.h"

namespace pagetape {

std::string_view verdict_name(Verdict verdict) {
  constexpr std::string_view kVerdicts[] = {"pass", "fail", "incomplete", "damaged"};
  return kVerdicts[static_cast<std::size_t>(verdict)];
}

int Report::exit_code() const {
  if (total > 0 || !missing.empty()) return 1;
  if (status.code() == Code::kDamaged) return 3;
  return status.ok() ? 0 : 2;
}

// The source's next event; behind damage that of the next good segment. The first damage is the
// report's status, any further one a warning.
static bool next_event(Source& source, Event& event, State& state, Judge& judge, Report& report) {
  while (!source.next(event)) {
    if (source.status().ok()) return false;
    const EventIndex event_at = source.position();
    if (report.status.ok()) {
      report.status = source.status();
      report.status_event = event_at;
    } else {
      report.warnings.push_back(source.status().message());
    }
    if (!source.resume()) return false;
    if (source.position() == event_at) continue;  // A keyframe was lost, and no event.
    report.missing_events += source.position() - event_at;
    forget_all(state, &judge);
  }
  state.skip_to(source.position() - 1);
  const std::int64_t rank = event.rank.value_or(State::kNoRank);
  if (report.missing_events > 0 && state.world(rank) == nullptr) forget(state, rank, &judge);
  return true;
}

static Verdict verdict_of(const Report& report, bool skipped_unknown) {
  if (report.total > 0) return Verdict::kFail;
  if (report.status.code() == Code::kDamaged) return Verdict::kDamaged;
  const bool incomplete = skipped_unknown || !report.missing.empty() || !report.status.ok();
  return incomplete ? Verdict::kIncomplete : Verdict::kPass;
}

// Leaves what the options chose.
static void select(Report& report, Judge& judge, const VerifyOptions& options) {
  report.judged = judge.coverage().judged();
  report.counts = judge.findings().counts();
  report.not_checked = judge.coverage().not_checked(*report.names);
  report.findings = judge.findings().sorted();
  for (std::size_t r = 0; r < kRuleCount; ++r) {
    if (!options.rules[r]) report.judged[r] = 0;
    report.total += report.counts[r];
    const Finding* first = judge.findings().first(kRules[r].rule);
    if (first != nullptr) report.firsts.push_back(*first);
  }
  const auto unwanted = [&](Rule rule) { return !options.rules[static_cast<std::size_t>(rule)]; };
  std::erase_if(report.not_checked, [&](const NotChecked& n) { return unwanted(n.rule); });
  for (const NotChecked& n : report.not_checked) {
    if (n.applicable && options.required[static_cast<std::size_t>(n.rule)]) {
      report.missing.push_back(n);
    }
  }
}

static void conclude(Report& report, Judge& judge, const Suspects& suspects,
                     const VerifyOptions& options, bool skipped_unknown) {
  judge.finish();
  report.launches = judge.launches();
  if (suspects.known()) report.suspects = suspects.list();
  report.suspects_total = suspects.count();
  report.cuda_errors = suspects.errors();
  report.cuda_errors_total = suspects.error_count();
  select(report, judge, options);
  report.verdict = verdict_of(report, skipped_unknown);
}

Report verify_trace(const std::string& path, const VerifyOptions& options) {
  Report report;
  report.trace = path;
  if (options.jobs != 1) {
    if (const std::unique_ptr<Judged> judged = judge_in_parts(path, options, options.jobs)) {
      report.names = judged->names;
      report.events = judged->events;
      conclude(report, *judged->judge, judged->suspects, options, false);
      return report;
    }
  }
  report.names = std::make_shared<Names>();
  std::unique_ptr<Source> source = open_trace(path, *report.names, report.status);
  if (source == nullptr) {
    report.verdict =
        report.status.code() == Code::kDamaged ? Verdict::kDamaged : Verdict::kIncomplete;
    return report;
  }
  State state(*report.names);
  Judge judge(*report.names, options.judge, options.rules);
  Event event;
  Suspects suspects;
  std::uint64_t left_out = 0;
  for (;;) {
    // Behind damage, the first event of a rank is one for next_event().
    const Briefs briefs = report.missing_events == 0 ? source->briefs() : Briefs();
    if (briefs.count > 0) {
      state.skip_to(source->position());
      if (state.apply(briefs)) {
        judge.note(briefs);
        report.events += briefs.count;
        source->pass(briefs);
        continue;
      }
    }
    if (!next_event(*source, event, state, judge, report)) break;
    const EventIndex index = source->position() - 1;
    const Outcome outcome = state.apply(event, &judge);
    if (outcome.applied()) {
      suspects.see(event, index);
      ++report.events;
    } else if (report.status.ok()) {
      report.status = refusal(*source, index, outcome, event, *report.names);
      report.status_event = index;
      break;
    } else {
      ++left_out;
    }
  }
  const std::vector<std::string>& warnings = source->warnings();
  report.warnings.insert(report.warnings.begin(), warnings.begin(), warnings.end());
  if (left_out > 0) {
    report.warnings.push_back(path + ": left out behind the damage, naming what was declared in " +
                              "the missing part: " + std::to_string(left_out) + " events");
  }
  conclude(report, judge, suspects, options, source->skipped_unknown());
  return report;
}

}  // namespace pagetape
