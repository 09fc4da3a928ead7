// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "verify/not_negative.h"
#include "verify/report.h"
#include "verify/rule_flags.h"
#include "verify/selfcheck.h"
#include "verify/verify_verbs.h"

namespace pagetape {

namespace {
struct Flags {
  std::string trace, format = "text";
  std::vector<std::string> rules, required;
  VerifyOptions options;
  bool require_selfcheck = false;
};

// The trace is clean: would a fault in it have been found? The report's form is left alone.
bool stands_selfcheck(const Flags& flags) {
  SelfcheckOptions options;
  options.rules = flags.options.rules;
  options.jobs = flags.options.jobs;
  const SelfcheckReport report = selfcheck(flags.trace, options);
  std::fputs(selfcheck_text(report).c_str(), flags.format == "text" ? stdout : stderr);
  return report.full();
}
}  // namespace

static int run(Flags& flags) {
  std::string wrong;
  if (!flags.rules.empty()) wrong = set_rules(flags.rules, flags.options.rules);
  if (wrong.empty()) wrong = set_rules(flags.required, flags.options.required);
  if (!wrong.empty()) {
    std::fprintf(stderr, "pagetape verify: %s\n", wrong.c_str());
    return 2;
  }
  const Report report = verify_trace(flags.trace, flags.options);
  const std::string out = flags.format == "json"    ? report_json(report)
                          : flags.format == "jsonl" ? report_jsonl(report)
                                                    : report_text(report);
  std::fputs(out.c_str(), stdout);
  if (!report.status.ok()) std::fprintf(stderr, "pagetape: %s\n", report.status.message().c_str());
  const int code = report.exit_code();
  if (code == 0 && flags.require_selfcheck && !stands_selfcheck(flags)) return 1;
  return code;
}

void add_verify_verb(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = app.add_subcommand("verify", "Judge a trace under the rules");
  verb->add_option("TRACE", flags->trace, "A binary or text trace")->required();
  verb->add_option("--rule", flags->rules, "Report these rules only (RULE,RULE or repeated)")
      ->delimiter(',')
      ->allow_extra_args(false);
  verb->add_option("--require", flags->required,
                   "Fail where these rules are not checked (RULE,RULE, or all)")
      ->delimiter(',')
      ->allow_extra_args(false);
  verb->add_flag("--require-selfcheck", flags->require_selfcheck,
                 "Fail where faults planted into the clean trace are not all found");
  verb->add_option("--max-findings", flags->options.judge.max_findings,
                   "List so many findings; counts are not cut (0: all)")
      ->check(not_negative())
      ->capture_default_str();
  verb->add_flag("--strict-window", flags->options.judge.strict_window,
                 "Judge entries outside the window too");
  verb->add_flag("--strict-pad", flags->options.judge.strict_pad,
                 "Padding may read reserved pages only");
  flags->options.jobs = 0;
  verb->add_option("--jobs", flags->options.jobs, "Threads; the report is the same (0: one a core)")
      ->capture_default_str();
  verb->add_option("--format", flags->format, "text, json or jsonl")
      ->check(CLI::IsMember({"text", "json", "jsonl"}))
      ->capture_default_str();
  verb->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace pagetape
