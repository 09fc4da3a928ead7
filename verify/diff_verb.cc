// SPDX-License-Identifier: Apache-2.0
// pagetape diff GOOD BAD
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "verify/diff.h"
#include "verify/verify_verbs.h"

namespace pagetape {

namespace {
struct Flags {
  std::string good, bad, format = "text";
  bool any_engine = false;
};
}  // namespace

static int run(const Flags& flags) {
  const DiffReport report = diff_traces(flags.good, flags.bad, flags.any_engine);
  if (!report.status.ok()) {
    std::fprintf(stderr, "pagetape: %s\n", report.status.message().c_str());
    return report.status.code() == Code::kDamaged ? 3 : 2;
  }
  std::fputs((flags.format == "json" ? diff_json(report) : diff_text(report)).c_str(), stdout);
  return report.total > 0 ? 1 : 0;
}

void add_diff_verb(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = app.add_subcommand("diff", "Where two recordings of the same work part");
  verb->add_option("GOOD", flags->good, "A binary or text trace")->required();
  verb->add_option("BAD", flags->bad, "The one to compare with it")->required();
  verb->add_flag("--any-engine", flags->any_engine, "Compare different engines or versions, too");
  verb->add_option("--format", flags->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  verb->footer(
      "Requests are matched by name, those of other names by what they do. Page ids, and the "
      "order\n"
      "in which independent requests come to turn, are free to differ.\n"
      "Exit 0: the same, 1: a difference.");
  verb->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace pagetape
