// SPDX-License-Identifier: Apache-2.0
// pagetape shrink RUN.ptape --rule R -o REPRO.ptape
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include "traces/writer.h"
#include "verify/output_file.h"
#include "verify/regression.h"
#include "verify/report.h"
#include "verify/shrink.h"
#include "verify/verify_verbs.h"

namespace pagetape {
namespace {

namespace fs = std::filesystem;

struct Flags {
  std::string trace, rule, out, emit;
  std::uint64_t budget = 20;  // Millions of events.
  bool quiet = false;
};

Status write_binary(const std::string& path, const ShrinkReport& report) {
  Status status;
  const std::unique_ptr<Writer> writer = create_trace(path, *report.names, {}, status);
  if (writer == nullptr) return status;
  for (const Event& event : report.events) {
    if (status = writer->add(event); !status.ok()) return status;
  }
  return writer->close();
}

// The finding as whoever opens the file will see it.
Status check_file(const std::string& path, const ShrinkReport& report) {
  const Report found = verify_trace(path, {});
  if (!found.status.ok()) return found.status;
  const auto at = std::ranges::find(found.firsts, report.is.rule, &Finding::rule);
  const bool same = at != found.firsts.end() && at->event == report.is.event &&
                    at->row == report.is.row && at->column == report.is.column &&
                    at->page == report.is.page;
  return same ? Status() : usage(path + ": the finding was lost on writing; nothing was written");
}

// Asked before the search, which may take a minute.
Status can_be_written(const std::string& path) {
  OutputFile file;
  return file.open(path);
}

// Under another name until it was read again and judged.
Status write_trace(const std::string& path, const ShrinkReport& report) {
  const std::string partial = path + ".partial";
  Status status;
  if (path.ends_with(".jsonl")) {
    OutputFile file;
    status = file.open(partial);
    if (status.ok()) status = file.commit(regression_text(report.events, *report.names));
  } else {
    status = write_binary(partial, report);
  }
  if (status.ok()) status = check_file(partial, report);
  if (status.ok() && std::rename(partial.c_str(), path.c_str()) != 0) {
    status = system_error(path + ": cannot be written: " + std::strerror(errno));
  }
  if (!status.ok()) std::remove(partial.c_str());
  return status;
}

std::string regression_path(const Flags& flags) {
  fs::path path(flags.out);
  path.replace_extension();
  const char* ends = flags.emit == "gtest"   ? "_test.cc"
                     : flags.emit == "bazel" ? ".BUILD"
                                             : ".jsonl";
  return path.string() + ends;
}

std::string regression_of(const Flags& flags, const ShrinkReport& report) {
  const fs::path path(flags.out);
  const std::string name = path.stem().string();
  if (flags.emit == "bazel") {
    return regression_bazel(name, report.is.rule, path.filename().string());
  }
  if (flags.emit == "text") return regression_text(report.events, *report.names);
  return regression_gtest(name, report.is.rule, report.events, *report.names);
}

Status write_all(const Flags& flags, const ShrinkReport& report) {
  OutputFile regression;
  const std::string beside = regression_path(flags);
  if (!flags.emit.empty() && beside != flags.out) {
    if (Status status = regression.open(beside); !status.ok()) return status;
  }
  if (Status status = write_trace(flags.out, report); !status.ok()) return status;
  return regression.is_open() ? regression.commit(regression_of(flags, report)) : Status();
}

void say(const Flags& flags, const ShrinkReport& report) {
  std::error_code error;
  const auto bytes = fs::file_size(flags.out, error);
  std::printf("%s: %s events of %s, %s bytes, %s trials\n", flags.out.c_str(),
              grouped(report.events.size()).c_str(), grouped(report.events_before).c_str(),
              grouped(error ? 0 : bytes).c_str(), grouped(report.trials).c_str());
  std::printf("  was  %s\n", place_of(report.was, *report.names).c_str());
  std::printf("  is   %s\n", place_of(report.is, *report.names).c_str());
  if (!report.small_ids) {
    std::printf("  page ids are those of the recording: with small ones the finding goes away\n");
  }
  if (report.out_of_budget) {
    std::printf("  not the least there is: --budget ended the search\n");
  }
  if (!flags.emit.empty()) std::printf("  regression: %s\n", regression_path(flags).c_str());
}

int run(const Flags& flags) {
  const std::size_t rule = rule_named(flags.rule);
  if (rule == kRuleCount) {
    std::fprintf(stderr, "pagetape shrink: there is no rule \"%s\" (see `pagetape info --rules`)\n",
                 flags.rule.c_str());
    return 2;
  }
  std::error_code error;
  if (fs::equivalent(flags.trace, flags.out, error)) {
    std::fprintf(stderr, "pagetape shrink: -o %s is the trace itself; name another file\n",
                 flags.out.c_str());
    return 2;
  }
  ShrinkOptions options;
  options.rule = kRules[rule].rule;
  options.budget = flags.budget * 1'000'000;
  if (!flags.quiet) {
    options.progress = [](const std::string& line) {
      std::fprintf(stderr, "shrink: %s\n", line.c_str());
    };
  }
  Status status = can_be_written(flags.out);
  ShrinkReport report;
  if (status.ok()) {
    report = shrink(flags.trace, options);
    status = report.status;
  }
  if (status.ok()) status = write_all(flags, report);
  if (!status.ok()) {
    std::fprintf(stderr, "pagetape: %s\n", status.message().c_str());
    return status.code() == Code::kDamaged ? 3 : 2;
  }
  say(flags, report);
  return 0;
}

}  // namespace

void add_shrink_verb(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = app.add_subcommand("shrink", "Make the trace of a finding as small as it gets");
  verb->add_option("TRACE", flags->trace, "A binary or text trace")->required();
  verb->add_option("--rule", flags->rule, "Keep the first finding of this rule")->required();
  verb->add_option("-o,--output", flags->out, "Trace to write; NAME.jsonl: the text form")
      ->required();
  verb->add_option("--emit", flags->emit, "Write a regression beside it: gtest, bazel or text")
      ->check(CLI::IsMember({"gtest", "bazel", "text"}));
  verb->add_option("--budget", flags->budget,
                   "Stop after judging so many million events, with what was reached")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1'000'000}).description(""))
      ->type_name("N")
      ->capture_default_str();
  verb->add_flag("--quiet", flags->quiet, "No progress on stderr");
  verb->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace pagetape
