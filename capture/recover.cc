// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <utility>

#include "capture/collector.h"
#include "capture/drain.h"
#include "capture/flight_parts.h"
#include "capture/journal.h"
#include "capture/ring_file.h"
#include "traces/reader.h"

namespace pagetape {
namespace {

namespace fs = std::filesystem;

// The events of a trace, or of a flight recorder's parts of one, written again; where they were cut
// or are damaged, those before. `behind`: events of the run up to their end.
Status copy_events(const std::string& path, const std::vector<FlightPart>& parts, Names& names,
                   Writer& writer, Companion* companion, std::uint64_t& behind) {
  if (!parts.empty()) return join_parts(parts, names, writer, companion, behind);
  Status status;
  const auto reader = Reader::open(path, names, status);
  if (reader == nullptr) return status;
  Event event;
  while (status.ok() && reader->next(event)) status = write_along(event, writer, companion);
  behind = writer.events();
  return status;
}

void remove_ring(const std::string& trace, const std::string& ring) {
  ::unlink(ring.c_str());
  remove_tables(ring);
  ::unlink((trace + kJournalSuffix).c_str());
  ::rmdir(fs::path(ring).parent_path().c_str());
}

// What the ring holds behind the events that were written.
Status take_ring(const RingFile& ring, const JournalContent& journal, std::uint64_t skip,
                 std::unique_ptr<Names> names, std::unique_ptr<Writer> writer, Companion* companion,
                 std::uint64_t& events) {
  DrainOptions options;
  options.tables = tables_of(ring.path(), MAP_PRIVATE);
  Drain drain(ring.memory(), std::move(names), std::move(writer), nullptr, companion,
              std::move(options));
  drain.resume(journal.names, skip);
  const Status status = drain.close();
  events = drain.events();
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
  const std::vector<FlightPart> parts = parts_of(trace);
  if (parts.empty() && ::access(trace.c_str(), F_OK) != 0) {
    said = trace + ": nothing was to be kept when its collector ended";
    remove_ring(trace, ring->path());
    return {};
  }
  auto names = std::make_unique<Names>();
  const std::string unfinished = trace + ".unfinished";
  auto writer = create_trace(unfinished, *names, {options.zstd_level}, status);
  if (writer == nullptr) return status;
  const auto companion = options.companion ? options.companion(*names) : nullptr;
  std::uint64_t behind = 0;
  status = copy_events(trace, parts, *names, *writer, companion.get(), behind);
  if (!status.ok()) return status;
  const std::uint64_t before = writer->events();
  const std::uint64_t marked = RingReader(ring->memory()).mark().events;
  if (marked > behind) {
    return damaged(trace + ": holds " + std::to_string(behind) + " events of the " +
                   std::to_string(marked) + " that were written");
  }
  std::uint64_t events = 0;
  status = take_ring(*ring, journal, behind - marked, std::move(names), std::move(writer),
                     companion.get(), events);
  if (!status.ok()) return status;
  if (std::rename(unfinished.c_str(), trace.c_str()) != 0) {
    return system_error(trace + ": cannot be renamed into place; it is " + unfinished);
  }
  said = trace + ": " + std::to_string(events) + " events, " + std::to_string(events - before) +
         " of them from the ring";
  remove_parts(trace);
  remove_ring(trace, ring->path());
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
