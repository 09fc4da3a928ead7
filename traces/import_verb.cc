// SPDX-License-Identifier: Apache-2.0
// pagetape import IN.jsonl -o OUT.ptape
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "traces/source.h"
#include "traces/trace_verbs.h"
#include "traces/writer.h"

namespace pagetape {
namespace {

struct ImportFlags {
  std::string in, out;
  WriterOptions writer;
  bool no_compression = false;
};

Status copy_events(Source& source, Writer& writer) {
  Event event;
  while (source.next(event)) {
    if (Status status = writer.add(event); !status.ok()) return status;
  }
  if (!source.status().ok()) return source.status();
  return writer.close();
}

// Under another name beside the file until it is whole: an error leaves nothing, and what stood
// there before stays.
Status import_trace(const ImportFlags& flags) {
  Names names;
  Status status;
  const std::unique_ptr<Source> source = open_trace(flags.in, names, status);
  if (source == nullptr) return status;
  const std::string partial = flags.out + ".partial";
  const std::unique_ptr<Writer> writer = create_trace(partial, names, flags.writer, status);
  if (writer == nullptr) return status;
  status = copy_events(*source, *writer);
  for (const std::string& warning : source->warnings()) {
    std::fprintf(stderr, "pagetape: warning: %s\n", warning.c_str());
  }
  if (status.ok() && std::rename(partial.c_str(), flags.out.c_str()) != 0) {
    status = system_error(flags.out + ": cannot be written: " + std::strerror(errno));
  }
  if (!status.ok()) std::remove(partial.c_str());
  return status;
}

}  // namespace

void add_import_verb(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<ImportFlags>();
  CLI::App* verb = app.add_subcommand("import", "Write a text trace as a binary one");
  verb->add_option("IN", flags->in, "The trace to read, in either form")->required();
  verb->add_option("-o,--output", flags->out, "The binary trace to write")->required();
  CLI::Option* level =
      verb->add_option("--level", flags->writer.zstd_level, "Level of compression, 1 to 19 (3)")
          ->check(CLI::Range(1, 19));
  verb->add_flag("--no-compression", flags->no_compression, "Do not compress")->excludes(level);
  verb->callback([flags, &exit_code] {
    if (flags->no_compression) flags->writer.zstd_level = 0;
    const Status status = import_trace(*flags);
    if (!status.ok()) std::fprintf(stderr, "pagetape: %s\n", status.message().c_str());
    exit_code = status.ok() ? 0 : status.code() == Code::kDamaged ? 3 : 2;
  });
}

}  // namespace pagetape
