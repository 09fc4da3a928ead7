// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>

#include "verify/report.h"
#include "verify/rule_flags.h"
#include "verify/verify_verbs.h"

namespace pagetape {

namespace {
struct Flags {
  std::vector<std::string> traces;
  std::vector<std::string> rules{"OOB_PAGE", "WRONG_SPACE", "STALE_BINDING", "SHORT_TABLE",
                                 "GRAPH_STALE"};
  std::vector<std::string> allowed;
};
}  // namespace

// One line a trace. 0: checked and clean; 1: findings, or a required rule unchecked; else as
// verify.
static int assert_trace(const std::string& trace, const VerifyOptions& options) {
  const Report r = verify_trace(trace, options);
  const int code = r.exit_code();
  std::string line = code == 0 ? "ok      " : code == 1 ? "FAILED  " : "ERROR   ";
  line += trace + ": ";
  if (!r.findings.empty()) {
    line += std::to_string(r.total) + " findings, the first " + r.findings[0].id(*r.names) + " (" +
            r.findings[0].message + ")";
  } else if (!r.missing.empty()) {
    line += "not checked:";
    for (const NotChecked& n : r.missing) {
      line += ' ' + std::string(info(n.rule).name) + " of " +
              std::string(n.object == kNone ? "the trace" : r.names->text(n.object)) + " (needs " +
              n.needs + ");";
    }
    line.pop_back();
  } else if (!r.status.ok()) {
    line += r.status.message();
  } else {
    line += std::to_string(r.events) + " events, " + std::to_string(r.launches) + " launches";
  }
  std::printf("%s\n", line.c_str());
  return code;
}

static int run(const Flags& flags) {
  VerifyOptions options;
  std::array<bool, kRuleCount> allowed{};
  std::string wrong = set_rules(flags.rules, options.required);
  if (wrong.empty()) wrong = set_rules(flags.allowed, allowed);
  if (!wrong.empty()) {
    std::fprintf(stderr, "pagetape assert: %s\n", wrong.c_str());
    return 2;
  }
  for (std::size_t r = 0; r < kRuleCount; ++r) options.required[r] &= !allowed[r];
  // Over several traces: a finding wins over damage, wrong usage over both.
  constexpr int kWeight[] = {0, 2, 3, 1};
  int worst = 0;
  for (const std::string& trace : flags.traces) {
    const int code = assert_trace(trace, options);
    if (kWeight[code] > kWeight[worst]) worst = code;
  }
  return worst;
}

void add_assert_verb(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = app.add_subcommand("assert", "Check in CI that traces are clean");
  verb->add_option("TRACE", flags->traces, "Binary or text traces")->required();
  verb->add_option("--rules", flags->rules, "Rules that have to be checked (RULE,RULE, or all)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  verb->add_option("--allow-not-checked", flags->allowed, "Of these, rules that may be unchecked")
      ->delimiter(',')
      ->allow_extra_args(false);
  verb->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace pagetape
