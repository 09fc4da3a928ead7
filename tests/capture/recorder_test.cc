// SPDX-License-Identifier: Apache-2.0
#include "capture/recorder.h"

#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

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

}  // namespace
}  // namespace pagetape
