// SPDX-License-Identifier: Apache-2.0
#include "capture/recorder.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/replay/replay_fixture.h"

namespace pagetape {
namespace {

// Keeps events; can be held up, and can fail.
class TestWriter final : public Writer {
 public:
  struct Shared {
    std::mutex gate;  // Held: the disk is slow.
    std::vector<Event> events;
    std::uint64_t room = ~std::uint64_t{0};  // Events that fit on the disk.
    bool closed = false;
  };
  explicit TestWriter(Shared& shared) : shared_(shared) {}

  Status add(const Event& event) override {
    const std::lock_guard hold(shared_.gate);
    if (shared_.events.size() >= shared_.room) return system_error("x.ptape: no space left");
    shared_.events.push_back(event);
    return {};
  }
  Status add_keyframe(std::string_view, std::uint64_t) override { return {}; }
  Status flush() override { return {}; }
  Status close() override {
    shared_.closed = true;
    return {};
  }
  std::uint64_t events() const override { return shared_.events.size(); }
  std::uint64_t bytes() const override { return shared_.events.size(); }

 private:
  Shared& shared_;
};

std::unique_ptr<Recorder> recorder_to(TestWriter::Shared& shared, std::size_t bytes, bool block) {
  RecorderOptions options;
  options.buffer_bytes = bytes;
  options.block = block;
  return std::make_unique<Recorder>(options, std::make_unique<Names>(),
                                    std::make_unique<TestWriter>(shared));
}

Record step(std::int64_t number, ptape_name mode) {
  Record record;
  record.kind = kKindOf<ev::Step>;
  record.set_names(mode);
  record.set_ints(number, std::int64_t{0});
  return record;
}

TEST(Recorder, EachThreadsEventsStandInItsOrderAndNoneIsLost) {
  TestWriter::Shared shared;
  auto recorder = recorder_to(shared, 1 << 14, true);
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const ptape_name mine = recorder->intern("thread " + std::to_string(t));
      for (std::int64_t i = 0; i < 2000; ++i) {
        Record record = step(i, mine);
        ASSERT_EQ(recorder->append(record), PTAPE_OK);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(recorder->close().ok());
  ASSERT_EQ(shared.events.size(), 8001u);
  std::vector<std::int64_t> next(8, 0);
  for (const Event& event : shared.events) {
    if (const auto* one = std::get_if<ev::Step>(&event.body)) {
      EXPECT_EQ(one->step, next[raw(one->mode)]++);
    }
  }
  EXPECT_EQ(shared.events.back().body, EventBody(ev::End{}));
  EXPECT_TRUE(shared.closed);
}

TEST(Recorder, NamesThatAreForgottenAreNotKept) {
  TestWriter::Shared shared;
  auto recorder = recorder_to(shared, 1 << 14, true);
  const ptape_name run = recorder->intern("run");
  const auto requests = [&](int n) {
    for (int i = 0; i < n; ++i) {
      const ptape_name mine = recorder->intern("r" + std::to_string(i));
      Record record;
      record.kind = kKindOf<ev::Request>;
      record.set_names(mine, run);
      ASSERT_EQ(recorder->append(record), PTAPE_OK);
      recorder->forget(mine);
    }
  };
  requests(500);
  EXPECT_EQ(recorder->names(), 1u);
  requests(5'000);
  EXPECT_EQ(recorder->names(), 1u);
  ASSERT_TRUE(recorder->close().ok());
  EXPECT_EQ(recorder->counts().malformed, 0u);
  EXPECT_EQ(shared.events.size(), 5'501u);  // And `end`.
}

TEST(Recorder, WhatFindsNoRoomIsCountedAndSaidWhereItIsMissing) {
  TestWriter::Shared shared;
  auto recorder = recorder_to(shared, 1 << 12, false);
  const ptape_name mode = recorder->intern("decode");
  std::uint64_t taken = 0, dropped = 0;
  {
    const std::lock_guard slow(shared.gate);
    while (dropped < 10) {
      Record record = step(static_cast<std::int64_t>(taken + dropped), mode);
      record.t = static_cast<std::int64_t>(taken + dropped);
      (recorder->append(record) == PTAPE_OK ? taken : dropped) += 1;
    }
  }
  ASSERT_TRUE(recorder->flush().ok());
  Record record = step(1'000'000, mode);
  ASSERT_EQ(recorder->append(record), PTAPE_OK);
  ASSERT_TRUE(recorder->close().ok());
  EXPECT_EQ(recorder->counts().dropped, dropped);
  std::int64_t said = 0;  // The writer's thread may take its first batch between two losses.
  OptInt last;
  for (const Event& event : shared.events) {
    if (const auto* gap = std::get_if<ev::Dropped>(&event.body)) {
      said += gap->events;
      last = gap->to_t;
    }
  }
  EXPECT_EQ(said, static_cast<std::int64_t>(dropped));
  EXPECT_EQ(last, OptInt(static_cast<std::int64_t>(taken + dropped - 1)));
  EXPECT_EQ(shared.events[shared.events.size() - 3].kind(), kKindOf<ev::Dropped>);
  EXPECT_EQ(std::get<ev::Step>(shared.events[shared.events.size() - 2].body).step, 1'000'000);
}

TEST(Recorder, LossesAtTheVeryEndAreSaidToo) {
  TestWriter::Shared shared;
  auto recorder = recorder_to(shared, 1 << 12, false);
  const ptape_name mode = recorder->intern("decode");
  {
    const std::lock_guard slow(shared.gate);
    Record record = step(0, mode);
    while (recorder->append(record) == PTAPE_OK) {
    }
  }
  ASSERT_TRUE(recorder->close().ok());
  ASSERT_GE(shared.events.size(), 2u);
  EXPECT_EQ(std::get<ev::Dropped>(shared.events[shared.events.size() - 2].body).events, 1);
}

TEST(Recorder, AFullDiskEndsTheWritingAndNotTheCounting) {
  TestWriter::Shared shared;
  shared.room = 3;
  auto recorder = recorder_to(shared, 1 << 12, true);
  const ptape_name mode = recorder->intern("decode");
  for (int i = 0; i < 5; ++i) {
    Record record = step(i, mode);
    ASSERT_EQ(recorder->append(record), PTAPE_OK);
  }
  EXPECT_FALSE(recorder->flush().ok());
  Record record = step(9, mode);
  EXPECT_EQ(recorder->append(record), PTAPE_E_WRITE);
  EXPECT_EQ(recorder->last_error(), "x.ptape: no space left");
  EXPECT_FALSE(recorder->close().ok());
  EXPECT_EQ(recorder->counts().events, 5u);
  EXPECT_EQ(recorder->counts().dropped, 3u);  // The fourth, the fifth, and the one refused.
  EXPECT_EQ(shared.events.size(), 3u);
}

TEST(Recorder, AnEventLargerThanTheBufferIsRefused) {
  TestWriter::Shared shared;
  auto recorder = recorder_to(shared, 1 << 12, true);
  Record record;
  record.kind = kKindOf<ev::Alloc>;
  EXPECT_EQ(recorder->append(record, 1 << 12, [](char*) {}), PTAPE_E_ARGUMENT);
}

TEST(Recorder, AForkedChildRecordsNothingAndHarmsNothing) {
  TestWriter::Shared shared;
  auto recorder = recorder_to(shared, 1 << 20, true);
  Record record = step(1, 0);
  std::uint64_t position = 0;
  const auto nothing = [](char*) {};
  ASSERT_EQ(recorder->append(record, 0, nothing, &position), PTAPE_OK);
  const pid_t child = fork();
  if (child == 0) {
    bool good = recorder->append(record) == PTAPE_OK && recorder->intern("x") == 0;
    good = good && !recorder->append_behind(position, record, 0, nothing, position);
    good = good && recorder->flush().ok() && recorder->close().ok();
    good = good && recorder->last_error().find("forked") != std::string::npos;
    recorder.reset();
    _exit(good ? 0 : 1);
  }
  int status = 1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  ASSERT_EQ(recorder->append(record), PTAPE_OK);
  ASSERT_TRUE(recorder->close().ok());
  EXPECT_EQ(shared.events.size(), 3u);
}

TEST(Recorder, ARecordRefersOnlySoFarBack) {
  TestWriter::Shared shared;
  const auto recorder = recorder_to(shared, 1 << 20, true);
  std::uint64_t earlier = 0, position = 0;
  Record record = step(1, 0);
  const auto nothing = [](char*) {};
  ASSERT_EQ(recorder->append(record, 0, nothing, &earlier), PTAPE_OK);
  EXPECT_TRUE(recorder->append_behind(earlier, record, 0, nothing, position));
  while (position + 2 * record_bytes(record, 0) < earlier + ring_kept(1 << 20)) {
    ASSERT_EQ(recorder->append(record, 0, nothing, &position), PTAPE_OK);
  }
  EXPECT_TRUE(recorder->append_behind(earlier, record, 0, nothing, position));
  EXPECT_LE(position, earlier + ring_kept(1 << 20));
  const std::uint64_t events = 1 + (position - earlier) / (8 + record_bytes(record, 0));
  for (int i = 0; i < 3; ++i) ASSERT_EQ(recorder->append(record), PTAPE_OK);
  EXPECT_FALSE(recorder->append_behind(earlier, record, 0, nothing, position));
  ASSERT_TRUE(recorder->close().ok());
  EXPECT_EQ(shared.events.size(), events + 3 + 1);  // And `end`.
}

// As an engine writes under a collector, which here is this test.
class SharedRecorder : public testing::Test {
 protected:
  std::unique_ptr<Recorder> open(bool block) {
    Status status;
    auto ring = RingFile::create(folder_.file(""), kBytes, 2, status);
    EXPECT_NE(ring, nullptr) << status.message();
    memory_ = ring->memory();
    RecorderOptions options;
    options.rank = 2;
    options.block = block;
    return std::make_unique<Recorder>(options, std::move(ring));
  }
  std::unique_ptr<Drain> drain(TestWriter::Shared& shared) {
    return std::make_unique<Drain>(memory_, std::make_unique<Names>(),
                                   std::make_unique<TestWriter>(shared), nullptr, nullptr,
                                   DrainOptions{});
  }
  static constexpr std::size_t kBytes = 1 << 12;
  ScratchFolder folder_;
  void* memory_ = nullptr;
};

TEST_F(SharedRecorder, WhatACallReturnedFromIsInTheRing) {
  TestWriter::Shared shared;
  auto recorder = open(false);
  Record record = step(7, recorder->intern("decode"));
  ASSERT_EQ(recorder->append(record), PTAPE_OK);
  const auto drained = drain(shared);
  drained->serve();
  ASSERT_EQ(shared.events.size(), 1u);
  EXPECT_EQ(recorder->counts().events, 1u);
}

TEST_F(SharedRecorder, ACollectorThatStandsStillIsNotWaitedForLong) {
  auto recorder = open(true);
  Record record = step(7, 0);
  int error = PTAPE_OK;
  while (error == PTAPE_OK) error = recorder->append(record);
  EXPECT_EQ(error, PTAPE_E_DROPPED);
  EXPECT_FALSE(recorder->flush().ok());
}

TEST_F(SharedRecorder, NamesThatFoundNoRoomAreSaidBeforeTheyAreUsed) {
  TestWriter::Shared shared;
  auto recorder = open(false);
  Record record = step(1, 0);
  while (recorder->append(record) == PTAPE_OK) {
  }
  const ptape_name late = recorder->intern("late");
  const auto drained = drain(shared);
  drained->serve();
  Record after = step(2, late);
  ASSERT_EQ(recorder->append(after), PTAPE_OK);
  drained->serve();
  ASSERT_GE(shared.events.size(), 2u);
  EXPECT_EQ(std::get<ev::Step>(shared.events.back().body).mode, Name{1});
  EXPECT_EQ(shared.events[shared.events.size() - 2].kind(), kKindOf<ev::Dropped>);
  EXPECT_EQ(drained->header().malformed, 0u);
}

}  // namespace
}  // namespace pagetape
