// SPDX-License-Identifier: Apache-2.0
// The ring between an engine and what drains it: shared memory, or memory of the process.
//
// Any number of threads of one process write, one reader reads. A writer never waits and takes no
// lock; records come out in one order, that of their claims. The memory is a RingHeader, then
// `data_bytes` of records. Positions count bytes from the ring's beginning for ever; the byte of
// position p is p modulo `data_bytes`. A record stands in one piece at a multiple of 8 and begins
// with a word of 64 bits:
//
//   bits 0-2    what it is: 1 claimed, 2 complete, 3 padding to the end of the memory
//   bits 3-31   its length in words of 8 bytes, this one included
//   bits 32-63  the thread that writes it
//
// A word where no record was claimed yet holds a mark of its own position, free_mark(p). So
// claiming is one compare-and-swap of that word from its mark to a length: whoever is killed at
// whatever instruction has claimed nothing, or has left a length by which the reader passes what it
// never completed. `tail` only says where to look first: it is the end of some claim, and a thread
// that slept may set it back. Who finds it behind goes on from record to record, or, where that was
// given back, from what the reader says. A thread that slept through a whole round finds the mark
// of another position, and its claim fails.
//
// What was claimed and never completed belongs to a call that never returned: nothing recorded
// after it can depend on it.
//
// A record may refer to a complete one up to ring_kept() bytes before it, whose memory the reader
// gives back only behind both: so whoever reads on where another reader died finds it, too.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string_view>
#include <utility>

#include "traces/status.h"

namespace pagetape {

inline constexpr std::uint32_t kRingVersion = 6;
inline constexpr std::size_t kRingBytesMin = 1u << 12, kRingBytesMax = std::size_t{1} << 32;

// Where a reader stands that has put everything before into a file.
struct RingMark {
  std::uint64_t position = 0;
  std::uint64_t events = 0;  // In the file.
  std::uint64_t said = 0;    // Of `dropped`: those that the file's events tell of.
};

// The beginning of the memory, in native byte order. Each part has its cache line.
struct RingHeader {
  char magic[8];  // kRingMagic
  std::uint32_t version;
  std::uint32_t header_bytes;  // sizeof(RingHeader)
  std::uint64_t data_bytes;    // A power of two.
  std::uint64_t key;           // Of the marks: random, a multiple of 8.
  std::uint32_t pid, uid;      // Of the process that writes, as it sees them.
  std::int64_t start;          // When it began, ns since 1970.
  std::int32_t rank;           // Negative: none.
  std::uint32_t reserved;

  // The writers'.
  alignas(64) std::atomic<std::uint64_t> tail;
  alignas(64) std::atomic<std::uint64_t> dropped;  // Records that found no room, in all.
  std::atomic<std::uint64_t> flushes_wanted;
  std::atomic<std::uint32_t> closed;  // 1: nothing more comes.

  // The reader's.
  alignas(64) std::atomic<std::uint64_t> head;  // Memory before it is free.
  std::atomic<std::uint32_t> failed;            // 1: nothing more can be written.
  std::atomic<std::uint32_t> current;           // The mark that holds.
  RingMark marks[2];
  alignas(64) std::atomic<std::uint64_t> beats;  // Moves as long as the reader is well.
  std::atomic<std::uint64_t> flushes_done;
  // What became of the records: made events of; refused; left out, as the file failed.
  std::atomic<std::uint64_t> events, malformed, lost;
  std::atomic<std::uint64_t> file_bytes;
};
inline constexpr std::string_view kRingMagic{"ptapring", 8};
static_assert(sizeof(RingHeader) == 320 && std::atomic<std::uint64_t>::is_always_lock_free);

// The data of a ring begins on a page of its own.
inline constexpr std::size_t kRingHeaderPage = 4096;
constexpr std::size_t ring_bytes(std::size_t data_bytes) { return kRingHeaderPage + data_bytes; }

// How far back a record may refer. A small ring has no room for that.
constexpr std::uint64_t ring_kept(std::uint64_t data_bytes) {
  return data_bytes < (1u << 20) ? 0 : data_bytes / 8;
}

// Lays out an empty ring in `memory` of ring_bytes(data_bytes), which it touches all of: a writer
// meets no page fault. `data_bytes` is a power of two.
void format_ring(void* memory, std::size_t data_bytes, std::int32_t rank);

// Whether `memory` of so many bytes holds a ring that this version can read, and of whom.
Status check_ring(const void* memory, std::size_t bytes, std::uint32_t uid);

namespace internal {

enum RingState : std::uint64_t { kFree = 0, kClaimed = 1, kComplete = 2, kPadding = 3 };

constexpr std::uint64_t ring_word(RingState state, std::size_t bytes, std::uint64_t thread) {
  return state | static_cast<std::uint64_t>(bytes) | thread << 32;
}
constexpr RingState state_of(std::uint64_t word) { return static_cast<RingState>(word & 7); }
constexpr std::size_t bytes_of_word(std::uint64_t word) { return word & 0xffff'fff8; }

std::uint32_t thread_id();

#ifdef __SANITIZE_THREAD__
bool take_unseen(char* word, std::uint64_t& found, std::uint64_t mine);
#endif

// Of a line that another core has written to. A plain prefetch fetches it to be read alone, and the
// write then waits again; compilers make one where the processor may have no other.
inline void prefetch_to_write(char* at) {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" : : "m"(*at));
#else
  __builtin_prefetch(at, 1);
#endif
}

// The memory, and copies of what its header said when it was opened: what another process writes
// there later is not believed.
class RingMemory {
 public:
  explicit RingMemory(void* memory)
      : header_(static_cast<RingHeader*>(memory)),
        data_(static_cast<char*>(memory) + kRingHeaderPage),
        data_bytes_(header_->data_bytes),
        key_(header_->key) {}

  RingHeader& header() const { return *header_; }
  std::uint64_t data_bytes() const { return data_bytes_; }

 protected:
  char* at(std::uint64_t position) const { return data_ + (position & (data_bytes_ - 1)); }
  std::atomic_ref<std::uint64_t> word(std::uint64_t position) const {
    return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(at(position)));
  }
  std::uint64_t free_mark(std::uint64_t position) const { return position ^ key_; }
  // What is before the reader's mark was read: a writer has no business there.
  std::uint64_t given_back() const {
    RingMark& mark = header_->marks[header_->current.load(std::memory_order_acquire) & 1];
    return std::atomic_ref(mark.position).load(std::memory_order_acquire);
  }

  RingHeader* header_;
  char* data_;
  std::uint64_t data_bytes_, key_;
};

}  // namespace internal

// A claimed record: `bytes` of payload to fill, then to commit.
struct RingClaim {
  char* payload = nullptr;  // Null: there is no room.
  std::uint64_t position = 0;
  std::size_t bytes = 0;
};

inline constexpr std::size_t kLineBytes = 64, kPrefetchBytes = 2048;
inline constexpr std::uint64_t kAnyPosition = ~std::uint64_t{0};

// The writers' side: every function may be called from any thread.
class RingWriter : public internal::RingMemory {
 public:
  explicit RingWriter(void* memory) : RingMemory(memory) {}

  // The largest payload that may be claimed: one of which, with what must be left at the memory's
  // end, a ring has room that was read to the end, beside what is kept of that.
  std::size_t most() const {
    const std::size_t half = data_bytes_ / 2;
    return half - (ring_kept(data_bytes_) > 0 ? half / 4 : 0) - sizeof(std::uint64_t);
  }

  // `bytes`: a multiple of 8, up to most(). Nothing is claimed beyond the position `last`.
  [[gnu::always_inline]] RingClaim claim(std::size_t bytes, std::uint64_t last = kAnyPosition) {
    const std::size_t size = bytes + sizeof(std::uint64_t);
    const std::uint64_t head = header_->head.load(std::memory_order_acquire);
    std::uint64_t position = std::max(header_->tail.load(std::memory_order_relaxed), head);
    const std::size_t behind = data_bytes_ - (position & (data_bytes_ - 1));
    if (size <= behind && position + size - head <= data_bytes_ && position <= last) [[likely]] {
      std::uint64_t found = free_mark(position);
      const std::uint64_t mine =
          internal::ring_word(internal::kClaimed, size, internal::thread_id());
      if (take_word(position, found, mine)) [[likely]] {
        header_->tail.store(position + size, std::memory_order_relaxed);
        // What the reader gave back is in its cache: a later claim need not wait for it.
        const std::uint64_t ahead = position + kPrefetchBytes;
        for (std::uint64_t line = (ahead + kLineBytes - 1) & ~(kLineBytes - 1); line < ahead + size;
             line += kLineBytes) {
          internal::prefetch_to_write(at(line));
        }
        return {at(position) + sizeof(std::uint64_t), position, bytes};
      }
      position = beyond(position, found);
    }
    return claim_further_on(position, bytes, last);
  }

  void commit(const RingClaim& claim) {
    word(claim.position)
        .store(internal::ring_word(internal::kComplete, claim.bytes + sizeof(std::uint64_t), 0),
               std::memory_order_release);
  }

  // Where to look next, where `found` is not the mark of `position`.
  std::uint64_t beyond(std::uint64_t position, std::uint64_t found) const {
    // The mark of a later round: this is being given back, which the reader's own mark says first.
    if (internal::state_of(found) == internal::kFree) return given_back();
    // Or it was, and what stands here is no word that begins a record.
    if (header_->head.load(std::memory_order_acquire) > position) return position;
    return position + internal::bytes_of_word(found);
  }

  void count_dropped() { header_->dropped.fetch_add(1, std::memory_order_relaxed); }

 private:
  // Where another thread was quicker, the memory ends, or there is no room. From `position` on:
  // what the quicker one left there says where to look next sooner than `tail` does.
  RingClaim claim_further_on(std::uint64_t position, std::size_t bytes, std::uint64_t last);

  // Writes `mine` where `found` stands; false, with what does, where it does not.
  bool take_word(std::uint64_t position, std::uint64_t& found, std::uint64_t mine) {
#ifdef __SANITIZE_THREAD__
    // A thread that slept may look where another one's payload stands by now, and finds that it is
    // no mark. To ThreadSanitizer that is a write, and a race with who fills it: it does not see
    // the exchange, but where it succeeded that the word is this thread's.
    if (!internal::take_unseen(at(position), found, mine)) return false;
    (void)word(position).fetch_or(0, std::memory_order_acq_rel);
    return true;
#else
    return word(position).compare_exchange_strong(found, mine, std::memory_order_acq_rel);
#endif
  }
};

// The reader's side: one thread at a time.
class RingReader : public internal::RingMemory {
 public:
  enum class Next { kRecord, kEmpty, kBusy, kDamaged };
  struct Item {
    std::uint64_t position = 0, end = 0;  // `end` is where the next one begins.
    const char* payload = nullptr;        // Memory that others may write: copy, then look.
    std::size_t bytes = 0;
    std::uint32_t thread = 0;  // Of a kBusy one.
  };

  // Begins at the mark that holds: nothing before it is needed.
  explicit RingReader(void* memory);

  // The record at position(), past any padding. kBusy: it is claimed and not complete.
  Next next(Item& item);
  // Goes on behind the item.
  void pass(const Item& item) { go_to(item.end); }
  // A complete record that was passed, if its memory is not yet given back.
  bool find(std::uint64_t position, Item& item) const;

  // Everything before the mark is in the file: gives the memory back, but for what records behind
  // it may refer to.
  void release(const RingMark& mark);

  std::uint64_t position() const { return position_; }
  RingMark mark() const;
  // Bytes behind the mark, whether read or not.
  std::uint64_t held() const {
    return std::max(header_->tail.load(std::memory_order_relaxed), position_) - marked_;
  }
  std::uint64_t marked() const { return marked_; }

 private:
  // Ends of records, some way apart: memory is given back up to one of them, once no record behind
  // the mark may refer to the last record before it, which begins there.
  struct End {
    std::uint64_t position, last;
  };

  void go_to(std::uint64_t end) {
    const std::uint64_t begin = std::exchange(position_, end);
    if (kept_ > 0 && end - ends_.back().position >= kept_ / 8) ends_.push_back({end, begin});
  }
  // Whether a record can stand there that begins with this word.
  bool fits(std::uint64_t position, std::uint64_t word) const;

  const std::uint64_t kept_;
  std::uint64_t position_, marked_, released_;
  std::deque<End> ends_;  // Never empty.
};

}  // namespace pagetape
