// SPDX-License-Identifier: Apache-2.0
#include "capture/drain.h"

#include <algorithm>
#include <cstring>
#include <ctime>

#include "traces/text.h"

namespace pagetape {
namespace {

constexpr std::size_t kLaunchesKept = 1u << 16;
// How long a claimed record may wait for its thread before that is asked after.
constexpr std::int64_t kBusyNs = 50'000'000;

std::int64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// A count of which this thread alone is the writer.
void bump(std::atomic<std::uint64_t>& count, std::uint64_t by = 1) {
  count.store(count.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

bool is_launch(std::size_t kind) {
  switch (kind) {
    case kKindOf<ev::Attention>:
    case kKindOf<ev::Store>:
    case kKindOf<ev::Copy>:
    case kKindOf<ev::GraphLaunch>:
    case kKindOf<ev::GraphStep>:
      return true;
    default:
      return false;
  }
}

}  // namespace

Drain::Drain(void* memory, std::unique_ptr<Names> names, std::unique_ptr<Writer> writer,
             std::unique_ptr<Journal> journal, Companion* companion, DrainOptions options)
    : reader_(memory),
      names_(std::move(names)),
      writer_(std::move(writer)),
      journal_(std::move(journal)),
      companion_(companion),
      options_(std::move(options)),
      decoder_(*names_),
      tables_(options_.tables),
      said_(reader_.mark().said) {}

void Drain::resume(const std::vector<std::string>& names, std::uint64_t skip) {
  for (const std::string& name : names) decoder_.add_name(name);
  names_known_ = names.size();
  skip_ = skip;
  ended_events_ = writer_->ended();
}

bool Drain::serve() {
  RingHeader& header = reader_.header();
  const std::uint64_t flushes = header.flushes_wanted.load(std::memory_order_acquire);
  const bool took = take(false);
  // What waits for a device is not flushed before it is there.
  const bool wanted =
      header.flushes_done.load(std::memory_order_relaxed) != flushes && !tables_.waiting();
  // A quarter of the ring, or of a table's memory, that waits for its segment to fill is enough.
  const bool crowded = reader_.held() > reader_.data_bytes() / 4 || tables_.crowded();
  if (wanted || (options_.durable && crowded)) flush();
  header.file_bytes.store(writer_->bytes(), std::memory_order_relaxed);
  header.beats.fetch_add(1, std::memory_order_release);
  if (wanted) header.flushes_done.store(flushes, std::memory_order_release);
  return took || wanted;
}

bool Drain::take(bool to_the_end) {
  bool took = false;
  RingReader::Item item;
  while (!damaged_ && !(failed_ && options_.durable)) {
    const RingReader::Next next = reader_.next(item);
    if (next == RingReader::Next::kEmpty) break;
    if (next == RingReader::Next::kBusy && !given_up(item, to_the_end)) break;
    if (next == RingReader::Next::kDamaged) {
      damaged_ = true;
      note_error(damaged("the ring is damaged at its byte " + std::to_string(reader_.position()) +
                         ": what stands behind it is lost"),
                 true);
      break;
    }
    const std::uint64_t before = options_.durable ? writer_->events() : 0;
    if (next == RingReader::Next::kRecord && !consume(item, to_the_end)) break;
    took = true;
    reader_.pass(item);
    settle(item, before);
  }
  if (!options_.durable) {
    release({reader_.position(), writer_->written(), said_});
  } else {
    release_written();
  }
  return took;
}

bool Drain::given_up(const RingReader::Item& item, bool to_the_end) {
  if (!to_the_end) {
    if (busy_at_ != item.position) {
      busy_at_ = item.position;
      busy_since_ = now();
    }
    if (now() - busy_since_ < kBusyNs) return false;
    if (!options_.thread_lives || options_.thread_lives(item.thread)) return false;
  }
  ++torn_;
  return true;
}

const char* Drain::copy(const RingReader::Item& item, std::vector<std::uint64_t>& to) {
  const std::size_t words = item.bytes / sizeof(std::uint64_t);
  if (to.size() < words) to.resize(words);
  if (words > 16) {
    std::memcpy(to.data(), item.payload, item.bytes);
  } else {
    const auto* from = reinterpret_cast<const std::uint64_t*>(item.payload);
    std::uint64_t* words_to = to.data();
    for (std::size_t i = 0; i < words; ++i) {
      words_to[i] = __atomic_load_n(from + i, __ATOMIC_RELAXED);
    }
  }
  return reinterpret_cast<const char*>(to.data());
}

// False where the record waits for a device.
bool Drain::consume(const RingReader::Item& item, bool to_the_end) {
  // What is looked at is a copy, as others may write there still.
  RecordBytes bytes(copy(item, copy_), item.bytes);
  Record& record = record_;
  if (!read_record(bytes, record)) {
    note_error(usage("a record that is none"), false);
    return true;
  }
  if (record.kind == kNameRecord) {
    add_name(record, bytes);
    return true;
  }
  if (record.kind == kForgetRecord) {
    (void)decoder_.forget_name(static_cast<std::uint32_t>(record.ints[0]));
    return true;
  }
  if (record.kind == kCompareRecord) return consume_compare(record, item, to_the_end);
  consume_event(record, bytes, item);
  return true;
}

void Drain::consume_event(Record& record, RecordBytes bytes, const RingReader::Item& item) {
  RingHeader& header = reader_.header();
  if (record.kind == kKindOf<ev::Dropped>) {
    said_ += static_cast<std::uint64_t>(std::max(record.ints[0], std::int64_t{0}));
    tables_.forget();
  } else {
    bump(header.events);
  }
  if (failed_) return bump(header.lost);
  if (record.kind == kKindOf<ev::LaunchDone> && !name_launch(record)) return;
  if (record.flag == kLanesEarlier && is_launch(record.kind)) {
    find_lanes(item, static_cast<std::uint64_t>(record.ints[0]));
  }
  if (decoder_.view(record, bytes, view_, item.position) && is_good(view_, *names_)) {
    note_launch(view_.kind, item);
    return write(view_);
  }
  if (Status status = decoder_.decode(record, bytes, event_); !status.ok()) {
    return note_error(status, false);
  }
  note_launch(event_.kind(), item);
  write();
}

// For a record that refers to the one there. Mostly they were read a moment ago.
void Drain::find_lanes(const RingReader::Item& by, std::uint64_t position) {
  RingReader::Item item;
  if (decoder_.known_lanes(position) != nullptr ||
      by.position - position > ring_kept(reader_.data_bytes()) || !reader_.find(position, item)) {
    return;
  }
  RecordBytes bytes(copy(item, lanes_copy_), item.bytes);
  Record record;
  if (read_record(bytes, record)) decoder_.learn_lanes(record, bytes, position);
}

void Drain::note_launch(std::size_t kind, const RingReader::Item& item) {
  if (!is_launch(kind)) return;
  if (launches_.size() == 2 * kLaunchesKept) {
    launches_.erase(launches_.begin(), launches_.begin() + kLaunchesKept);
  }
  launches_.push_back({item.position, writer_->events() - skip_});
}

// The changes of a table, where the compare was asked for: what the launch behind it reads.
bool Drain::consume_compare(const Record& record, const RingReader::Item& item, bool to_the_end) {
  if (!tables_.take(record, decoder_, to_the_end || failed_)) return false;
  tables_.passed(item.end);
  for (const EventBody& body : tables_.bodies()) {
    bump(reader_.header().events);
    if (failed_) {
      bump(reader_.header().lost);
      continue;
    }
    decoder_.decode_head(record, event_);
    event_.body = body;
    if (Status status = check_event(event_, *names_); !status.ok()) {
      note_error(status, false);
    } else {
      write();
    }
  }
  return true;
}

// Ids are given out from 1. After a collector died, the first ones may be known from its journal.
void Drain::add_name(const Record& record, RecordBytes payload) {
  const auto id = static_cast<std::uint64_t>(record.ints[0]);
  if (id <= names_known_ && id > 0) return;
  const char* text = payload.take<char>(record.n);
  if (text == nullptr || id != names_known_ + 1) {
    return note_error(usage("a name that is none, or not the next one"), false);
  }
  const std::string_view name(text, record.n);
  decoder_.add_name(name);
  ++names_known_;
  if (journal_ != nullptr) journal_->add(name);
}

// A completion names its launch by the place in the ring that the caller was told; the event's
// index is known here.
bool Drain::name_launch(Record& record) {
  const auto position = static_cast<std::uint64_t>(record.ints[0]);
  const auto at = std::ranges::lower_bound(launches_, position, {}, &Launch::position);
  if (at == launches_.end() || at->position != position) {
    // What is in the file already was named when it was written: its launch may lie before the
    // mark.
    if (skip_ > 0) {
      --skip_;
      return false;
    }
    note_error(usage("a launch_done of no launch among the last " + std::to_string(kLaunchesKept)),
               false);
    return false;
  }
  // Of a trace that was cut, the launch may lie before its beginning.
  if (at->event >= writer_->events()) return false;
  record.ints[0] = static_cast<std::int64_t>(at->event);
  return true;
}

// An event is made of it only for who goes along.
void Drain::write(const EventView& view) {
  if (skip_ == 0 && companion_ == nullptr) return note_error(writer_->add_view(view), true);
  (void)make_event(view, event_);
  write();
}

void Drain::write() {
  if (skip_ > 0) {
    --skip_;
    return;
  }
  if (options_.flight == nullptr)
    return note_error(write_along(event_, *writer_, companion_), true);
  Status status = options_.flight->before(event_, *companion_);
  companion_->see(event_);
  if (status.ok()) status = writer_->add_checked(event_);
  note_error(status, true);
  if (!failed_) options_.flight->after(event_, *companion_);
}

// After the item: memory that is not needed any more.
void Drain::settle(const RingReader::Item& item, std::uint64_t before) {
  if (!options_.durable) {
    if (reader_.position() - reader_.marked() > reader_.data_bytes() / 8) {
      release({item.end, writer_->written(), said_});
    }
    return;
  }
  if (failed_ || skip_ > 0) return;
  const std::uint64_t ended = writer_->ended();
  if (ended != ended_events_) {
    // A segment has ended: with this item's last event, or before that.
    ended_events_ = ended;
    if (ended == writer_->events()) {
      ended_.push_back({item.end, ended, said_});
    } else {
      ended_.push_back({item.position, std::min(ended, before), said_});
    }
  }
  if (!ended_.empty()) release_written();
}

// What stood before the last segment's end that is in the file.
void Drain::release_written() {
  const std::uint64_t written = writer_->written();
  RingMark mark;
  bool found = false;
  for (; !ended_.empty() && ended_.front().events <= written; ended_.pop_front()) {
    mark = ended_.front();
    found = true;
  }
  if (found && !failed_) release(mark);
}

// The events before the mark's position are in the file.
void Drain::release(const RingMark& mark) {
  if (journal_ != nullptr) {
    note_error(journal_->sync(), true);
    if (failed_) return;
  }
  reader_.release(mark);
  tables_.release(mark.position);
}

void Drain::flush() {
  if (failed_) return;
  note_error(writer_->flush(), true);
  if (failed_ || skip_ > 0) return;
  ended_events_ = writer_->written();
  ended_.clear();
  release({reader_.position(), ended_events_, said_});
}

Status Drain::close() {
  take(true);
  const RingHeader& header = reader_.header();
  const std::uint64_t dropped = header.dropped.load(std::memory_order_acquire);
  event_ = {};
  if (header.rank >= 0) event_.rank = header.rank;
  if (!failed_ && dropped > said_) {
    event_.body = ev::Dropped{static_cast<std::int64_t>(dropped - said_), {}, {}};
    write();
  }
  if (!failed_ && header.closed.load(std::memory_order_acquire) != 0) {
    event_.body = ev::End{};
    write();
  }
  // Of a ring that failed the trace merely ends.
  if (!failed_ || damaged_) note_error(writer_->close(), true);
  reader_.header().file_bytes.store(writer_->bytes(), std::memory_order_relaxed);
  return failed_ ? system_error(error()) : Status();
}

void Drain::note_error(const Status& status, bool fatal) {
  if (status.ok()) return;
  {
    const std::lock_guard lock(error_mutex_);
    if (first_error_.empty()) first_error_ = status.message();
  }
  RingHeader& header = reader_.header();
  if (!fatal) return bump(header.malformed);
  if (failed_) return;
  failed_ = true;
  // The event at hand, and those whose segment was not written.
  bump(header.lost, 1 + writer_->events() - writer_->written());
  header.failed.store(1, std::memory_order_release);
}

std::string Drain::error() const {
  const std::lock_guard lock(error_mutex_);
  return first_error_;
}

}  // namespace pagetape
