// SPDX-License-Identifier: Apache-2.0
// The command line: a table of verbs. Each verb's flags and body are in the folder that owns it.
#include <CLI/CLI.hpp>

#include "capture/capture_verbs.h"
#include "replay/replay_verbs.h"
#include "traces/trace_verbs.h"
#include "verify/verify_verbs.h"

int main(int argc, char** argv) {
  CLI::App app{
      "pagetape: a trace-replay debugger and verifier for the paged KV caches of LLM engines.\n"
      "Exit codes: 0 clean, 1 findings, 2 wrong usage or unreadable, 3 damaged trace.",
      "pagetape"};
  app.require_subcommand(1);
  int exit_code = 0;
  using AddVerb = void (*)(CLI::App&, int&);
  constexpr AddVerb kVerbs[] = {
      pagetape::add_verify_verb,   pagetape::add_assert_verb,  pagetape::add_blame_verb,
      pagetape::add_headroom_verb, pagetape::add_info_verb,    pagetape::add_import_verb,
      pagetape::add_export_verb,   pagetape::add_compact_verb, pagetape::add_replay_verb,
      pagetape::add_synth_verb,    pagetape::add_debug_verb,
  };
  for (AddVerb add : kVerbs) add(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  return exit_code;
}
