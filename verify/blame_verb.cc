// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "verify/blame_trace.h"
#include "verify/not_negative.h"
#include "verify/verify_verbs.h"

namespace pagetape {

namespace {
struct Flags {
  std::string trace, format = "text";
  EventIndex at = 0;
  Question question;
  bool no_before = false;
};
}  // namespace

static int run(Flags& flags) {
  const Question& q = flags.question;
  const int asked = (q.row || q.column) + !q.page.empty() + !q.binding.empty() + !q.scalar.empty();
  if (asked > 1) {
    std::fprintf(stderr,
                 "pagetape blame: give one of --row and --col, --page, --binding, --scalar\n");
    return 2;
  }
  if (!q.binding.empty() && q.binding.find(':') == std::string::npos) {
    std::fprintf(stderr, "pagetape blame: --binding takes BACKEND:LAYER\n");
    return 2;
  }
  flags.question.before = !flags.no_before;
  const BlameReport report = blame_trace(flags.trace, flags.at, flags.question);
  if (!report.links.empty()) {
    std::fputs((flags.format == "json" ? blame_json(report) : blame_text(report)).c_str(), stdout);
  }
  if (!report.status.ok()) std::fprintf(stderr, "pagetape: %s\n", report.status.message().c_str());
  return report.exit_code();
}

void add_blame_verb(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<Flags>();
  Question& q = flags->question;
  CLI::App* verb = app.add_subcommand("blame", "Say who wrote last what an event depends on");
  verb->add_option("TRACE", flags->trace, "A binary or text trace")->required();
  verb->add_option("--at", flags->at, "The event; without more, its findings are blamed")
      ->check(not_negative())
      ->required()
      ->type_name("EVENT");
  const auto index = [&](const char* name, std::optional<std::int64_t>& value, const char* text) {
    verb->add_option(name, value, text)
        ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40).description(""))
        ->type_name("N");
  };
  index("--row", q.row, "Lane of a launch, or row of a table (default: the first)");
  index("--col", q.column, "Entry or slot of the lane (default: the last live one)");
  index("--launch", q.launch, "Which launch of a graph launch (default: the first that fits)");
  verb->add_option("--layer", q.layer, "Of which layer of the launch, logical or physical");
  verb->add_option("--page", q.page, "Blame a page: POOL:PAGE, or PAGE where there is one pool");
  verb->add_option("--binding", q.binding, "Blame what a layer is bound to: BACKEND:LAYER");
  verb->add_option("--scalar", q.scalar, "Blame a run-time scalar, and the graph that froze it");
  verb->add_flag("--no-before", flags->no_before,
                 "Leave out what stood there before: faster, above all without keyframes");
  verb->add_option("--format", flags->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  verb->footer(
      "The state before the event is reached from the nearest keyframe: `pagetape compact` adds "
      "them.\nWithout, every event before it is applied.");
  verb->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace pagetape
