// SPDX-License-Identifier: Apache-2.0
// pagetape explore RUN.ptape
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "verify/explore.h"
#include "verify/verify_verbs.h"

namespace pagetape {

namespace {
struct Flags {
  std::string trace, format = "text", out;
  ExploreOptions options;
  std::uint64_t budget = 20;  // Millions of events.
};
}  // namespace

// The order of one seed, written.
static Status write_one(const Flags& flags) {
  std::error_code error;
  if (std::filesystem::equivalent(flags.trace, flags.out, error)) {
    return usage("-o " + flags.out + " is the trace itself; name another file");
  }
  Names names;
  ChosenOrder chosen;
  if (Status status = choose_order(flags.trace, flags.options.seed, names, chosen); !status.ok()) {
    return status;
  }
  return write_order(flags.trace, names, chosen, flags.out);
}

static int run(Flags& flags) {
  flags.options.budget = flags.budget * 1'000'000;
  if (!flags.out.empty()) {
    flags.options.orders = 1;
    if (const Status status = write_one(flags); !status.ok()) {
      std::fprintf(stderr, "pagetape: %s\n", status.message().c_str());
      return status.code() == Code::kDamaged ? 3 : 2;
    }
  }
  const ExploreReport report = explore(flags.trace, flags.options);
  const std::string out = flags.format == "json" ? explore_json(report) : explore_text(report);
  std::fputs(out.c_str(), stdout);
  if (!flags.out.empty()) {
    std::fprintf(stderr, "pagetape: the order of seed %llu is in %s\n",
                 static_cast<unsigned long long>(flags.options.seed), flags.out.c_str());
  }
  if (!report.status.ok()) std::fprintf(stderr, "pagetape: %s\n", report.status.message().c_str());
  return report.exit_code();
}

void add_explore_verb(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = app.add_subcommand(
      "explore", "Judge other orders of events that the recorded dependencies allow");
  verb->add_option("TRACE", flags->trace, "A binary or text trace")->required();
  verb->add_option("--seed", flags->options.seed,
                   "Of the first order; those after it have the seeds that follow")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 62).description(""))
      ->type_name("N")
      ->capture_default_str();
  verb->add_option("--orders", flags->options.orders, "Try so many orders at most")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 40).description(""))
      ->type_name("N")
      ->capture_default_str();
  verb->add_option("--budget", flags->budget, "Judge so many million events at most")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1'000'000}).description(""))
      ->type_name("N")
      ->capture_default_str();
  verb->add_option("--max-hazards", flags->options.max_hazards, "Report so many kinds; 0: all")
      ->type_name("N")
      ->capture_default_str();
  verb->add_option("-o,--output", flags->out,
                   "Write the trace in the order of --seed, and judge that one alone; NAME.jsonl: "
                   "as text");
  verb->add_option("--format", flags->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  verb->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace pagetape
