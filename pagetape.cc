// SPDX-License-Identifier: Apache-2.0
// The command line: a table of verbs. Each verb's flags and body are in the folder that owns it.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "capture/capture_verbs.h"
#include "gui/gui_verbs.h"
#include "replay/compact.h"
#include "replay/replay_verbs.h"
#include "replay/state.h"
#include "traces/trace_verbs.h"
#include "verify/online_check.h"
#include "verify/verify_verbs.h"

namespace pagetape {
namespace {

// When a keyframe is due, as `compact` counts it.
class Pace {
 public:
  bool due() const { return since_ >= kKeyframeWeight && good_; }
  void made() { since_ = 0; }
  // Behind an event that cannot apply, no state is that of the trace.
  void see(const Event& event, bool applied) {
    good_ = good_ && applied;
    since_ += apply_weight(event);
  }

 private:
  std::uint64_t since_ = 0;
  bool good_ = true;
};

std::optional<Keyframe> keyframe_of(const State& state, Pace& pace) {
  if (!pace.due()) return std::nullopt;
  pace.made();
  std::string saved = state.save();
  const std::uint64_t digest = State::digest_of(saved);
  return Keyframe{std::move(saved), digest};
}

// Keyframes for a trace while it is written.
class Keyframes final : public Companion {
 public:
  explicit Keyframes(const Names& names) : state_(names) {}

  std::optional<Keyframe> see(const Event& event) override {
    std::optional<Keyframe> keyframe = keyframe_of(state_, pace_);
    pace_.see(event, state_.apply(event).applied());
    return keyframe;
  }

 private:
  State state_;
  Pace pace_;
};

// The same, with the rules judged.
class CheckedKeyframes final : public Companion {
 public:
  explicit CheckedKeyframes(const Names& names) : check_(names, say) {}

  std::optional<Keyframe> see(const Event& event) override {
    std::optional<Keyframe> keyframe = keyframe_of(check_.state(), pace_);
    pace_.see(event, check_.see(event));
    return keyframe;
  }
  std::string verdict() override { return check_.verdict(); }

 private:
  static void say(const std::string& line) { std::fprintf(stderr, "pagetape: %s\n", line.c_str()); }
  OnlineCheck check_;
  Pace pace_;
};

std::unique_ptr<Companion> companion(const Names& names) {
  return std::make_unique<Keyframes>(names);
}
std::unique_ptr<Companion> checking(const Names& names) {
  return std::make_unique<CheckedKeyframes>(names);
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
      pagetape::add_verify_verb,    pagetape::add_assert_verb,  pagetape::add_blame_verb,
      pagetape::add_headroom_verb,  pagetape::add_info_verb,    pagetape::add_import_verb,
      pagetape::add_export_verb,    pagetape::add_compact_verb, pagetape::add_replay_verb,
      pagetape::add_synth_verb,     pagetape::add_debug_verb,   pagetape::add_view_verb,
      pagetape::add_shrink_verb,    pagetape::add_diff_verb,    pagetape::add_join_verb,
      pagetape::add_selfcheck_verb, pagetape::add_explore_verb,
  };
  for (AddVerb add : kVerbs) add(app, exit_code);
  pagetape::add_record_verb(app, exit_code, pagetape::companion, pagetape::checking);
  pagetape::add_recover_verb(app, exit_code, pagetape::companion);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  return exit_code;
}
