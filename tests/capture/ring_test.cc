// SPDX-License-Identifier: Apache-2.0
#include "capture/ring.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace pagetape {
namespace {

#ifdef __SANITIZE_THREAD__
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif

// Memory that a forked child shares.
class SharedMemory {
 public:
  explicit SharedMemory(std::size_t bytes)
      : bytes_(bytes),
        at_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {}
  ~SharedMemory() { munmap(at_, bytes_); }
  void* at() const { return at_; }

 private:
  std::size_t bytes_;
  void* at_;
};

struct TestRing {
  explicit TestRing(std::size_t bytes) : memory(ring_bytes(bytes)) {
    format_ring(memory.at(), bytes, -1);
  }
  SharedMemory memory;
};

using Words = std::vector<std::uint64_t>;

bool write(RingWriter& ring, const Words& words) {
  const RingClaim claim = ring.claim(words.size() * 8);
  if (claim.payload == nullptr) return false;
  if (!words.empty()) std::memcpy(claim.payload, words.data(), words.size() * 8);
  ring.commit(claim);
  return true;
}

Words words_of(const RingReader::Item& item) {
  Words words(item.bytes / 8);
  if (item.bytes > 0) std::memcpy(words.data(), item.payload, item.bytes);
  return words;
}

// Does what a thread does that sleeps between its claim and setting the tail. Others then look at
// words that are no record's beginning, which ThreadSanitizer takes for a race.
class Sleeper {
 public:
  explicit Sleeper(RingWriter& writer)
      : thread_([this, &writer] {
          while (!done_ && !kThreadSanitizer) {
            const std::uint64_t tail = writer.header().tail;
            std::this_thread::sleep_for(std::chrono::microseconds(50));
            writer.header().tail = tail;
          }
        }) {}
  ~Sleeper() {
    done_ = true;
    thread_.join();
  }
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;

 private:
  std::atomic<bool> done_{false};
  std::thread thread_;
};

// All that stands complete; passes what is not.
std::vector<Words> read_all(RingReader& ring, std::uint64_t* torn = nullptr) {
  std::vector<Words> all;
  RingReader::Item item;
  for (;;) {
    const RingReader::Next next = ring.next(item);
    if (next == RingReader::Next::kEmpty) return all;
    EXPECT_NE(next, RingReader::Next::kDamaged);
    if (next == RingReader::Next::kDamaged) return all;
    if (next == RingReader::Next::kRecord) all.push_back(words_of(item));
    if (next == RingReader::Next::kBusy && torn != nullptr) ++*torn;
    ring.pass(item);
  }
}

TEST(Ring, GivesBackWhatWasWrittenInItsOrder) {
  TestRing ring(1 << 12);
  RingWriter writer(ring.memory.at());
  RingReader reader(ring.memory.at());
  for (std::uint64_t i = 0; i < 5; ++i) ASSERT_TRUE(write(writer, Words(i, i)));
  const std::vector<Words> all = read_all(reader);
  ASSERT_EQ(all.size(), 5u);
  for (std::uint64_t i = 0; i < 5; ++i) EXPECT_EQ(all[i], Words(i, i));
}

TEST(Ring, GoesRoundWithRecordsOfAnySize) {
  TestRing ring(1 << 12);
  RingWriter writer(ring.memory.at());
  RingReader reader(ring.memory.at());
  std::mt19937 random(1);
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    const Words words(random() % (writer.most() / 8 + 1), i);
    ASSERT_TRUE(write(writer, words)) << i;
    const std::vector<Words> all = read_all(reader);
    ASSERT_EQ(all, std::vector<Words>{words});
    reader.release({reader.position(), i + 1});
  }
  EXPECT_EQ(reader.mark().events, 20'000u);
}

TEST(Ring, WhatFindsNoRoomIsNotWrittenAndNothingIsOverwritten) {
  TestRing ring(1 << 12);
  RingWriter writer(ring.memory.at());
  RingReader reader(ring.memory.at());
  std::uint64_t taken = 0;
  while (write(writer, Words(3, taken))) ++taken;
  EXPECT_EQ(taken, (1u << 12) / 32);  // To the last byte.
  EXPECT_EQ(read_all(reader).size(), taken);
  EXPECT_FALSE(write(writer, Words(1, 9)));  // Read, and not given back.
  EXPECT_EQ(read_all(reader).size(), 0u);
  reader.release({reader.position(), taken});
  EXPECT_TRUE(write(writer, Words(1, 9)));
  EXPECT_EQ(read_all(reader), std::vector<Words>{Words(1, 9)});
}

TEST(Ring, WhatWasClaimedAndNeverCompletedHidesNothingBehindIt) {
  TestRing ring(1 << 12);
  RingWriter writer(ring.memory.at());
  RingReader reader(ring.memory.at());
  ASSERT_TRUE(write(writer, Words(1, 1)));
  ASSERT_NE(writer.claim(80).payload, nullptr);
  ASSERT_TRUE(write(writer, Words(1, 2)));
  RingReader::Item item;
  ASSERT_EQ(reader.next(item), RingReader::Next::kRecord);
  reader.pass(item);
  EXPECT_EQ(reader.next(item), RingReader::Next::kBusy);
  EXPECT_EQ(item.thread, static_cast<std::uint32_t>(gettid()));
  std::uint64_t torn = 0;
  EXPECT_EQ(read_all(reader, &torn), std::vector<Words>{Words(1, 2)});
  EXPECT_EQ(torn, 1u);
}

// As one that was killed between its claim and moving the tail.
TEST(Ring, ATailLeftBehindIsMovedOnByTheNextWriter) {
  TestRing ring(1 << 12);
  RingWriter writer(ring.memory.at());
  RingReader reader(ring.memory.at());
  ASSERT_NE(writer.claim(16).payload, nullptr);
  writer.header().tail = 0;
  ASSERT_TRUE(write(writer, Words(1, 2)));
  EXPECT_EQ(read_all(reader), std::vector<Words>{Words(1, 2)});
}

TEST(Ring, ATailLeftBehindIsMovedOnByTheReader) {
  TestRing ring(1 << 12);
  RingWriter writer(ring.memory.at());
  RingReader reader(ring.memory.at());
  ASSERT_TRUE(write(writer, Words(1, 1)));
  writer.header().tail = 0;
  EXPECT_EQ(read_all(reader).size(), 1u);
  reader.release({reader.position(), 1});
  ASSERT_TRUE(write(writer, Words(1, 2)));
  EXPECT_EQ(read_all(reader), std::vector<Words>{Words(1, 2)});
}

// A thread that slept sets the tail back, to where by then something else stands.
TEST(Ring, ATailThatIsSetBackByRoundsLosesNothing) {
  TestRing ring(1 << 12);
  RingWriter writer(ring.memory.at());
  RingReader reader(ring.memory.at());
  std::mt19937 random(5);
  std::vector<std::uint64_t> ends{0};
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    const Words words(random() % 60, i);
    ASSERT_TRUE(write(writer, words)) << i;
    ends.push_back(writer.header().tail);
    writer.header().tail = ends[ends.size() - 1 - random() % std::min<std::size_t>(200, i + 1)];
    ASSERT_EQ(read_all(reader), std::vector<Words>{words});
    if (random() % 4 == 0 || reader.held() > 2048) reader.release({reader.position(), i + 1});
  }
}

// A record may refer to one so far before it: whoever reads either, or reads on behind one who
// died, finds that.
TEST(Ring, WhatARecordMayReferToIsThereAsLongAsTheRecordIs) {
  constexpr std::size_t kBytes = 1 << 20;
  TestRing ring(kBytes);
  RingWriter writer(ring.memory.at());
  RingReader reader(ring.memory.at());
  std::mt19937 random(7);
  std::vector<std::uint64_t> written;  // Positions; the record holds its index.
  std::uint64_t read = 0;
  for (int round = 0; round < 3'000; ++round) {
    for (std::uint64_t n = random() % 100; n > 0; --n) {
      const RingClaim claim = writer.claim(8 * (1 + random() % 60));
      if (claim.payload == nullptr) break;
      const std::uint64_t index = written.size();
      std::memcpy(claim.payload, &index, 8);
      writer.commit(claim);
      written.push_back(claim.position);
    }
    RingReader::Item item;
    for (std::uint64_t n = random() % 120; n > 0; --n) {
      if (reader.next(item) != RingReader::Next::kRecord) break;
      reader.pass(item);
      ++read;
    }
    if (random() % 3 == 0) reader.release({reader.position(), read});
    // Of what stands behind the mark, to the farthest that it may refer to.
    RingReader after(ring.memory.at());
    const auto first = std::ranges::lower_bound(written, after.position());
    if (first == written.end()) continue;
    for (const RingReader* one : {&reader, &after}) {
      const std::uint64_t from = *first - std::min(*first, ring_kept(kBytes));
      const auto earlier = std::ranges::lower_bound(written, from);
      if (*earlier >= one->position()) continue;
      ASSERT_TRUE(one->find(*earlier, item)) << round;
      ASSERT_EQ(words_of(item)[0], static_cast<std::uint64_t>(earlier - written.begin()));
      ASSERT_EQ(item.position, *earlier);
    }
  }
  EXPECT_GT(written.back(), 20 * kBytes);
  // Seven eighths of the memory are the writers', but for what lies between two ends.
  reader.release({reader.position(), read});
  while (writer.claim(8 * 60).payload != nullptr) {
  }
  EXPECT_GT(reader.held(), kBytes / 2);
}

// Whatever sizes came before: a large one, and what was left at the memory's end, too.
TEST(Ring, ARingThatWasReadHasRoomForTheLargestRecord) {
  for (const std::size_t bytes : {1u << 12, 1u << 20}) {
    for (unsigned seed = 0; seed < 300; ++seed) {
      TestRing ring(bytes);
      RingWriter writer(ring.memory.at());
      RingReader reader(ring.memory.at());
      std::mt19937 random(seed);
      RingReader::Item item;
      for (int round = 0; round < 30; ++round) {
        const std::size_t most = writer.most() >> random() % 12;
        for (std::uint64_t n = random() % 200; n > 0; --n) {
          const RingClaim claim = writer.claim(random() % (most + 1) & ~7u);
          if (claim.payload == nullptr) break;
          writer.commit(claim);
        }
        while (reader.next(item) == RingReader::Next::kRecord) reader.pass(item);
        reader.release({reader.position(), 0});
        const RingClaim claim = writer.claim(writer.most());
        ASSERT_NE(claim.payload, nullptr) << bytes << ", " << seed << ", " << round;
        writer.commit(claim);
      }
    }
  }
}

// Records refer to earlier ones of their thread, as far back as they may; tails are set back, and
// readers come one after the other, each from the mark on.
TEST(Ring, ThreadsWritersReferToWhatTheyWroteWhileReadersComeAndGo) {
  constexpr std::uint64_t kThreads = 4, kEach = 60'000, kNothing = ~std::uint64_t{0};
  constexpr std::size_t kBytes = 1 << 20;
  TestRing ring(kBytes);
  RingWriter writer(ring.memory.at());
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      std::uint64_t earlier = kNothing, its = 0;
      for (std::uint64_t i = 0; i < kEach;) {
        const std::size_t bytes = 8 * (4 + random() % 60);
        RingClaim claim;
        const bool may = earlier != kNothing && random() % 4 != 0;
        if (may) claim = writer.claim(bytes, earlier + ring_kept(kBytes));
        const bool refers = claim.payload != nullptr;
        if (!refers) claim = writer.claim(bytes);
        if (claim.payload == nullptr) {
          std::this_thread::yield();
          continue;
        }
        const std::uint64_t words[] = {t, i, refers ? earlier : kNothing, its};
        std::memcpy(claim.payload, words, sizeof(words));
        writer.commit(claim);
        if (random() % 50 == 0) {
          earlier = claim.position;
          its = i;
        }
        ++i;
      }
    });
  }
  const Sleeper sleeper(writer);
  auto reader = std::make_unique<RingReader>(ring.memory.at());
  std::vector<std::uint64_t> next(kThreads, 0);
  std::mt19937 random(9);
  RingReader::Item item, other;
  std::uint64_t referred = 0;
  for (std::uint64_t n = 0; n < kThreads * kEach;) {
    if (reader->next(item) != RingReader::Next::kRecord || n % 300 == 299) {
      reader->release({reader->position(), n});
      if (random() % 20 == 0) reader = std::make_unique<RingReader>(ring.memory.at());
      std::this_thread::yield();
      if (reader->next(item) != RingReader::Next::kRecord) continue;
    }
    const Words words = words_of(item);
    ASSERT_EQ(words[1], next[words[0]]++);
    if (words[2] != kNothing) {
      ASSERT_TRUE(reader->find(words[2], other));
      ASSERT_EQ(words_of(other)[0], words[0]);
      ASSERT_EQ(words_of(other)[1], words[3]);
      ++referred;
    }
    reader->pass(item);
    ++n;
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(referred, kThreads * kEach / 4);
}

TEST(Ring, NothingIsClaimedBeyondWhereItWouldRefer) {
  TestRing ring(1 << 12);
  RingWriter writer(ring.memory.at());
  RingReader reader(ring.memory.at());
  ASSERT_TRUE(write(writer, Words(3, 1)));
  EXPECT_EQ(writer.claim(8, 31).payload, nullptr);
  writer.header().tail = 0;  // Found behind another's record.
  EXPECT_EQ(writer.claim(8, 31).payload, nullptr);
  const RingClaim claim = writer.claim(8, 32);
  ASSERT_NE(claim.payload, nullptr);
  EXPECT_EQ(claim.position, 32u);
  EXPECT_EQ(read_all(reader).size(), 1u);
}

TEST(Ring, OnlyACompleteRecordThatWasPassedIsFound) {
  TestRing ring(1 << 20);
  RingWriter writer(ring.memory.at());
  RingReader reader(ring.memory.at());
  ASSERT_TRUE(write(writer, Words(3, 1)));
  (void)writer.claim(8);
  ASSERT_TRUE(write(writer, Words(3, 2)));
  RingReader::Item item;
  EXPECT_FALSE(reader.find(0, item));
  EXPECT_EQ(read_all(reader).size(), 2u);
  EXPECT_TRUE(reader.find(0, item));
  EXPECT_TRUE(reader.find(48, item));
  for (const std::uint64_t position : {4, 8, 32, 80, 1 << 20}) {
    EXPECT_FALSE(reader.find(position, item)) << position;
  }
}

// As one that was killed after its mark and before all that was given back.
TEST(Ring, AReaderThatDiedWhileGivingBackKeepsNobodyWaiting) {
  TestRing ring(1 << 12);
  RingWriter writer(ring.memory.at());
  for (std::uint64_t i = 0; i < 10; ++i) ASSERT_TRUE(write(writer, Words(3, i)));
  RingHeader& header = writer.header();
  header.marks[1] = {8 * 32, 8, 0};
  header.current = 1;
  auto* words =
      reinterpret_cast<std::uint64_t*>(static_cast<char*>(ring.memory.at()) + kRingHeaderPage);
  for (std::uint64_t p = 0; p < 5 * 32; p += 8) words[p / 8] = (p + (1 << 12)) ^ header.key;
  for (const std::uint64_t tail : {0, 3 * 32, 5 * 32, 8 * 32}) {
    header.tail = tail;
    ASSERT_TRUE(write(writer, Words(3, 10)));
  }
  RingReader reader(ring.memory.at());
  const std::vector<Words> all = read_all(reader);
  ASSERT_EQ(all.size(), 6u);
  EXPECT_EQ(all.front(), Words(3, 8));
  EXPECT_EQ(all.back(), Words(3, 10));
}

TEST(Ring, ANewReaderBeginsAtTheMark) {
  TestRing ring(1 << 12);
  RingWriter writer(ring.memory.at());
  {
    RingReader reader(ring.memory.at());
    ASSERT_TRUE(write(writer, Words(1, 1)));
    ASSERT_TRUE(write(writer, Words(1, 2)));
    RingReader::Item item;
    ASSERT_EQ(reader.next(item), RingReader::Next::kRecord);
    reader.pass(item);
    reader.release({reader.position(), 1});
  }
  RingReader reader(ring.memory.at());
  EXPECT_EQ(reader.mark().events, 1u);
  EXPECT_EQ(read_all(reader), std::vector<Words>{Words(1, 2)});
}

// Each thread's records come in its order, whole, and none is missing.
TEST(Ring, ManyThreadsWriteWhileOneReads) {
  constexpr std::uint64_t kThreads = 8, kEach = 20'000;
  TestRing ring(1 << 14);
  RingWriter writer(ring.memory.at());
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < kEach; ++i) {
        Words words(2 + (i * 7 + t) % 30, i);
        words[0] = t;
        while (!write(writer, words)) std::this_thread::yield();
      }
    });
  }
  const Sleeper sleeper(writer);
  RingReader reader(ring.memory.at());
  std::vector<std::uint64_t> next(kThreads, 0);
  RingReader::Item item;
  for (std::uint64_t n = 0; n < kThreads * kEach;) {
    if (reader.next(item) != RingReader::Next::kRecord) {
      reader.release({reader.position(), n});
      std::this_thread::yield();
      continue;
    }
    const Words words = words_of(item);
    const std::uint64_t t = words[0], i = words[1];
    ASSERT_EQ(i, next[t]++);
    ASSERT_EQ(words.size(), 2 + (i * 7 + t) % 30);
    for (std::size_t w = 1; w < words.size(); ++w) ASSERT_EQ(words[w], i);
    reader.pass(item);
    ++n;
  }
  for (std::thread& thread : threads) thread.join();
}

struct Progress {
  std::atomic<std::uint64_t> committed[2];  // By thread: calls that have returned.
};

[[noreturn]] void write_until_killed(void* ring, Progress* progress) {
  RingWriter writer(ring);
  const auto run = [&](std::uint64_t t) {
    for (std::uint64_t i = 0;; ++i) {
      Words words(2 + i % 30, i);
      words[0] = t;
      if (write(writer, words))
        progress->committed[t].store(i + 1);
      else
        --i;
    }
  };
  std::thread other(run, 1);
  run(0);
  _exit(1);
}

class Killed : public testing::TestWithParam<bool> {};

// The engine is killed at any instant: what a call returned from is there, whole and in order.
TEST_P(Killed, EveryRecordOfACallThatReturnedIsThere) {
  const bool read_meanwhile = GetParam();
  std::mt19937 random(7);
  for (int round = 0; round < 100; ++round) {
    TestRing ring(1 << 16);
    SharedMemory shared(sizeof(Progress));
    auto* progress = new (shared.at()) Progress{};
    const pid_t child = fork();
    if (child == 0) write_until_killed(ring.memory.at(), progress);
    RingReader reader(ring.memory.at());
    std::uint64_t next[2] = {0, 0};
    const auto check = [&](const std::vector<Words>& all) {
      for (const Words& words : all) {
        const std::uint64_t t = words.at(0), i = words.at(1);
        ASSERT_LT(t, 2u);
        ASSERT_EQ(i, next[t]);
        ASSERT_EQ(words.size(), 2 + i % 30);
        for (std::size_t w = 1; w < words.size(); ++w) ASSERT_EQ(words[w], i);
        ++next[t];
      }
    };
    const auto until = std::chrono::steady_clock::now() +
                       std::chrono::microseconds(random() % (read_meanwhile ? 6000 : 1500));
    while (std::chrono::steady_clock::now() < until) {
      if (!read_meanwhile) continue;
      RingReader::Item item;
      if (reader.next(item) == RingReader::Next::kRecord) {
        check({words_of(item)});
        reader.pass(item);
      } else {
        reader.release({reader.position(), 0});
      }
    }
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    std::uint64_t torn = 0;
    check(read_all(reader, &torn));
    ASSERT_LE(torn, 2u);
    for (int t = 0; t < 2; ++t) ASSERT_GE(next[t], progress->committed[t].load());
  }
}
INSTANTIATE_TEST_SUITE_P(Ring, Killed, testing::Bool());

TEST(Ring, ALengthThatCannotBeIsDamage) {
  for (const std::uint64_t bad :
       {std::uint64_t{2}, std::uint64_t{2 | 1 << 13}, std::uint64_t{5 | 16}, std::uint64_t{3 | 16},
        std::uint64_t{16}, ~std::uint64_t{0}}) {
    TestRing ring(1 << 12);
    std::memcpy(static_cast<char*>(ring.memory.at()) + kRingHeaderPage, &bad, sizeof(bad));
    RingReader reader(ring.memory.at());
    RingReader::Item item;
    EXPECT_EQ(reader.next(item), RingReader::Next::kDamaged) << bad;
  }
}

TEST(Ring, AnyBytesAtAllEndTheReading) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; ++round) {
    TestRing ring(1 << 12);
    RingWriter writer(ring.memory.at());
    while (write(writer, Words(random() % 20, round))) {
    }
    for (int flips = 0; flips < 20; ++flips) {
      auto* words =
          reinterpret_cast<std::uint64_t*>(static_cast<char*>(ring.memory.at()) + kRingHeaderPage);
      words[random() % 512] ^= std::uint64_t{1} << random() % 64;
    }
    RingReader reader(ring.memory.at());
    RingReader::Item item;
    for (int n = 0; n < 1000; ++n) {
      const RingReader::Next next = reader.next(item);
      if (next == RingReader::Next::kEmpty || next == RingReader::Next::kDamaged) break;
      ASSERT_LE(item.end, item.position + (1u << 12));
      reader.pass(item);
      ASSERT_LT(n, 999);
    }
    for (std::uint64_t position = 0; position < 1 << 12; position += 8) {
      if (!reader.find(position, item)) continue;
      ASSERT_LE(item.end, reader.position());
      ASSERT_LE(item.end, position + item.bytes + 8);
    }
  }
}

TEST(Ring, AHeaderThatIsNotOneIsRefused) {
  TestRing ring(1 << 12);
  const std::size_t bytes = ring_bytes(1 << 12);
  auto* header = static_cast<RingHeader*>(ring.memory.at());
  const auto refusal = [&] { return check_ring(ring.memory.at(), bytes, geteuid()).message(); };
  EXPECT_EQ(refusal(), "");
  EXPECT_FALSE(check_ring(ring.memory.at(), bytes - 1, geteuid()).ok());
  EXPECT_EQ(check_ring(ring.memory.at(), bytes, geteuid() + 1).message(), "a ring of another user");
  header->version = 9;
  EXPECT_NE(refusal().find("version 9"), std::string::npos);
  header->version = kRingVersion;
  header->data_bytes = 1 << 20;
  EXPECT_NE(refusal(), "");
  header->data_bytes = 1 << 12;
  header->marks[0].position = 3;
  EXPECT_NE(refusal(), "");
  header->marks[0].position = 8;
  EXPECT_EQ(refusal(), "");
  header->head = 16;  // Given back before it was read.
  EXPECT_NE(refusal(), "");
  header->head = 4;
  EXPECT_NE(refusal(), "");
  header->head = 0;
  header->marks[0].position = (1 << 12) + 8;
  EXPECT_NE(refusal(), "");
  header->marks[0].position = 0;
  header->magic[0] = 'x';
  EXPECT_EQ(refusal(), "no ring of pagetape");
}

}  // namespace
}  // namespace pagetape
