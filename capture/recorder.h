// SPDX-License-Identifier: Apache-2.0
// The recorder: callers append records to a buffer under one short lock, which gives the order of
// the trace; one thread swaps the buffer for an empty one, makes events and writes the file.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "capture/pagetape_capture.h"
#include "capture/record.h"
#include "traces/names.h"
#include "traces/status.h"
#include "traces/writer.h"

namespace pagetape {

struct RecorderOptions {
  std::string path;  // A name ending in .jsonl gets the text form.
  int zstd_level = 3;
  int rank = -1;
  std::uint64_t buffer_bytes = std::uint64_t{64} << 20;
  bool block = false;
  bool timestamps = false;
};

// Every function may be called from any thread, but close() and the destructor.
class Recorder {
 public:
  // Null on failure, with `status` set.
  static std::unique_ptr<Recorder> open(const RecorderOptions& options, Status& status);
  // Takes a writer and the names of its events; `options.path` is not used.
  Recorder(const RecorderOptions& options, std::unique_ptr<Names> names,
           std::unique_ptr<Writer> writer);
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  // Appends the record and its payload, which `fill(char*)` writes under the lock.
  template <class F>
  int append(Record& record, std::size_t payload_bytes, F&& fill) {
    const std::size_t bytes = sizeof(Record) + padded(payload_bytes);
    record.bytes = static_cast<std::uint32_t>(bytes);
    if (timestamps_ && record.t == PTAPE_ABSENT) record.t = now();
    std::unique_lock lock(mutex_);
    if (used_ + bytes > room_ || unwritten_.count != 0 || write_failed_) [[unlikely]] {
      if (const int error = make_room(lock, bytes, record.t); error != PTAPE_OK) return error;
    }
    std::memcpy(front_.get() + used_, &record, sizeof(Record));
    fill(front_.get() + used_ + sizeof(Record));
    used_ += bytes;
    ++counts_.events;
    if (used_ >= wake_at_ && !woken_) [[unlikely]]
      wake();
    return PTAPE_OK;
  }
  int append(Record& record) {
    return append(record, 0, [](char*) {});
  }
  void stamp(Record& record, const ptape_at* at) const;

  ptape_name intern(std::string_view text);
  Status flush();
  Status close();
  std::string last_error() const;
  ptape_counts counts() const;

 private:
  // Events that found no room since the last that did.
  struct Unwritten {
    std::uint64_t count = 0;
    std::int64_t from_t = PTAPE_ABSENT, to_t = PTAPE_ABSENT;
  };

  static std::int64_t now();
  int make_room(std::unique_lock<std::mutex>& lock, std::size_t bytes, std::int64_t t);
  int drop(std::int64_t t, int error);
  void put_dropped();
  void wake();
  void run();
  void consume(const std::vector<std::string>& names, std::size_t bytes);
  void consume(const Record& record, const char* payload);
  void note_error(const Status& status, bool fatal);

  const bool block_, timestamps_;
  const std::int32_t rank_;
  const std::size_t room_, wake_at_;  // Bytes of one buffer; where the writer's thread is woken.

  mutable std::mutex mutex_;  // All that follows, up to `Of the writer's thread`.
  std::condition_variable work_, room_made_, flushed_;
  std::unique_ptr<char[]> front_;
  std::size_t used_ = 0;
  std::vector<std::string> new_names_;  // Not yet known to the writer's thread.
  std::unordered_map<std::string, ptape_name> ids_;
  Unwritten unwritten_;
  ptape_counts counts_{};
  std::string first_error_;
  std::uint64_t flushes_wanted_ = 0, flushes_done_ = 0;
  bool write_failed_ = false, woken_ = false, closing_ = false;

  // Of the writer's thread (of close(), once that has ended).
  std::unique_ptr<char[]> back_;
  std::unique_ptr<Names> names_;
  std::unique_ptr<Writer> writer_;
  RecordDecoder decoder_;
  Event event_;
  bool failed_ = false;  // write_failed_, without the lock.
  std::thread thread_;
};

}  // namespace pagetape
