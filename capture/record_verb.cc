// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "capture/capture_verbs.h"

namespace pagetape {
namespace {

struct RecordFlags : CollectorOptions {
  bool checked = false;
};

using Options = std::shared_ptr<RecordFlags>;

// What is kept, and what makes that move.
void add_flight_options(CLI::App* verb, const Options& options) {
  verb->add_option_function<std::vector<std::string>>(
          "--last",
          [options](const std::vector<std::string>& given) {
            for (const std::string& text : given) {
              if (Status status = parse_last(text, options->last); !status.ok()) {
                throw CLI::ValidationError("--last", status.message());
              }
            }
          },
          "Keep the recent past alone: at least so long (90s, 10min, 2h), at most so much (2GiB), "
          "or both")
      ->type_name("TIME|SIZE")
      ->allow_extra_args(false);
  verb->add_option_function<std::vector<std::string>>(
          "--trigger",
          [options](const std::vector<std::string>& given) {
            for (const std::string& text : given) {
              if (Status status = parse_trigger(text, options->triggers.emplace_back());
                  !status.ok()) {
                throw CLI::ValidationError("--trigger", status.message());
              }
            }
          },
          "On usr1, usr2 (a signal to this process), cuda-error, finding (with --check) or guard: "
          "=dump writes a trace of what is kept, =stop does that and keeps no more, =start begins "
          "to; may be given again")
      ->type_name("CAUSE=ACTION")
      ->allow_extra_args(false);
}

// What is put into the command's processes.
void add_injected_options(CLI::App* verb, const Options& options) {
  verb->add_option("--cupti", options->cupti,
                   "Library that records CUDA's launches, errors, graphs and waits, or none; "
                   "otherwise libpagetape_cupti.so beside this program, if it is there")
      ->envname("PAGETAPE_CUPTI")
      ->type_name("FILE");
  verb->add_option("--python", options->python,
                   "Folder of the Python package that records engines, or none; otherwise python/ "
                   "beside this program, if it is there")
      ->envname("PAGETAPE_PYTHON")
      ->type_name("DIR");
  verb->add_option("--guard", options->guard,
                   "Have engines compare each launch's page ids with the pool bound: log says what "
                   "is outside, raise and clamp also give the launch a copy without it, and raise "
                   "ends the step with an exception")
      ->check(CLI::IsMember({"log", "raise", "clamp"}).description(""))
      ->envname("PAGETAPE_GUARD")
      ->type_name("log|raise|clamp");
}

}  // namespace

void add_record_verb(CLI::App& app, int& exit_code, CompanionFactory companion,
                     CompanionFactory checking) {
  const auto options = std::make_shared<RecordFlags>();
  options->keyframes = companion;
  options->companion = std::move(companion);
  CLI::App* verb = app.add_subcommand(
      "record", "Run a command and record what its processes do to their caches");
  verb->add_option("-o,--output", options->out, "Folder for the traces, one a process")
      ->required()
      ->type_name("DIR");
  verb->add_option("--ring-size", options->ring_bytes,
                   "Memory between each process and this one: what it holds while the disk is slow")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(std::uint64_t{1} << 16, std::uint64_t{1} << 32).description(""))
      ->type_name("BYTES")
      ->default_str("64MiB");
  add_flight_options(verb, options);
  verb->add_option("--level", options->zstd_level, "zstd level, 1 to 19; 0: none")
      ->check(CLI::Range(0, 19))
      ->capture_default_str();
  verb->add_option("--shared-memory", options->shared_memory, "Folder in memory for the rings")
      ->capture_default_str()
      ->type_name("DIR");
  verb->add_flag_callback(
      "--check",
      [options, checking = std::move(checking)] {
        options->companion = checking;
        options->checked = true;
      },
      "Judge the events as they come: a line for each rule's first finding, and a verdict");
  add_injected_options(verb, options);
  verb->add_option("COMMAND", options->command, "Behind --: what to run, and its arguments")
      ->required();
  verb->footer(
      "Returns the command's status, 128 + signal where it was killed, 125 where "
      "recording could not begin.");
  verb->callback([options, &exit_code] {
    const bool finding = std::ranges::any_of(
        options->triggers, [](const Trigger& t) { return t.cause == kFindingCause; });
    if (finding && !options->checked) {
      throw CLI::ValidationError("--trigger", "finding needs --check");
    }
    // Who raises asks what led to it.
    const bool asked = std::ranges::any_of(options->triggers,
                                           [](const Trigger& t) { return t.cause == kGuardCause; });
    if (options->guard == "raise" && options->last.any() && !asked) {
      options->triggers.push_back({std::string(kGuardCause), Trigger::Act::kDump});
    }
    exit_code = collect(*options);
  });
}

}  // namespace pagetape
