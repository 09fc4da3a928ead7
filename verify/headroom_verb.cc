// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "verify/headroom.h"
#include "verify/verify_verbs.h"

namespace pagetape {

namespace {
struct Flags {
  std::string trace, format = "text";
  std::optional<std::string> min;
  HeadroomOptions options;
};
}  // namespace

// "64" (pages) or "2.5%".
static bool parse_min(std::string_view text, HeadroomOptions& options) {
  options.judged = true;
  options.per_cent = text.ends_with('%');
  if (options.per_cent) text.remove_suffix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), options.min,
                                            std::chars_format::fixed);
  return error == std::errc() && end == text.data() + text.size() && options.min >= 0;
}

static int run(Flags& flags) {
  if (flags.min && !parse_min(*flags.min, flags.options)) {
    std::fprintf(stderr,
                 "pagetape headroom: --min-headroom takes pages (64) or per cent (2.5%%)\n");
    return 2;
  }
  const HeadroomReport report = headroom_trace(flags.trace, flags.options);
  if (report.events > 0 || report.status.ok()) {
    const std::string out =
        flags.format == "json" ? headroom_json(report) : headroom_text(report, flags.options);
    std::fputs(out.c_str(), stdout);
  }
  if (!report.status.ok()) std::fprintf(stderr, "pagetape: %s\n", report.status.message().c_str());
  return report.exit_code();
}

void add_headroom_verb(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = app.add_subcommand(
      "headroom", "Say how close a trace came to an id outside its pool, and could have come");
  verb->add_option("TRACE", flags->trace, "A binary or text trace")->required();
  verb->add_option("--min-headroom", flags->min,
                   "Exit 1 where a table's margin is less: pages, or per cent of its bound")
      ->type_name("N[%]");
  verb->add_option("--format", flags->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  verb->footer(
      "distance: from the greatest id that a launch used to the first outside; 1 is the last valid "
      "one.\n"
      "margin: in pages, of what could be used, not of what was. A table that holds ids of the "
      "bound pool's\n"
      "own space is safe however full the pool is, as no id of the space is outside, and always "
      "passes. One\n"
      "of another space may come to hold every id of that: its margin is the bound less those, "
      "and below 0\n"
      "where some lie outside, though the run used none of them. Where the trace does not say "
      "whose ids a\n"
      "table holds, the margin is the valid ids beyond the greatest used.");
  verb->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace pagetape
