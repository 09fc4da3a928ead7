// SPDX-License-Identifier: Apache-2.0
#include "capture/drain.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "tests/replay/replay_fixture.h"
#include "traces/reader.h"
#include "traces/text.h"

namespace pagetape {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class DrainTest : public testing::Test {
 protected:
  DrainTest() : memory_(ring_bytes(kBytes) / 64), writer_((format(), memory_.data())) {}

  static constexpr std::size_t kBytes = 1 << 14;
  struct alignas(64) Line {
    char bytes[64];
  };

  void format() { format_ring(memory_.data(), kBytes, -1); }

  std::uint64_t put(Record record, std::string_view payload = {}) {
    record.n = static_cast<std::uint32_t>(payload.size());
    const RingClaim claim = writer_.claim(record_bytes(record, payload.size()));
    std::ranges::copy(payload, write_record(claim.payload, record));
    writer_.commit(claim);
    return claim.position;
  }
  std::uint64_t line(std::string_view text) {
    Record record;
    record.kind = kJsonRecord;
    return put(record, text);
  }
  void name(std::int64_t id, std::string_view text) {
    Record record;
    record.kind = kNameRecord;
    record.set_ints(id);
    put(record, text);
  }
  void step(std::int64_t n, ptape_name mode) {
    Record record;
    record.kind = kKindOf<ev::Step>;
    record.set_names(mode);
    record.set_ints(n, std::int64_t{0});
    put(record);
  }
  void done(std::uint64_t launch) {
    Record record;
    record.kind = kKindOf<ev::LaunchDone>;
    record.set_ints(static_cast<std::int64_t>(launch));
    put(record);
  }
  std::unique_ptr<Drain> drain(bool durable = false, Companion* companion = nullptr,
                               bool behind = false) {
    auto names = std::make_unique<Names>();
    Status status;
    WriterOptions format;
    format.segment_events = 4;
    format.behind = behind;
    auto writer = create_trace(folder_.file("x.ptape"), *names, format, status);
    auto journal = durable ? Journal::create(folder_.file("x.journal"), "r", status) : nullptr;
    DrainOptions options;
    options.durable = durable;
    options.thread_lives = [](std::uint32_t) { return true; };
    return std::make_unique<Drain>(memory_.data(), std::move(names), std::move(writer),
                                   std::move(journal), companion, std::move(options));
  }
  std::vector<std::string> trace() const {
    Names names;
    Status status;
    const auto source = open_trace(folder_.file("x.ptape"), names, status);
    Event event;
    std::vector<std::string> lines;
    while (source != nullptr && source->next(event)) lines.push_back(print_event(event, names));
    return lines;
  }

  ScratchFolder folder_;
  std::vector<Line> memory_;
  RingWriter writer_;
};

TEST_F(DrainTest, WritesWhatIsCompleteAndSaysWhetherItEnded) {
  const auto drained = drain();
  name(1, "decode");
  step(1, 1);
  EXPECT_TRUE(drained->serve());
  EXPECT_FALSE(drained->serve());
  writer_.header().closed = 1;
  ASSERT_TRUE(drained->close().ok());
  EXPECT_THAT(trace(), ElementsAre(R"({"ev": "step", "step": 1, "mode": "decode", "batch": 0})",
                                   R"({"ev": "end"})"));
}

TEST_F(DrainTest, OfAProcessThatWasKilledTheTraceMerelyEnds) {
  const auto drained = drain();
  step(1, 0);
  (void)writer_.claim(64);
  step(2, 0);
  drained->serve();
  EXPECT_EQ(drained->events(), 1u);  // Its thread lives: what stands behind it waits.
  ASSERT_TRUE(drained->close().ok());
  EXPECT_EQ(drained->torn(), 1u);
  EXPECT_EQ(trace().size(), 2u);
}

TEST_F(DrainTest, WhatWasDroppedAndNotSaidIsSaidAtTheEnd) {
  const auto drained = drain();
  writer_.count_dropped();
  writer_.count_dropped();
  ASSERT_TRUE(drained->close().ok());
  EXPECT_THAT(trace(), ElementsAre(R"({"ev": "dropped", "events": 2})"));
}

TEST_F(DrainTest, ACompletionNamesTheEventOfItsLaunch) {
  const auto drained = drain();
  line(R"({"ev": "note", "text": "x"})");
  const std::uint64_t launch = line(R"({"ev": "store", "backend": "d", "layer": 1, "rows": []})");
  done(launch);
  done(launch + 8);
  drained->serve();
  ASSERT_TRUE(drained->close().ok());
  EXPECT_EQ(trace().back(), R"({"ev": "launch_done", "event": 1})");
  EXPECT_EQ(drained->header().malformed, 1u);
  EXPECT_THAT(drained->error(), HasSubstr("launch_done"));
}

TEST_F(DrainTest, ADurableRingKeepsWhatTheFileHasNot) {
  const auto drained = drain(true);
  for (int i = 0; i < 6; ++i) step(i, 0);
  drained->serve();
  RingReader after(memory_.data());
  EXPECT_EQ(after.mark().events, 4u);  // The segment that was full.
  RingReader::Item item;
  int left = 0;
  for (; after.next(item) == RingReader::Next::kRecord; ++left) after.pass(item);
  EXPECT_EQ(left, 2);
  drained->flush();
  EXPECT_EQ(RingReader(memory_.data()).mark().events, 6u);
}

TEST_F(DrainTest, ADurableRingKeepsWhatIsStillBeingWritten) {
  const auto drained = drain(true, nullptr, true);
  std::uint64_t sent = 0;
  for (int round = 0; round < 300; ++round) {
    for (int i = 0; i < 7; ++i) step(static_cast<std::int64_t>(sent++), 0);
    drained->serve();
    const RingMark mark = RingReader(memory_.data()).mark();
    Names names;
    Status status;
    const auto file = Reader::open(folder_.file("x.ptape"), names, status);
    Event event;
    std::uint64_t in_file = 0;
    while (file != nullptr && file->next(event)) ++in_file;
    ASSERT_LE(mark.events, in_file);
    // What the mark says is before it, the ring has behind it.
    RingReader after(memory_.data());
    RingReader::Item item;
    std::uint64_t left = 0;
    for (; after.next(item) == RingReader::Next::kRecord; ++left) after.pass(item);
    ASSERT_EQ(mark.events + left, sent);
  }
  drained->flush();
  EXPECT_EQ(RingReader(memory_.data()).mark().events, sent);
}

// A collector that died between writing a segment and marking it, and between a name's journal and
// its mark.
TEST_F(DrainTest, WhatTheTraceHasAlreadyIsNotWrittenTwice) {
  name(1, "decode");
  for (int i = 0; i < 5; ++i) step(i, 1);
  const auto drained = drain();
  drained->resume({"decode"}, 3);
  ASSERT_TRUE(drained->close().ok());
  EXPECT_THAT(trace(), ElementsAre(R"({"ev": "step", "step": 3, "mode": "decode", "batch": 0})",
                                   R"({"ev": "step", "step": 4, "mode": "decode", "batch": 0})"));
}

TEST_F(DrainTest, ACompletionOfALaunchBeforeTheMarkIsOneOfThoseThatTheTraceHas) {
  done(1 << 10);
  step(0, 0);
  step(1, 0);
  const auto drained = drain();
  drained->resume({}, 2);
  ASSERT_TRUE(drained->close().ok());
  EXPECT_THAT(trace(), ElementsAre(R"({"ev": "step", "step": 1, "batch": 0})"));
  EXPECT_EQ(drained->header().malformed, 0u);
}

TEST_F(DrainTest, ADamagedRingEndsTheTraceWhereItIs) {
  const auto drained = drain();
  step(1, 0);
  const std::uint64_t bad = writer_.claim(16).position;
  const std::uint64_t word = 7;
  std::memcpy(reinterpret_cast<char*>(memory_.data()) + kRingHeaderPage + bad, &word, sizeof(word));
  step(2, 0);
  drained->serve();
  EXPECT_TRUE(drained->failed());
  EXPECT_THAT(drained->error(), HasSubstr("the ring is damaged at its byte"));
  (void)drained->close();
  EXPECT_EQ(trace().size(), 1u);
}

TEST_F(DrainTest, ARecordThatIsNoneIsCountedAndLeftOut) {
  const auto drained = drain();
  const RingClaim claim = writer_.claim(8);
  writer_.commit(claim);
  name(7, "not the next");
  step(1, 0);
  ASSERT_TRUE(drained->close().ok());
  EXPECT_EQ(drained->header().malformed, 2u);
  EXPECT_EQ(trace().size(), 1u);
}

class EveryThird final : public Companion {
 public:
  std::optional<Keyframe> keyframe() override {
    return ++asked_ % 3 == 0 ? std::optional(Keyframe{"state", 1}) : std::nullopt;
  }
  void see(const Event&) override {}
  void restate(std::string_view, const std::function<void(const Event&)>&) override {}

 private:
  int asked_ = 0;
};

TEST_F(DrainTest, KeyframesStandWhereTheCompanionGivesThem) {
  EveryThird companion;
  const auto drained = drain(false, &companion);
  for (int i = 0; i < 7; ++i) step(i, 0);
  ASSERT_TRUE(drained->close().ok());
  Names names;
  Status status;
  const auto reader = Reader::open(folder_.file("x.ptape"), names, status);
  ASSERT_EQ(reader->keyframes().size(), 2u);
  EXPECT_EQ(reader->keyframes()[0].event, 2u);
  EXPECT_EQ(trace().size(), 7u);
}

}  // namespace
}  // namespace pagetape
