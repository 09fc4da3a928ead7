// SPDX-License-Identifier: Apache-2.0
// The command line: a table of verbs. Each verb's flags and body are in the folder that owns it.
#include <CLI/CLI.hpp>

#include "capture/capture_verbs.h"
#include "gui/gui_verbs.h"
#include "replay/compact.h"
#include "replay/replay_verbs.h"
#include "replay/state.h"
#include "traces/trace_verbs.h"
#include "verify/verify_verbs.h"

namespace pagetape {
namespace {

// Keyframes for a trace while it is written, as `compact` adds them.
class Keyframes final : public Companion {
 public:
  explicit Keyframes(const Names& names) : state_(names) {}

  std::optional<Keyframe> see(const Event& event) override {
    std::optional<Keyframe> keyframe;
    if (since_ >= kKeyframeWeight && good_) {
      keyframe = Keyframe{state_.save(), state_.digest()};
      since_ = 0;
    }
    // Behind an event that cannot apply, no state is that of the trace.
    good_ = good_ && state_.apply(event).applied();
    since_ += apply_weight(event);
    return keyframe;
  }

 private:
  State state_;
  std::uint64_t since_ = 0;
  bool good_ = true;
};

std::unique_ptr<Companion> companion(const Names& names) {
  return std::make_unique<Keyframes>(names);
}

}  // namespace
}  // namespace pagetape

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
      pagetape::add_synth_verb,    pagetape::add_debug_verb,   pagetape::add_view_verb,
      pagetape::add_shrink_verb,   pagetape::add_diff_verb,
  };
  for (AddVerb add : kVerbs) add(app, exit_code);
  pagetape::add_record_verb(app, exit_code, pagetape::companion);
  pagetape::add_recover_verb(app, exit_code, pagetape::companion);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  return exit_code;
}
