// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "replay/compact.h"
#include "replay/replay_verbs.h"

namespace pagetape {

namespace {
struct Flags {
  std::string in, out;
  WriterOptions options;
  std::uint64_t weight = kKeyframeWeight;
};
}  // namespace

static int run(const Flags& flags) {
  std::uint64_t keyframes = 0;
  const Status status = compact_trace(flags.in, flags.out, flags.options, flags.weight, keyframes);
  if (!status.ok()) std::fprintf(stderr, "pagetape: %s\n", status.message().c_str());
  if (status.code() == Code::kDamaged) return 3;
  if (!status.ok()) return 2;
  std::printf("%s: %llu keyframes\n", flags.out.c_str(),
              static_cast<unsigned long long>(keyframes));
  return 0;
}

void add_compact_verb(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = app.add_subcommand("compact", "Write a trace again, with keyframes");
  verb->add_option("TRACE", flags->in, "A binary or text trace")->required();
  verb->add_option("-o,--output", flags->out, "The binary trace to write")->required();
  verb->add_option("--level", flags->options.zstd_level, "zstd level, 1 to 19; 0: none")
      ->check(CLI::Range(0, 19))
      ->capture_default_str();
  verb->add_option("--keyframe-weight", flags->weight,
                   "Cells, slots, pages and events between two keyframes")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace pagetape
