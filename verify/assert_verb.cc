// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "verify/assert_traces.h"
#include "verify/not_negative.h"
#include "verify/output_file.h"
#include "verify/rule_flags.h"
#include "verify/verify_verbs.h"

namespace pagetape {

namespace {
struct Flags {
  std::vector<std::string> traces;
  std::vector<std::string> rules{"OOB_PAGE", "WRONG_SPACE", "STALE_BINDING", "SHORT_TABLE",
                                 "GRAPH_STALE"};
  std::vector<std::string> allowed;
  std::string junit, sarif, markdown;  // Paths; "": not asked for.
  bool github = false;
  unsigned jobs = 0;
  VerifyOptions options;
};

struct Form {
  const std::string& path;
  std::string (*print)(const std::vector<TraceResult>&);
  OutputFile file = {};
};
}  // namespace

static int refuse(const std::string& message) {
  std::fprintf(stderr, "pagetape assert: %s\n", message.c_str());
  return 2;
}

static int run(Flags& flags) {
  std::array<bool, kRuleCount> allowed{};
  std::string wrong = set_rules(flags.rules, flags.options.required);
  if (wrong.empty()) wrong = set_rules(flags.allowed, allowed);
  if (!wrong.empty()) return refuse(wrong);
  for (std::size_t r = 0; r < kRuleCount; ++r) flags.options.required[r] &= !allowed[r];

  const bool markdown_only = flags.markdown == "-";
  const std::string none;
  Form forms[] = {{flags.junit, assert_junit},
                  {flags.sarif, assert_sarif},
                  {markdown_only ? none : flags.markdown, assert_markdown}};
  for (Form& form : forms) {
    if (form.path.empty()) continue;
    if (Status status = form.file.open(form.path); !status.ok()) return refuse(status.message());
  }
  const std::vector<TraceResult> results = assert_traces(flags.traces, flags.options, flags.jobs);
  std::FILE* const lines = markdown_only ? stderr : stdout;  // The runner reads commands in both.
  std::fputs(assert_lines(results).c_str(), lines);
  if (flags.github) std::fputs(assert_github(results).c_str(), lines);
  if (markdown_only) std::fputs(assert_markdown(results).c_str(), stdout);
  for (Form& form : forms) {
    if (!form.file.is_open()) continue;
    if (Status status = form.file.commit(form.print(results)); !status.ok()) {
      return refuse(status.message());
    }
  }
  return exit_code(results);
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
  verb->add_option("--junit", flags->junit, "Write JUnit XML: a suite a trace, a case a rule")
      ->type_name("FILE");
  verb->add_option("--sarif", flags->sarif, "Write SARIF 2.1.0: a result a finding")
      ->type_name("FILE");
  verb->add_option("--markdown", flags->markdown,
                   "Write a summary in Markdown (-: to the standard output, and all else to the "
                   "standard error)")
      ->type_name("FILE");
  verb->add_flag("--github", flags->github,
                 "Print annotations for GitHub Actions: each rule's first finding");
  verb->add_option("--max-findings", flags->options.judge.max_findings,
                   "Report so many findings of a trace; counts are not cut (0: all)")
      ->check(not_negative())
      ->capture_default_str();
  verb->add_option("--jobs", flags->jobs, "Threads for traces, or parts of one (0: one a core)")
      ->capture_default_str();
  verb->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace pagetape
