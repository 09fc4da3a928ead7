// SPDX-License-Identifier: Apache-2.0
// pagetape selfcheck RUN.ptape
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "verify/not_negative.h"
#include "verify/rule_flags.h"
#include "verify/selfcheck.h"
#include "verify/verify_verbs.h"

namespace pagetape {

namespace {
struct Flags {
  std::string trace, format = "text";
  std::vector<std::string> rules;
  SelfcheckOptions options;
};
}  // namespace

static int run(Flags& flags) {
  if (!flags.rules.empty()) {
    const std::string wrong = set_rules(flags.rules, flags.options.rules);
    if (!wrong.empty()) {
      std::fprintf(stderr, "pagetape selfcheck: %s\n", wrong.c_str());
      return 2;
    }
  }
  const SelfcheckReport report = selfcheck(flags.trace, flags.options);
  const std::string out = flags.format == "json" ? selfcheck_json(report) : selfcheck_text(report);
  std::fputs(out.c_str(), stdout);
  if (!report.status.ok()) std::fprintf(stderr, "pagetape: %s\n", report.status.message().c_str());
  return report.exit_code();
}

void add_selfcheck_verb(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = app.add_subcommand(
      "selfcheck", "Plant faults into a clean trace and see whether the rules find them");
  verb->add_option("TRACE", flags->trace, "A binary or text trace without findings")->required();
  verb->add_option("--rule", flags->rules, "Faults of these rules only (RULE,RULE or repeated)")
      ->delimiter(',')
      ->allow_extra_args(false);
  verb->add_option("--seed", flags->options.seed, "Of the places and the faults")
      ->check(not_negative())
      ->capture_default_str();
  verb->add_option("--count", flags->options.count, "Plant so many faults of each kind")
      ->check(CLI::Range(std::size_t{1}, std::size_t{10'000}).description(""))
      ->type_name("N")
      ->capture_default_str();
  flags->options.jobs = 0;
  verb->add_option("--jobs", flags->options.jobs, "Threads; the report is the same (0: one a core)")
      ->capture_default_str();
  verb->add_option("--format", flags->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  verb->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace pagetape
