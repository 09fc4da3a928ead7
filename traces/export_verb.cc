// SPDX-License-Identifier: Apache-2.0
// pagetape export IN [-o OUT]
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "traces/source.h"
#include "traces/text.h"
#include "traces/trace_verbs.h"

namespace pagetape {
namespace {

struct ExportFlags {
  std::string in, out;
};

Status print_events(Source& source, const Names& names, std::FILE* out, const std::string& path) {
  Event event;
  while (source.next(event)) {
    std::string line = print_event(event, names);
    line += '\n';
    if (std::fwrite(line.data(), 1, line.size(), out) != line.size()) break;
  }
  if (std::fflush(out) != 0 || std::ferror(out) != 0) {
    return system_error(path + ": cannot be written: " + std::strerror(errno));
  }
  return source.status();
}

Status export_trace(const ExportFlags& flags) {
  Names names;
  Status status;
  const std::unique_ptr<Source> source = open_trace(flags.in, names, status);
  if (source == nullptr) return status;
  std::FILE* out = flags.out.empty() ? stdout : std::fopen(flags.out.c_str(), "wb");
  const std::string path = flags.out.empty() ? "standard output" : flags.out;
  if (out == nullptr) return system_error(path + ": cannot be created: " + std::strerror(errno));
  status = print_events(*source, names, out, path);
  if (out != stdout && std::fclose(out) != 0 && status.ok()) {
    status = system_error(path + ": cannot be written: " + std::strerror(errno));
  }
  for (const std::string& warning : source->warnings()) {
    std::fprintf(stderr, "pagetape: warning: %s\n", warning.c_str());
  }
  return status;
}

}  // namespace

void add_export_verb(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<ExportFlags>();
  CLI::App* verb = app.add_subcommand("export", "Print a trace as text, one event a line");
  verb->add_option("IN", flags->in, "The trace to read, in either form")->required();
  verb->add_option("-o,--output", flags->out, "Where to write it (standard output)");
  verb->callback([flags, &exit_code] {
    const Status status = export_trace(*flags);
    if (!status.ok()) std::fprintf(stderr, "pagetape: %s\n", status.message().c_str());
    exit_code = status.ok() ? 0 : status.code() == Code::kDamaged ? 3 : 2;
  });
}

}  // namespace pagetape
