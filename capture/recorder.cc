// SPDX-License-Identifier: Apache-2.0
#include "capture/recorder.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <new>
#include <utility>

#include "capture/text_writer.h"

namespace pagetape {

std::atomic<std::uint32_t> recorder_forks{0};

namespace {

// How long what was recorded waits for more. Callers do not pay to wake the drain's thread, but
// for those that find no room.
constexpr std::chrono::milliseconds kPatience(2);
// A collector that does nothing for so long is not waited for.
constexpr std::chrono::seconds kStall(1);

constexpr std::size_t kSharedRingBytes = std::size_t{64} << 20;

std::size_t ring_size(std::uint64_t bytes) {
  return std::bit_floor(std::clamp<std::uint64_t>(bytes, kRingBytesMin, kRingBytesMax));
}

void* own_memory(std::size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return memory;
}

void* formatted(void* memory, std::size_t data_bytes, std::int32_t rank) {
  format_ring(memory, data_bytes, rank);
  return memory;
}

void watch_forks() {
  [[maybe_unused]] static const int once =
      pthread_atfork(nullptr, nullptr, [] { recorder_forks.fetch_add(1); });
}

bool own_thread_lives(std::uint32_t thread) {
  return access(("/proc/self/task/" + std::to_string(thread)).c_str(), F_OK) == 0;
}

// The ring that a collector asked for; null where there is none, or no room for one.
std::unique_ptr<RingFile> shared_ring(const RecorderOptions& options) {
  const char* folder = std::getenv(kRingFolderVariable);
  if (folder == nullptr || options.path.ends_with(".jsonl")) return nullptr;
  const char* size = std::getenv(kRingSizeVariable);
  const std::size_t bytes = size != nullptr ? std::strtoull(size, nullptr, 10) : kSharedRingBytes;
  Status status = system_error("no shared memory");
  std::unique_ptr<RingFile> ring;
  if (*folder != 0) ring = RingFile::create(folder, ring_size(bytes), options.rank, status);
  if (ring == nullptr) {
    std::fprintf(stderr,
                 "pagetape: %s. Process %d writes its trace itself, from a private buffer: what "
                 "is in it is lost if the process is killed, and there are no keyframes.\n",
                 status.message().c_str(), static_cast<int>(getpid()));
  } else if (const std::uint64_t got = ring->header().data_bytes; got < ring_size(bytes)) {
    std::fprintf(stderr, "pagetape: there was room for a ring of %llu MiB only\n",
                 static_cast<unsigned long long>(got >> 20));
  }
  return ring;
}

// Where a trace goes that the process writes itself.
std::string own_path(const RecorderOptions& options) {
  const char* folder = std::getenv(kTraceFolderVariable);
  if (std::getenv(kRingFolderVariable) == nullptr || folder == nullptr ||
      options.path.ends_with(".jsonl")) {
    return options.path;
  }
  return free_trace(folder, static_cast<std::uint32_t>(getpid()), options.rank);
}

}  // namespace

std::unique_ptr<Recorder> Recorder::open(const RecorderOptions& options, Status& status) {
  status = {};
  if (auto ring = shared_ring(options)) return std::make_unique<Recorder>(options, std::move(ring));
  auto names = std::make_unique<Names>();
  std::unique_ptr<Writer> writer;
  const std::string path = own_path(options);
  if (path.ends_with(".jsonl")) {
    writer = create_text_trace(path, *names, status);
  } else {
    WriterOptions format;
    format.zstd_level = options.zstd_level;
    writer = create_trace(path, *names, format, status);
  }
  if (writer == nullptr) return nullptr;
  return std::make_unique<Recorder>(options, std::move(names), std::move(writer));
}

Recorder::Recorder(const RecorderOptions& options, std::unique_ptr<Names> names,
                   std::unique_ptr<Writer> writer)
    : block_(options.block),
      timestamps_(options.timestamps),
      rank_(options.rank),
      forks_(recorder_forks.load()),
      own_(own_memory(ring_bytes(ring_size(options.buffer_bytes)))),
      own_bytes_(ring_bytes(ring_size(options.buffer_bytes))),
      ring_(formatted(own_, ring_size(options.buffer_bytes), options.rank)) {
  watch_forks();
  DrainOptions drain;
  drain.thread_lives = own_thread_lives;
  drain.tables = [this](std::uint32_t n) -> std::shared_ptr<TableMemory> {
    const std::lock_guard lock(tables_mutex_);
    return n < tables_.size() ? tables_[n] : nullptr;
  };
  drain_ = std::make_unique<Drain>(own_, std::move(names), std::move(writer), nullptr, nullptr,
                                   std::move(drain));
  thread_ = std::thread([this] { run(); });
}

Recorder::Recorder(const RecorderOptions& options, std::unique_ptr<RingFile> shared)
    : block_(options.block),
      timestamps_(options.timestamps),
      rank_(options.rank),
      forks_(recorder_forks.load()),
      shared_(std::move(shared)),
      ring_(shared_->memory()) {
  watch_forks();
}

Recorder::~Recorder() {
  (void)close();
  if (forked()) {
    // Threads and locks are the parent's: nothing of them can be ended here.
    if (thread_.joinable()) thread_.detach();
    (void)drain_.release();
    (void)waiting_for_.release();
    return;
  }
  if (own_ != nullptr) munmap(own_, own_bytes_);
}

std::int64_t Recorder::now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

ptape_name Recorder::intern(std::string_view text) {
  if (forked()) return 0;
  const std::lock_guard lock(mutex_);
  const auto [at, is_new] = ids_.try_emplace(std::string(text), next_id_);
  if (!is_new) return at->second;
  texts_.emplace(next_id_++, &at->first);
  // Said before any record that uses it: now, or by the next one that finds room.
  if (!waiting_.empty() || !put_name(at->second, text)) {
    waiting_.emplace_back(at->second, text);
    undone_.store(1, std::memory_order_release);
  }
  return at->second;
}

void Recorder::forget(ptape_name id) {
  if (forked()) return;
  const std::lock_guard lock(mutex_);
  const auto at = texts_.find(id);
  if (at == texts_.end()) return;
  ids_.erase(*at->second);
  texts_.erase(at);
  // Behind all records that use it. Without room the drain keeps four bytes for nothing.
  Record record;
  record.kind = kForgetRecord;
  record.set_ints(std::int64_t{id});
  if (ring_.header().failed.load() != 0) return;
  const RingClaim claim = ring_.claim(record_bytes(record, 0));
  if (claim.payload == nullptr) return;
  write_record(claim.payload, record);
  ring_.commit(claim);
}

std::size_t Recorder::names() const {
  const std::lock_guard lock(mutex_);
  return ids_.size();
}

std::shared_ptr<TableMemory> Recorder::add_table(TableKind kind, const TableView& view,
                                                 std::uint32_t& number, Status& status) {
  if (forked()) {
    status = usage(last_error());
    return nullptr;
  }
  const std::lock_guard lock(tables_mutex_);
  number = static_cast<std::uint32_t>(tables_.size());
  const std::string path = shared_ != nullptr ? table_path(shared_->path(), number) : "";
  std::shared_ptr<TableMemory> memory = TableMemory::create(path, kind, view, status);
  if (memory != nullptr) tables_.push_back(memory);
  return memory;
}

// Under the lock. False where there is no room.
bool Recorder::put_name(std::uint32_t id, std::string_view text) {
  Record record;
  record.kind = kNameRecord;
  record.n = static_cast<std::uint32_t>(text.size());
  record.set_ints(std::int64_t{id});
  const std::size_t bytes = record_bytes(record, text.size());
  const RingClaim claim = bytes > ring_.most() ? RingClaim{} : ring_.claim(bytes);
  if (claim.payload == nullptr) return false;
  std::memcpy(write_record(claim.payload, record), text.data(), text.size());
  ring_.commit(claim);
  return true;
}

int Recorder::drop(std::int64_t t, int error) {
  std::int64_t none = PTAPE_ABSENT;
  unsaid_from_.compare_exchange_strong(none, t);
  unsaid_to_.store(t);
  ring_.count_dropped();
  unsaid_.fetch_add(1);
  undone_.store(1, std::memory_order_release);
  return error;
}

// Says what is to stand before the next record: names, and what was dropped. False where there is
// no room, or another thread is at it.
bool Recorder::catch_up() {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock()) return false;
  if (undone_.load(std::memory_order_acquire) == 0) return true;
  std::size_t said = 0;
  while (said < waiting_.size() && put_name(waiting_[said].first, waiting_[said].second)) ++said;
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(said));
  if (!waiting_.empty()) return false;
  Record record;
  record.kind = kKindOf<ev::Dropped>;
  record.rank = rank_;
  record.n_ints = 3;
  if (unsaid_.load() != 0) {
    const RingClaim claim = ring_.claim(record_bytes(record, 0));
    if (claim.payload == nullptr) return false;
    // Claimed first: whatever was dropped before a later record's claim is in this one.
    const std::uint64_t count = unsaid_.load();
    const std::int64_t from = unsaid_from_.exchange(PTAPE_ABSENT);
    record.t = unsaid_to_.load();
    record.set_ints(static_cast<std::int64_t>(count), std::min(from, record.t), record.t);
    write_record(claim.payload, record);
    ring_.commit(claim);
    unsaid_.fetch_sub(count);
  }
  undone_.store(0, std::memory_order_release);
  // One that was dropped while this was going on is told of before the next record.
  if (unsaid_.load() != 0) undone_.store(1, std::memory_order_release);
  return true;
}

// The slow path. Without an error and without a claim, the process is a child that does not record.
int Recorder::make_room(std::size_t bytes, std::int64_t t, RingClaim& claim) {
  if (forked()) return PTAPE_OK;
  if (bytes > ring_.most()) return PTAPE_E_ARGUMENT;
  const RingHeader& header = ring_.header();
  const auto fits = [&] {
    if (header.failed.load() != 0) return true;
    if (undone_.load(std::memory_order_acquire) != 0 && !catch_up()) return false;
    claim = ring_.claim(bytes);
    return claim.payload != nullptr;
  };
  const bool tried = fits() || (block_ && wait_until(fits));
  if (header.failed.load() != 0) return drop(t, PTAPE_E_WRITE);
  if (!tried && !shared_) {
    const std::lock_guard lock(waiting_for_->mutex);
    woken_ = true;
    waiting_for_->work.notify_one();
  }
  return tried ? PTAPE_OK : drop(t, PTAPE_E_DROPPED);
}

// False where a collector stands still.
bool Recorder::wait_until(const std::function<bool()>& done) {
  if (shared_ != nullptr) {
    const auto& beats = ring_.header().beats;
    std::uint64_t last = beats.load();
    auto since = std::chrono::steady_clock::now();
    while (!done()) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
      const auto time = std::chrono::steady_clock::now();
      if (const std::uint64_t beat = beats.load(); beat != last) {
        last = beat;
        since = time;
      }
      if (time - since > kStall) return false;
    }
    return true;
  }
  std::unique_lock lock(waiting_for_->mutex);
  while (!done()) {
    woken_ = true;
    waiting_for_->work.notify_one();
    waiting_for_->progress.wait_for(lock, kPatience);
  }
  return true;
}

void Recorder::run() {
  for (bool last = false; !last;) {
    {
      std::unique_lock lock(waiting_for_->mutex);
      waiting_for_->work.wait_for(lock, kPatience, [&] { return woken_ || closing_; });
      woken_ = false;
      last = closing_;
    }
    drain_->serve();
    waiting_for_->progress.notify_all();
  }
}

Status Recorder::flush() {
  if (forked()) return {};
  RingHeader& header = ring_.header();
  const std::uint64_t mine = header.flushes_wanted.fetch_add(1) + 1;
  const bool answered = wait_until([&] { return header.flushes_done.load() >= mine; });
  if (!answered) return system_error("the collector does not answer");
  return header.failed.load() != 0 ? system_error(last_error()) : Status();
}

Status Recorder::close() {
  if (forked() || std::exchange(closed_, true)) return {};
  // What is still to be said: the ring is closed only behind it.
  if (undone_.load() != 0)
    (void)wait_until([&] { return ring_.header().failed != 0 || catch_up(); });
  ring_.header().closed.store(1, std::memory_order_release);
  if (shared_ != nullptr) return ring_.header().failed != 0 ? system_error(last_error()) : Status();
  {
    const std::lock_guard lock(waiting_for_->mutex);
    closing_ = true;
    waiting_for_->work.notify_one();
  }
  thread_.join();
  return drain_->close();
}

std::string Recorder::last_error() const {
  if (forked())
    return "this process was forked from the one that records: it needs its own recorder";
  if (drain_ != nullptr) return drain_->error();
  const RingHeader& header = ring_.header();
  if (header.failed.load() != 0) return "the collector could not write the trace: see its messages";
  return header.malformed.load() != 0 ? "malformed events: see the collector's messages" : "";
}

ptape_counts Recorder::counts() const {
  const RingHeader& header = ring_.header();
  return {header.events.load(), header.dropped.load() + header.lost.load(), header.malformed.load(),
          header.file_bytes.load()};
}

}  // namespace pagetape
