// SPDX-License-Identifier: Apache-2.0
// pagetape export IN [-o OUT] [--to FORM] [--redact]
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "traces/source.h"
#include "traces/text.h"
#include "verify/csv_tables.h"
#include "verify/export_chrome.h"
#include "verify/export_walk.h"
#include "verify/not_negative.h"
#include "verify/output_file.h"
#include "verify/redact.h"
#include "verify/report.h"
#include "verify/sqlite_tables.h"
#include "verify/verify_verbs.h"

namespace pagetape {
namespace {

struct Flags {
  std::string in, out, to = "text";
  std::size_t max_findings = 100'000;
  bool redact = false;
};

void warn(const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings) {
    std::fprintf(stderr, "pagetape: warning: %s\n", warning.c_str());
  }
}

// Up to where reading ends; what went wrong there is said after what was read is in place.
Status export_text(const Flags& flags) {
  Names names;
  Status status;
  const std::unique_ptr<Source> source = open_trace(flags.in, names, status);
  if (source == nullptr) return status;
  OutputFile out;
  if (status = out.open(flags.out); !status.ok()) return status;
  Redactor redactor(names);
  Event event;
  while (status.ok() && source->next(event)) {
    if (flags.redact) redactor.redact(event);
    status = out.write(print_event(event, names) + '\n');
  }
  if (status.ok()) status = out.commit();
  warn(source->warnings());
  return status.ok() ? source->status() : status;
}

// The findings that the other forms hold beside the events.
Status judge(const Flags& flags, Report& report) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(flags.in, error)) {
    return usage(flags.in + ": is no file: --to " + flags.to +
                 " reads a trace twice, to judge it and to write it");
  }
  VerifyOptions options;
  options.jobs = 0;
  options.judge.max_findings = flags.max_findings;
  report = verify_trace(flags.in, options);
  warn(report.warnings);
  if (report.total > report.findings.size()) {
    std::fprintf(stderr,
                 "pagetape: the first %s of %s findings are written (--max-findings 0: all)\n",
                 grouped(report.findings.size()).c_str(), grouped(report.total).c_str());
  }
  return report.events == 0 ? report.status : Status();
}

Status export_chrome(const Flags& flags) {
  OutputFile out;
  if (Status status = out.open(flags.out); !status.ok()) return status;
  Report report;
  if (Status status = judge(flags, report); !status.ok()) return status;
  const bool timed = has_times(flags.in);
  if (!timed) {
    std::fprintf(stderr, "pagetape: %s: no event has a time (`t`): an event is a microsecond\n",
                 flags.in.c_str());
  }
  const auto exporter = chrome_exporter(*report.names, !timed, out);
  Status status = walk_trace(report, *exporter);
  if (status.ok()) status = out.commit();
  return status.ok() ? report.status : status;
}

template <class Tables>
Status export_tables(const Flags& flags) {
  if (flags.out.empty()) return usage("--to " + flags.to + " needs -o: where to write");
  Tables tables;
  if (Status status = tables.open(flags.out); !status.ok()) return status;
  Report report;
  if (Status status = judge(flags, report); !status.ok()) return status;
  const auto exporter = table_exporter(*report.names, tables);
  const Status status = walk_trace(report, *exporter);
  return status.ok() ? report.status : status;
}

Status export_trace(const Flags& flags) {
  if (flags.redact && flags.to != "text") {
    return usage("--redact gives a trace as text: export that with --to " + flags.to + " then");
  }
  if (flags.to == "chrome") return export_chrome(flags);
  if (flags.to == "csv") return export_tables<CsvTables>(flags);
  if (flags.to == "sqlite") return export_tables<SqliteTables>(flags);
  return export_text(flags);
}

}  // namespace

void add_export_verb(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = app.add_subcommand("export", "Write a trace in another form");
  verb->add_option("IN", flags->in, "The trace to read, in either form")->required();
  verb->add_option("-o,--output", flags->out, "Where to write it (standard output)");
  verb->add_option("--to", flags->to,
                   "text: one event a line, which every verb reads again; chrome: JSON for\n"
                   "ui.perfetto.dev and chrome://tracing; csv: a folder with a file for each kind\n"
                   "of event; sqlite: a database. All but text hold the findings, too")
      ->check(CLI::IsMember({"text", "chrome", "csv", "sqlite"}))
      ->capture_default_str();
  verb->add_flag("--redact", flags->redact,
                 "Rename requests, prefix keys and digests; leave out call sites, folders and\n"
                 "free text. The rules find the same in it");
  verb->add_option("--max-findings", flags->max_findings,
                   "Write so many findings, the earliest (0: all)")
      ->check(not_negative())
      ->capture_default_str();
  verb->callback([flags, &exit_code] {
    const Status status = export_trace(*flags);
    if (!status.ok()) std::fprintf(stderr, "pagetape: %s\n", status.message().c_str());
    exit_code = status.ok() ? 0 : status.code() == Code::kDamaged ? 3 : 2;
  });
}

}  // namespace pagetape
