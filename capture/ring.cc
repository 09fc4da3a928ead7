// SPDX-License-Identifier: Apache-2.0
#include "capture/ring.h"

#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <ctime>
#include <new>
#include <string>

namespace pagetape {
namespace internal {

static std::uint32_t asked_thread_id() { return static_cast<std::uint32_t>(syscall(SYS_gettid)); }

// Asked once a thread: a forked child has one of its own, but writes to no ring of its parent's.
// Not initial-exec: with the CUDA run time's own, that would take more of the static block of
// threads than a library that is opened at run time may have.
std::uint32_t thread_id() {
  static thread_local std::uint32_t id = 0;
  if (id == 0) [[unlikely]]
    id = asked_thread_id();
  return id;
}

#ifdef __SANITIZE_THREAD__
[[gnu::no_sanitize("thread"), gnu::noinline]] bool take_unseen(char* word, std::uint64_t& found,
                                                               std::uint64_t mine) {
  return __atomic_compare_exchange_n(reinterpret_cast<std::uint64_t*>(word), &found, mine, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}
#endif

}  // namespace internal

using internal::RingState;

static std::uint64_t random_key() {
  std::uint64_t key = 0;
  if (getrandom(&key, sizeof(key), 0) != sizeof(key)) {
    timespec now;  // No secret, but another one for every ring.
    clock_gettime(CLOCK_REALTIME, &now);
    key = static_cast<std::uint64_t>(now.tv_nsec) << 32 ^ static_cast<std::uint64_t>(getpid());
  }
  return key & ~std::uint64_t{7};
}

void format_ring(void* memory, std::size_t data_bytes, std::int32_t rank) {
  auto* header = new (memory) RingHeader{};
  header->version = kRingVersion;
  header->header_bytes = sizeof(RingHeader);
  header->data_bytes = data_bytes;
  header->key = random_key();
  header->pid = static_cast<std::uint32_t>(getpid());
  header->uid = geteuid();
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  header->start = std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  header->rank = rank;
  auto* words = reinterpret_cast<std::uint64_t*>(static_cast<char*>(memory) + kRingHeaderPage);
  for (std::size_t i = 0; i < data_bytes / sizeof(*words); ++i) {
    words[i] = i * sizeof(*words) ^ header->key;
  }
  std::memcpy(header->magic, kRingMagic.data(), sizeof(header->magic));
}

Status check_ring(const void* memory, std::size_t bytes, std::uint32_t uid) {
  const auto* header = static_cast<const RingHeader*>(memory);
  if (bytes < kRingHeaderPage ||
      std::string_view(header->magic, sizeof(header->magic)) != kRingMagic) {
    return usage("no ring of pagetape");
  }
  if (header->version != kRingVersion || header->header_bytes != sizeof(RingHeader)) {
    return usage("a ring of version " + std::to_string(header->version) +
                 "; this program reads version " + std::to_string(kRingVersion));
  }
  if (header->uid != uid) return usage("a ring of another user");
  const std::uint64_t size = header->data_bytes;
  if (!std::has_single_bit(size) || size < kRingBytesMin || size > kRingBytesMax ||
      ring_bytes(size) != bytes) {
    return damaged("the ring's size is not that of its memory");
  }
  const std::uint32_t current = header->current.load();
  const std::uint64_t head = header->head.load();
  const std::uint64_t mark = current > 1 ? 1 : header->marks[current].position;
  if (header->key % 8 != 0 || mark % 8 != 0 || head % 8 != 0 || mark < head || mark - head > size) {
    return damaged("the ring's header makes no sense");
  }
  return {};
}

RingClaim RingWriter::claim_further_on(std::uint64_t position, std::size_t bytes,
                                       std::uint64_t last) {
  const std::size_t size = bytes + sizeof(std::uint64_t);
  while (true) {
    const std::uint64_t head = header_->head.load(std::memory_order_acquire);
    position = std::max(position, head);
    const std::size_t behind = data_bytes_ - (position & (data_bytes_ - 1));
    const bool pad = size > behind;
    // Where there is no room here, there is none further on.
    if (position + size + (pad ? behind : 0) - head > data_bytes_ || position > last) return {};
    std::uint64_t found = free_mark(position);
    const std::uint64_t mine =
        pad ? internal::ring_word(internal::kPadding, behind, 0)
            : internal::ring_word(internal::kClaimed, size, internal::thread_id());
    if (take_word(position, found, mine)) {
      const std::uint64_t end = position + internal::bytes_of_word(mine);
      header_->tail.store(end, std::memory_order_relaxed);
      if (!pad) return {at(position) + sizeof(std::uint64_t), position, bytes};
      position = end;
    } else {
      // Who slept meanwhile, or was told by one, would go over every record that others wrote.
      position = std::max(
          {beyond(position, found), given_back(), header_->tail.load(std::memory_order_relaxed)});
    }
  }
}

RingReader::RingReader(void* memory)
    : RingMemory(memory),
      kept_(ring_kept(data_bytes_)),
      position_(mark().position),
      marked_(position_),
      released_(header_->head.load(std::memory_order_acquire)),
      ends_{{position_, position_}} {}

RingMark RingReader::mark() const {
  const std::uint32_t current = header_->current.load(std::memory_order_acquire);
  return header_->marks[current & 1];
}

RingReader::Next RingReader::next(Item& item) {
  while (true) {
    // As an atomic_ref does it, but for the check of the word's place.
    const std::uint64_t found =
        __atomic_load_n(reinterpret_cast<const std::uint64_t*>(at(position_)), __ATOMIC_ACQUIRE);
    if (found == free_mark(position_)) return Next::kEmpty;
    // A whole ring not yet given back, whose first record stands here again.
    if (position_ - released_ >= data_bytes_) return Next::kEmpty;
    if (!fits(position_, found)) return Next::kDamaged;
    const std::size_t bytes = internal::bytes_of_word(found);
    const RingState state = internal::state_of(found);
    item.position = position_;
    item.end = position_ + bytes;
    item.payload = at(position_) + sizeof(found);
    item.bytes = bytes - sizeof(found);
    item.thread = static_cast<std::uint32_t>(found >> 32);
    if (state == internal::kComplete) return Next::kRecord;
    if (state == internal::kClaimed) return Next::kBusy;
    go_to(item.end);
  }
}

bool RingReader::fits(std::uint64_t position, std::uint64_t word) const {
  const std::size_t bytes = internal::bytes_of_word(word);
  const std::size_t behind = data_bytes_ - (position & (data_bytes_ - 1));
  const RingState state = internal::state_of(word);
  return state != internal::kFree && state <= internal::kPadding && bytes >= sizeof(word) &&
         bytes <= behind && position + bytes - released_ <= data_bytes_ &&
         (state != internal::kPadding || bytes == behind);
}

bool RingReader::find(std::uint64_t position, Item& item) const {
  if (position % 8 != 0 || position < released_ || position >= position_) return false;
  const std::uint64_t found =
      __atomic_load_n(reinterpret_cast<const std::uint64_t*>(at(position)), __ATOMIC_ACQUIRE);
  if (internal::state_of(found) != internal::kComplete || !fits(position, found)) return false;
  item = {position, position + internal::bytes_of_word(found), at(position) + sizeof(found),
          internal::bytes_of_word(found) - sizeof(found), 0};
  return item.end <= position_;
}

void RingReader::release(const RingMark& mark) {
  if (mark.position == marked_) return;
  marked_ = mark.position;
  const std::uint32_t other = 1 - (header_->current.load(std::memory_order_relaxed) & 1);
  header_->marks[other].events = mark.events;
  header_->marks[other].said = mark.said;
  std::atomic_ref(header_->marks[other].position).store(marked_, std::memory_order_release);
  header_->current.store(other, std::memory_order_release);
  std::uint64_t position = kept_ > 0 ? released_ : marked_;
  for (; kept_ > 0 && ends_.front().last + kept_ < marked_; ends_.pop_front()) {
    position = ends_.front().position;
    if (ends_.size() == 1) break;  // What comes is measured from it.
  }
  const std::uint64_t ahead = data_bytes_, key = key_;  // Kept: what is stored may alias nothing.
  for (std::uint64_t p = released_; p < position;) {
    // As far as the memory goes on.
    const std::uint64_t end = std::min(position, (p | (data_bytes_ - 1)) + 1);
    auto* words = reinterpret_cast<std::uint64_t*>(at(p));
#pragma GCC unroll 8
    for (; p < end; p += sizeof(std::uint64_t)) {
      // As an atomic_ref does it, but for the check of each word's place.
      __atomic_store_n(words++, (p + ahead) ^ key, __ATOMIC_RELEASE);
    }
  }
  released_ = position;
  header_->head.store(position, std::memory_order_release);
}

}  // namespace pagetape
