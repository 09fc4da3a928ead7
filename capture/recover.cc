// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "capture/collector.h"
#include "capture/journal.h"
#include "capture/ring_file.h"
#include "traces/reader.h"

namespace pagetape {
namespace {

namespace fs = std::filesystem;

// The events of a trace, written again; where it was cut or is damaged, those before.
Status copy_events(const std::string& path, Names& names, Writer& writer, Companion* companion) {
  Status status;
  const auto reader = Reader::open(path, names, status);
  if (reader == nullptr) return status;
  Event event;
  while (status.ok() && reader->next(event)) {
    if (companion != nullptr) {
      if (const auto keyframe = companion->see(event)) {
        status = writer.add_keyframe(keyframe->state, keyframe->digest);
      }
    }
    if (status.ok()) status = writer.add(event);
  }
  return status;
}

// One trace and the ring its journal names.
Status recover_one(const std::string& trace, const RecoverOptions& options, std::string& said) {
  JournalContent journal;
  Status status = read_journal(trace + kJournalSuffix, journal);
  if (!status.ok()) return status;
  const auto ring = RingFile::open_copy(journal.ring, status);
  if (ring == nullptr) return status;
  if (ring->written()) {
    return usage(journal.ring + ": process " + std::to_string(ring->header().pid) +
                 " still writes to it; end it first");
  }
  auto names = std::make_unique<Names>();
  const std::string unfinished = trace + ".unfinished";
  auto writer = create_trace(unfinished, *names, {options.zstd_level}, status);
  if (writer == nullptr) return status;
  const auto companion = options.companion ? options.companion(*names) : nullptr;
  status = copy_events(trace, *names, *writer, companion.get());
  if (!status.ok()) return status;
  const std::uint64_t before = writer->events();
  const std::uint64_t marked = RingReader(ring->memory()).mark().events;
  if (marked > before) {
    return damaged(trace + ": holds " + std::to_string(before) + " events of the " +
                   std::to_string(marked) + " that were written");
  }
  DrainOptions drain_options;
  drain_options.tables = tables_of(ring->path(), MAP_PRIVATE);
  Drain drain(ring->memory(), std::move(names), std::move(writer), nullptr, companion.get(),
              std::move(drain_options));
  drain.resume(journal.names, before - marked);
  status = drain.close();
  if (!status.ok()) return status;
  if (std::rename(unfinished.c_str(), trace.c_str()) != 0) {
    return system_error(trace + ": cannot be renamed into place; it is " + unfinished);
  }
  said = trace + ": " + std::to_string(drain.events()) + " events, " +
         std::to_string(drain.events() - before) + " of them from the ring";
  ::unlink(ring->path().c_str());
  remove_tables(ring->path());
  ::unlink((trace + kJournalSuffix).c_str());
  ::rmdir(fs::path(ring->path()).parent_path().c_str());
  return {};
}

}  // namespace

Status recover(const RecoverOptions& options, std::vector<std::string>& said) {
  std::vector<std::string> traces;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(options.out, error)) {
    std::string path = entry.path().string();
    if (!path.ends_with(kJournalSuffix)) continue;
    path.resize(path.size() - std::string_view(kJournalSuffix).size());
    traces.push_back(std::move(path));
  }
  if (error) return system_error(options.out + ": " + error.message());
  if (traces.empty()) return usage(options.out + ": no recording was left unfinished there");
  std::ranges::sort(traces);
  Status first;
  for (const std::string& trace : traces) {
    std::string line;
    const Status status = recover_one(trace, options, line);
    said.push_back(status.ok() ? line : status.message());
    if (first.ok() && !status.ok()) first = status;
  }
  return first;
}

}  // namespace pagetape
