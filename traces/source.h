// SPDX-License-Identifier: Apache-2.0
// A stream of events from either form of a trace, told apart by content.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "traces/brief.h"
#include "traces/event.h"
#include "traces/names.h"
#include "traces/status.h"

namespace pagetape {

struct KeyframeInfo;

class Source {
 public:
  virtual ~Source() = default;

  // The next event, or false at the end or where reading failed: then status() is not ok, and
  // every event before it was good. `event` is overwritten; its storage is reused.
  virtual bool next(Event& event) = 0;
  // The next events where they are brief ones, which pass() then passes over; next() gives them,
  // too. None says nothing: what is next is for next() to say.
  virtual Briefs briefs() { return {}; }
  virtual void pass(const Briefs& /*briefs*/) {}

  // Index of the event that next() will give (0 first): the number findings and errors use.
  virtual std::uint64_t position() const = 0;

  // Where the event that next() gave last stands, for messages: "x.jsonl:12", or just the file.
  virtual std::string place() const = 0;

  // After damage: goes on at the next segment that is good; position() then says how many events
  // are missing. False where there is none, and for a text: status() stays.
  virtual bool resume() { return false; }

  // Goes to an event (events(): the end), forwards or back. After damage, reading goes on there. On
  // failure nothing can be read until the next seek, or until resume().
  virtual Status seek(std::uint64_t event) = 0;

  // What the trace holds, up to a line in error. Of a text, and of a binary file without its index,
  // this takes the time of reading it once; a text that is a pipe is spent by it.
  virtual std::uint64_t events() = 0;

  // States that the file holds, in the order of their events; and the bytes of one of them, as they
  // were given to the writer.
  virtual const std::vector<KeyframeInfo>& keyframes() = 0;
  virtual Status keyframe_state(const KeyframeInfo& keyframe, std::string& state) = 0;

  // kDamaged for a damaged binary file, kUsage for a text line in error (with line and field).
  virtual const Status& status() const = 0;

  // Said once each: unknown fields, unknown events of a newer format (which were skipped).
  virtual const std::vector<std::string>& warnings() const = 0;

  // True where unknown events of a newer format were skipped: the verdict is then incomplete.
  virtual bool skipped_unknown() const = 0;
};

// Opens a trace of either form. On failure returns null and sets `status` (the file's name is in
// the message). `names` must outlive the source.
std::unique_ptr<Source> open_trace(const std::string& path, Names& names, Status& status);

}  // namespace pagetape
