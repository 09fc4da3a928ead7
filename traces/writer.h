// SPDX-License-Identifier: Apache-2.0
// Writes a binary trace: events are gathered into segments, compressed and appended.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "traces/event.h"
#include "traces/names.h"
#include "traces/status.h"

namespace pagetape {

struct EventView;

struct WriterOptions {
  int zstd_level = 3;                       // 1 to 19; 0: not compressed.
  std::uint32_t segment_events = 1u << 16;  // A segment ends at so many events …
  std::uint32_t segment_bytes = 4u << 20;   // … or at about so many bytes before compression.
  // Segments are encoded, compressed and written by a thread of the writer's while the next one is
  // gathered: the same bytes, for the memory of one segment more. What fails is told of by a later
  // call. Where there is one core, nothing is gained and there is no such thread.
  bool behind = false;
};

// Not thread-safe. A file is whole up to its last complete segment at every moment; close() adds
// the index. Without close() (a kill, a full disk) the index is rebuilt by the reader.
class Writer {
 public:
  virtual ~Writer() = default;

  // The event takes the next index. Fails where the disk does (the message names the file and says
  // what to do) or where one event is larger than a segment may be; nothing written is lost.
  virtual Status add(const Event& event) = 0;
  // The same of an event of which check_event with the writer's names has said that it is good.
  virtual Status add_checked(const Event& event) { return add(event); }
  // The same of a view of which is_good has said so.
  virtual Status add_view(const EventView& view);

  // The state before the next event, as replay/state makes it (opaque here), ends the segment.
  virtual Status add_keyframe(std::string_view state, std::uint64_t state_digest) = 0;

  // Ends the segment and hands everything to the operating system.
  virtual Status flush() = 0;

  // Writes the index and closes the file. Must be the last call.
  virtual Status close() = 0;

  virtual std::uint64_t events() const = 0;
  // Of these, what the operating system has: the others are lost with the process.
  virtual std::uint64_t written() const { return events(); }
  // Those that will be written without another call: more than written() where that takes a while.
  virtual std::uint64_t ended() const { return written(); }
  virtual std::uint64_t bytes() const = 0;
};

// Creates (or overwrites) the file. `names` is the table of the events given, and outlives the
// writer. On failure returns null and sets `status`.
std::unique_ptr<Writer> create_trace(const std::string& path, const Names& names,
                                     const WriterOptions& options, Status& status);

}  // namespace pagetape
