// SPDX-License-Identifier: Apache-2.0
// From a ring to a trace: takes complete records, makes events of them and hands them to a writer.
// The same for a ring of this process and for one that an engine shares with the collector.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "capture/companion.h"
#include "capture/flight.h"
#include "capture/journal.h"
#include "capture/record.h"
#include "capture/ring.h"
#include "capture/table_events.h"
#include "traces/event_view.h"
#include "traces/names.h"
#include "traces/status.h"
#include "traces/writer.h"

namespace pagetape {

struct DrainOptions {
  // Gives memory back only once the file has what stood there, so that nothing is lost with this
  // process; then `journal` is needed. Otherwise at once.
  bool durable = false;
  // Whether the thread of a claimed record is still there.
  std::function<bool(std::uint32_t)> thread_lives;
  // What the comparer of the n-th table writes into; null where there is none.
  TableSource tables;
  // The writer, where that keeps the recent past alone; it needs a companion.
  FlightRecorder* flight = nullptr;
};

// One thread at a time, but for error().
class Drain {
 public:
  // `memory` holds a ring that was checked. `companion` and `journal` may be null.
  Drain(void* memory, std::unique_ptr<Names> names, std::unique_ptr<Writer> writer,
        std::unique_ptr<Journal> journal, Companion* companion, DrainOptions options);

  // For what a ring was left with: names that are no longer in it, and how many events of those to
  // come the trace already has.
  void resume(const std::vector<std::string>& names, std::uint64_t skip);

  // Takes what there is, flushes where that was asked for. False where there was nothing to do.
  bool serve();
  // Hands all that was taken to the operating system.
  void flush();
  // The last call: takes what is left, passing what was never completed; says what is missing, and
  // `end` where the ring was closed.
  Status close();

  const RingHeader& header() const { return reader_.header(); }
  bool failed() const { return failed_; }
  std::uint64_t events() const { return writer_->events(); }
  std::uint64_t torn() const { return torn_; }  // Claimed and never completed.
  // The first thing that went wrong, from any thread.
  std::string error() const;

 private:
  struct Launch {
    std::uint64_t position, event;
  };

  bool take(bool to_the_end);
  bool given_up(const RingReader::Item& item, bool to_the_end);
  static const char* copy(const RingReader::Item& item, std::vector<std::uint64_t>& to);
  void find_lanes(const RingReader::Item& by, std::uint64_t position);
  bool consume(const RingReader::Item& item, bool to_the_end);
  void consume_event(Record& record, RecordBytes bytes, const RingReader::Item& item);
  bool consume_compare(const Record& record, const RingReader::Item& item, bool to_the_end);
  void note_launch(std::size_t kind, const RingReader::Item& item);
  void add_name(const Record& record, RecordBytes payload);
  bool name_launch(Record& record);
  void write();
  void write(const EventView& view);
  void settle(const RingReader::Item& item, std::uint64_t before);
  void release_written();
  void release(const RingMark& mark);
  void note_error(const Status& status, bool fatal);

  RingReader reader_;
  std::unique_ptr<Names> names_;
  std::unique_ptr<Writer> writer_;
  std::unique_ptr<Journal> journal_;
  Companion* companion_;
  const DrainOptions options_;
  RecordDecoder decoder_;
  std::vector<std::uint64_t> copy_, lanes_copy_;
  Record record_;
  Event event_;
  EventView view_;
  std::vector<Launch> launches_;  // The latest, by position.
  TableEvents tables_;
  // Where segments ended that the file has not yet: a mark for each.
  std::deque<RingMark> ended_;
  std::uint64_t names_known_ = 0, skip_ = 0, ended_events_ = 0, said_ = 0, torn_ = 0;
  std::uint64_t busy_at_ = ~std::uint64_t{0};  // Position of a claimed record …
  std::int64_t busy_since_ = 0;                // … and when it was first seen.
  bool failed_ = false, damaged_ = false;
  mutable std::mutex error_mutex_;
  std::string first_error_;
};

}  // namespace pagetape
