// SPDX-License-Identifier: Apache-2.0
// The command line: a table of verbs. Each verb's flags and body are in the folder that owns it.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "capture/capture_verbs.h"
#include "gui/gui_verbs.h"
#include "replay/compact.h"
#include "replay/replay_verbs.h"
#include "replay/restate.h"
#include "replay/setup_log.h"
#include "replay/state.h"
#include "traces/trace_verbs.h"
#include "verify/online_check.h"
#include "verify/rules.h"
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

// What both kinds of companions do with their state.
class StateCompanion : public Companion {
 public:
  explicit StateCompanion(Names& names) : names_(names) {}

  std::optional<Keyframe> keyframe() override {
    if (!pace_.due()) return std::nullopt;
    pace_.made();
    std::string saved = state().save();
    const std::uint64_t digest = State::digest_of(saved);
    return Keyframe{std::move(saved), digest};
  }
  void see(const Event& event) override {
    pace_.see(event, apply(event));
    setup_.see(event, names_);
  }
  void restate(std::string_view why, const std::function<void(const Event&)>& give) override {
    pagetape::restate(state(), setup_, names_, why, give);
  }

 protected:
  virtual const State& state() const = 0;
  // False where the event cannot apply.
  virtual bool apply(const Event& event) = 0;

 private:
  Names& names_;
  Pace pace_;
  SetupLog setup_;
};

// Keyframes for a trace while it is written.
class Keyframes final : public StateCompanion {
 public:
  explicit Keyframes(Names& names) : StateCompanion(names), state_(names) {}

 private:
  const State& state() const override { return state_; }
  bool apply(const Event& event) override { return state_.apply(event).applied(); }

  State state_;
};

// The same, with the rules judged.
class CheckedKeyframes final : public StateCompanion {
 public:
  explicit CheckedKeyframes(Names& names)
      : StateCompanion(names),
        check_(names, [this](std::string_view rule, const std::string& line) {
          std::fprintf(stderr, "pagetape: %s\n", line.c_str());
          if (found_.empty()) found_ = rule;
        }) {}

  std::string found() override { return std::exchange(found_, ""); }
  std::string verdict() override { return check_.verdict(); }

 private:
  const State& state() const override { return check_.state(); }
  bool apply(const Event& event) override { return check_.see(event); }

  OnlineCheck check_;
  std::string found_;  // The first of the rules that an event broke first.
};

std::unique_ptr<Companion> companion(Names& names) { return std::make_unique<Keyframes>(names); }
std::unique_ptr<Companion> checking(Names& names) {
  return std::make_unique<CheckedKeyframes>(names);
}

std::vector<RuleNeed> rule_needs() {
  std::vector<RuleNeed> out;
  for (const RuleInfo& rule : kRules) {
    out.push_back({std::string(rule.name), std::string(rule.needs)});
  }
  return out;
}

}  // namespace
}  // namespace pagetape

int main(int argc, char** argv) {
  CLI::App app{
      "pagetape: a trace-replay debugger and verifier for the paged KV caches of LLM engines.\n"
      "Exit codes: 0 clean, 1 findings, 2 wrong usage or unreadable, 3 damaged trace; of replay 4: "
      "its "
      "kernels and the rules differ.",
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
  pagetape::add_doctor_verb(app, exit_code, pagetape::rule_needs());
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  return exit_code;
}
