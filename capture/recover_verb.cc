// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <utility>

#include "capture/capture_verbs.h"

namespace pagetape {

static int run(const RecoverOptions& options) {
  umask(077);  // As the collector's own traces.
  std::vector<std::string> said;
  const Status status = recover(options, said);
  for (const std::string& line : said) std::printf("%s\n", line.c_str());
  if (status.ok()) return 0;
  if (said.empty()) std::fprintf(stderr, "pagetape: %s\n", status.message().c_str());
  return status.code() == Code::kDamaged ? 3 : 2;
}

void add_recover_verb(CLI::App& app, int& exit_code, CompanionFactory companion) {
  auto options = std::make_shared<RecoverOptions>();
  options->companion = std::move(companion);
  CLI::App* verb = app.add_subcommand(
      "recover", "Complete the traces of a `record` that was killed, from the rings it left");
  verb->add_option("DIR", options->out, "The folder that was given to record")->required();
  verb->add_option("--level", options->zstd_level, "zstd level, 1 to 19; 0: none")
      ->check(CLI::Range(0, 19))
      ->capture_default_str();
  verb->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace pagetape
