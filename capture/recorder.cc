// SPDX-License-Identifier: Apache-2.0
#include "capture/recorder.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <utility>

#include "capture/text_writer.h"

namespace pagetape {
namespace {

// How long what was recorded waits for more. Callers do not pay to wake the writer's thread
// before a quarter of the buffer is full.
constexpr std::chrono::milliseconds kPatience(5);

}  // namespace

std::unique_ptr<Recorder> Recorder::open(const RecorderOptions& options, Status& status) {
  auto names = std::make_unique<Names>();
  std::unique_ptr<Writer> writer;
  if (options.path.ends_with(".jsonl")) {
    writer = create_text_trace(options.path, *names, status);
  } else {
    WriterOptions format;
    format.zstd_level = options.zstd_level;
    writer = create_trace(options.path, *names, format, status);
  }
  if (writer == nullptr) return nullptr;
  return std::make_unique<Recorder>(options, std::move(names), std::move(writer));
}

Recorder::Recorder(const RecorderOptions& options, std::unique_ptr<Names> names,
                   std::unique_ptr<Writer> writer)
    : block_(options.block),
      timestamps_(options.timestamps),
      rank_(options.rank),
      room_(options.buffer_bytes / 2 / 8 * 8),
      wake_at_(room_ / 4),
      front_(new char[room_]),  // Pages that are never used are never there.
      names_(std::move(names)),
      writer_(std::move(writer)),
      decoder_(*names_) {
  back_.reset(new char[room_]);
  thread_ = std::thread([this] { run(); });
}

Recorder::~Recorder() { (void)close(); }

std::int64_t Recorder::now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

void Recorder::stamp(Record& record, const ptape_at* at) const {
  record.rank = rank_;
  if (at == nullptr) return;
  record.t = at->t;
  record.stream = at->stream;
  record.src = at->src;
  if (at->rank >= 0) record.rank = at->rank;
}

ptape_name Recorder::intern(std::string_view text) {
  const std::lock_guard lock(mutex_);
  const auto [at, is_new] =
      ids_.try_emplace(std::string(text), static_cast<ptape_name>(ids_.size() + 1));
  if (is_new) new_names_.emplace_back(text);
  return at->second;
}

int Recorder::drop(std::int64_t t, int error) {
  if (unwritten_.count++ == 0) unwritten_.from_t = t;
  unwritten_.to_t = t;
  ++counts_.dropped;
  return error;
}

// Under the lock, and the slow path: the buffer is full, events are missing, or the disk failed.
int Recorder::make_room(std::unique_lock<std::mutex>& lock, std::size_t bytes, std::int64_t t) {
  if (write_failed_) return drop(t, PTAPE_E_WRITE);
  const std::size_t most = room_ - sizeof(Record);  // A `dropped` may stand before it.
  if (bytes > most) return PTAPE_E_ARGUMENT;
  if (block_) {
    room_made_.wait(lock, [&] {
      if (used_ + bytes <= room_) return true;
      if (!woken_) wake();
      return write_failed_;
    });
    return write_failed_ ? drop(t, PTAPE_E_WRITE) : PTAPE_OK;
  }
  if (used_ + bytes > most) {
    if (!woken_) wake();
    return drop(t, PTAPE_E_DROPPED);
  }
  if (unwritten_.count != 0) put_dropped();
  return PTAPE_OK;
}

void Recorder::put_dropped() {
  Record record;
  record.bytes = sizeof(Record);
  record.kind = kKindOf<ev::Dropped>;
  record.rank = rank_;
  record.t = unwritten_.to_t;
  record.ints[0] = static_cast<std::int64_t>(unwritten_.count);
  record.ints[1] = unwritten_.from_t;
  record.ints[2] = unwritten_.to_t;
  std::memcpy(front_.get() + used_, &record, sizeof(Record));
  used_ += sizeof(Record);
  unwritten_ = {};
}

void Recorder::wake() {
  woken_ = true;
  work_.notify_one();
}

void Recorder::run() {
  std::unique_lock lock(mutex_);
  for (bool last = false; !last;) {
    work_.wait_for(lock, kPatience,
                   [&] { return woken_ || closing_ || flushes_wanted_ > flushes_done_; });
    if (used_ == 0 && new_names_.empty() && !closing_ && flushes_wanted_ == flushes_done_) continue;
    if (closing_ && unwritten_.count != 0 && used_ + sizeof(Record) <= room_) put_dropped();
    std::swap(front_, back_);
    const std::size_t bytes = std::exchange(used_, 0);
    const std::vector<std::string> names = std::exchange(new_names_, {});
    const std::uint64_t flushes = flushes_wanted_;
    const bool flush = flushes > flushes_done_;
    woken_ = false;
    last = closing_ && (unwritten_.count == 0 || write_failed_);
    room_made_.notify_all();
    lock.unlock();
    consume(names, bytes);
    if (flush && !failed_) note_error(writer_->flush(), true);
    const std::uint64_t written = writer_->bytes();
    lock.lock();
    counts_.bytes = written;
    flushes_done_ = flushes;
    if (flush) flushed_.notify_all();
  }
}

void Recorder::consume(const std::vector<std::string>& names, std::size_t bytes) {
  for (const std::string& name : names) decoder_.add_name(name);
  for (std::size_t at = 0; at < bytes;) {
    Record record;
    std::memcpy(&record, back_.get() + at, sizeof(Record));
    consume(record, back_.get() + at + sizeof(Record));
    at += record.bytes;
  }
}

void Recorder::consume(const Record& record, const char* payload) {
  if (failed_) {
    const std::lock_guard lock(mutex_);
    ++counts_.dropped;
    return;
  }
  if (Status status = decoder_.decode(record, payload, event_); !status.ok()) {
    note_error(status, false);
    return;
  }
  note_error(writer_->add(event_), true);
}

void Recorder::note_error(const Status& status, bool fatal) {
  if (status.ok()) return;
  const std::lock_guard lock(mutex_);
  if (first_error_.empty()) first_error_ = status.message();
  if (!fatal) {
    ++counts_.malformed;
    return;
  }
  failed_ = write_failed_ = true;
  room_made_.notify_all();
}

Status Recorder::flush() {
  std::unique_lock lock(mutex_);
  const std::uint64_t mine = ++flushes_wanted_;
  work_.notify_one();
  flushed_.wait(lock, [&] { return flushes_done_ >= mine; });
  return write_failed_ ? system_error(first_error_) : Status();
}

Status Recorder::close() {
  if (!thread_.joinable()) return {};
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    work_.notify_one();
  }
  thread_.join();
  if (!failed_) {
    Record end;
    end.kind = kKindOf<ev::End>;
    end.rank = rank_;
    consume(end, nullptr);
  }
  if (!failed_) note_error(writer_->close(), true);
  counts_.bytes = writer_->bytes();
  return failed_ ? system_error(first_error_) : Status();
}

std::string Recorder::last_error() const {
  const std::lock_guard lock(mutex_);
  return first_error_;
}

ptape_counts Recorder::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

}  // namespace pagetape
