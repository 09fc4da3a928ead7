// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "capture/capture_verbs.h"
#include "capture/ring_file.h"
#include "capture/sim/synth.h"

namespace pagetape {
namespace {

struct Flags {
  std::string model = "tiny", bug = "none", out;
  sim::Config config;
};

int run(Flags& flags) {
  const char* rings = std::getenv(kRingFolderVariable);
  if (!flags.config.live) {
    unsetenv(kRingFolderVariable);  // A trace that was asked for by name is written under it.
  } else if (rings != nullptr && flags.out.empty()) {
    flags.out = "live";
  }
  if (flags.out.empty()) {
    std::fprintf(stderr, "pagetape synth: -o is required (but for --live under pagetape record)\n");
    return 2;
  }
  flags.config.model = sim::find_model(flags.model);
  flags.config.bug = sim::find_bug(flags.bug)->bug;
  const sim::SynthResult result = sim::synthesize(flags.config, flags.out);
  if (!result.error.empty()) {
    std::fprintf(stderr, "pagetape synth: %s\n", result.error.c_str());
    return 2;
  }
  std::printf("%s: %llu events of %lld steps, %lld preemptions", flags.out.c_str(),
              static_cast<unsigned long long>(result.events), static_cast<long long>(result.steps),
              static_cast<long long>(result.preemptions));
  if (result.dropped > 0) {
    std::printf(", %llu dropped", static_cast<unsigned long long>(result.dropped));
  }
  std::printf("\n");
  return 0;
}

// The names and sentences of a table, one a line, for --help.
template <class Table>
std::string footer(const char* title, const Table& table) {
  std::string text = title;
  for (const auto& row : table) {
    text += "\n  " + std::string(row.name);
    text.append(row.name.size() < 26 ? 26 - row.name.size() : 1, ' ');
    text += row.sentence;
  }
  return text;
}

template <class Table>
std::vector<std::string> names(const Table& table) {
  std::vector<std::string> to;
  for (const auto& row : table) to.emplace_back(row.name);
  return to;
}

}  // namespace

void add_synth_verb(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = app.add_subcommand(
      "synth", "Write the trace of a simulated engine, healthy or with one defect");
  verb->add_option("--model", flags->model, "Model and pools (below)")
      ->capture_default_str()
      ->check(CLI::IsMember(names(sim::models())).description(""))
      ->type_name("NAME");
  verb->add_option("--bug", flags->bug, "Defect to plant (below)")
      ->capture_default_str()
      ->check(CLI::IsMember(names(sim::bugs())).description(""))
      ->type_name("NAME");
  verb->add_option("--seed", flags->config.seed, "Of the accepted drafts")->capture_default_str();
  const auto count = [&](const char* name, std::int64_t& value, const char* text) {
    verb->add_option(name, value, text)
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40).description(""))
        ->type_name("N");
  };
  count("--requests", flags->config.requests, "Requests in all (default: the model's)");
  count("--concurrency", flags->config.concurrency, "Requests at a time (default: the model's)");
  count("--prompt-tokens", flags->config.prompt_tokens, "Of a request (default: the model's)");
  count("--output-tokens", flags->config.output_tokens, "Of a request (default: the model's)");
  count("--steps", flags->config.steps, "End after so many steps (default: when all is done)");
  verb->add_flag("--lean", flags->config.lean,
                 "Without accept and rewind events: a quarter of the events, for long runs");
  verb->add_flag(
      "--live", flags->config.live,
      "Record as an engine that runs: with completions, and dropping what finds no room");
  verb->add_option("--pace", flags->config.pace, "Steps a second of --live; 0: as fast as it can")
      ->check(CLI::Range(0.0, 1e9).description(""))
      ->type_name("N");
  verb->add_option("-o,--output", flags->out, "Trace to write; NAME.jsonl: the text form")
      ->type_name("FILE");
  verb->footer(footer("Models:", sim::models()) + "\n" + footer("Defects:", sim::bugs()));
  verb->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace pagetape
