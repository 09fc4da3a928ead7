// SPDX-License-Identifier: Apache-2.0
// The recorder: callers write records into a ring. Under `pagetape record` the ring is shared
// memory, which the collector drains; otherwise it is memory of the process, drained by a thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "capture/drain.h"
#include "capture/pagetape_capture.h"
#include "capture/record.h"
#include "capture/ring.h"
#include "capture/ring_file.h"
#include "capture/table_memory.h"
#include "traces/names.h"
#include "traces/status.h"
#include "traces/writer.h"

namespace pagetape {

struct RecorderOptions {
  std::string path;  // A name ending in .jsonl gets the text form. Not used under a collector.
  int zstd_level = 3;
  int rank = -1;
  std::uint64_t buffer_bytes = std::uint64_t{64} << 20;  // Taken as a power of two.
  bool block = false;
  bool timestamps = false;
};

// How often this process was forked from one that records: a recorder is its maker's alone.
extern std::atomic<std::uint32_t> recorder_forks;

// Every function may be called from any thread, but close() and the destructor. In a forked child
// a recorder of its parent's does nothing, and says so in last_error().
class Recorder {
 public:
  // Null on failure, with `status` set.
  static std::unique_ptr<Recorder> open(const RecorderOptions& options, Status& status);
  // Takes a writer and the names of its events; `options.path` is not used.
  Recorder(const RecorderOptions& options, std::unique_ptr<Names> names,
           std::unique_ptr<Writer> writer);
  // Of a ring that a collector drains.
  Recorder(const RecorderOptions& options, std::unique_ptr<RingFile> shared);
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  // Writes the record and its payload, which `fill(char*)` writes. `position`, where it is not
  // null, gets the record's place in the ring. Inlined, as is what it calls: which names and
  // integers a kind of record has is known where it is made, and the record is never in memory.
  template <class F>
  [[gnu::always_inline]] int append(Record& record, std::size_t payload_bytes, F&& fill,
                                    std::uint64_t* position = nullptr) {
    const std::size_t bytes = record_bytes(record, payload_bytes);
    RingClaim claim;
    if (!hindered(bytes)) [[likely]]
      claim = ring_.claim(bytes);
    if (claim.payload == nullptr) [[unlikely]] {
      if (const int error = make_room(bytes, record.t, claim); error != PTAPE_OK) return error;
      if (claim.payload == nullptr) return PTAPE_OK;
    }
    fill(write_record(claim.payload, record));
    ring_.commit(claim);
    if (position != nullptr) *position = claim.position;
    return PTAPE_OK;
  }
  int append(Record& record) {
    return append(record, 0, [](char*) {});
  }
  // Whether a record may refer to another one at all.
  bool keeps_earlier() const { return ring_kept(ring_.data_bytes()) > 0; }
  // The same of a record that refers to the one at `earlier`. False, and nothing is recorded, where
  // that is too far back by now, or more is to be done than to claim.
  template <class F>
  [[gnu::always_inline]] bool append_behind(std::uint64_t earlier, Record& record,
                                            std::size_t payload_bytes, F&& fill,
                                            std::uint64_t& position) {
    const std::size_t bytes = record_bytes(record, payload_bytes);
    if (hindered(bytes)) return false;
    const RingClaim claim = ring_.claim(bytes, earlier + ring_kept(ring_.data_bytes()));
    if (claim.payload == nullptr) return false;
    fill(write_record(claim.payload, record));
    ring_.commit(claim);
    position = claim.position;
    return true;
  }
  void stamp(Record& record, const ptape_at* at) const {
    record.rank = rank_;
    if (at != nullptr) {
      record.t = at->t;
      record.stream = at->stream;
      record.src = at->src;
      if (at->rank >= 0) record.rank = at->rank;
    }
    if (timestamps_ && record.t == PTAPE_ABSENT) record.t = now();
  }

  ptape_name intern(std::string_view text);
  // Nobody uses the id any more: its text gets another one where it comes again.
  void forget(ptape_name id);
  std::size_t names() const;  // That are kept here.
  // Memory for the changes of one more table: its number in compare records, and who drains the
  // ring finds it. Null on failure.
  std::shared_ptr<TableMemory> add_table(TableKind kind, const TableView& view,
                                         std::uint32_t& number, Status& status);
  // How often what was told was lost so far: records left out for want of room, and gaps.
  std::uint64_t losses() const {
    return ring_.header().dropped.load(std::memory_order_relaxed) +
           gaps_.load(std::memory_order_relaxed);
  }
  void note_gap() { gaps_.fetch_add(1, std::memory_order_relaxed); }
  Status flush();
  Status close();
  std::string last_error() const;
  ptape_counts counts() const;

 private:
  static std::int64_t now();
  // Whether more is to be done than to claim.
  bool hindered(std::size_t bytes) const {
    return (undone_.load(std::memory_order_acquire) |
            ring_.header().failed.load(std::memory_order_relaxed)) != 0 ||
           bytes > ring_.most() || forked();
  }
  bool forked() const { return forks_ != recorder_forks.load(std::memory_order_relaxed); }
  int make_room(std::size_t bytes, std::int64_t t, RingClaim& claim);
  bool catch_up();
  bool put_name(std::uint32_t id, std::string_view text);
  int drop(std::int64_t t, int error);
  bool wait_until(const std::function<bool()>& done);
  void run();

  const bool block_, timestamps_;
  const std::int32_t rank_;
  const std::uint32_t forks_;
  std::unique_ptr<RingFile> shared_;
  void* own_ = nullptr;  // Memory of a ring of the process.
  std::size_t own_bytes_ = 0;
  RingWriter ring_;

  // What stands in no record yet: names, and how many events found no room.
  std::atomic<std::uint64_t> gaps_{0};
  std::atomic<std::uint32_t> undone_{0};
  mutable std::mutex mutex_;  // Of the names, and of saying what was dropped.
  std::unordered_map<std::string, ptape_name> ids_;
  std::unordered_map<ptape_name, const std::string*> texts_;  // The keys of ids_.
  ptape_name next_id_ = 1;                                    // Given out once.
  std::vector<std::pair<std::uint32_t, std::string>> waiting_;
  std::atomic<std::uint64_t> unsaid_{0};
  std::atomic<std::int64_t> unsaid_from_{PTAPE_ABSENT}, unsaid_to_{PTAPE_ABSENT};

  std::mutex tables_mutex_;
  std::vector<std::shared_ptr<TableMemory>> tables_;

  // Where there is no collector.
  std::unique_ptr<Drain> drain_;
  // Apart, as a forked child leaves it: what a thread of its parent's waits on cannot be ended.
  struct Waiting {
    std::mutex mutex;
    std::condition_variable work, progress;
  };
  std::unique_ptr<Waiting> waiting_for_ = std::make_unique<Waiting>();
  bool woken_ = false, closing_ = false;
  bool closed_ = false;
  std::thread thread_;
};

}  // namespace pagetape
