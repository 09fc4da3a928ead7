// SPDX-License-Identifier: Apache-2.0
#include "capture/drain.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstring>
#include <numeric>
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

// Launches of three layers with the same lanes, which the first one's record holds.
class LanesOnce : public DrainTest {
 protected:
  LanesOnce() {
    len_.resize(kLanes);
    row_.resize(kLanes);
    std::iota(row_.begin(), row_.end(), 0);
    lanes_.size = sizeof(lanes_);
    lanes_.n_lanes = kLanes;
    lanes_.len = len_.data();
    lanes_.row = row_.data();
    launch_.size = sizeof(launch_);
    launch_.bound_pages = launch_.bound_ptr = launch_.window = launch_.page_size =
        launch_.table_rows = launch_.table_cols = PTAPE_ABSENT;
    launch_.backend = launch_.table = 1;
    launch_.layers = &layer_;
    launch_.n_layers = 1;
  }
  // Of lengths that begin with `first`; those of the launch at `earlier` where it is none of them.
  std::uint64_t launch(std::int32_t layer, std::int64_t first, std::uint64_t earlier = kNoPlace) {
    layer_ = layer;
    for (std::size_t i = 0; i < kLanes; ++i) len_[i] = first + static_cast<std::int64_t>(i * i);
    Record record;
    record.kind = kKindOf<ev::Attention>;
    record.n = kLanes;
    const LanesPlan plan = plan_lanes(lanes_).value();
    record.flag = plan.flag;
    std::size_t bytes = launch_head_bytes(launch_).value();
    if (earlier != kNoPlace) {
      record.flag = kLanesEarlier;
      record.set_ints(static_cast<std::int64_t>(earlier));
    } else {
      bytes += plan.bytes;
    }
    const RingClaim claim = writer_.claim(record_bytes(record, bytes));
    char* to = write_launch_head(write_record(claim.payload, record), launch_);
    if (earlier == kNoPlace) write_lanes(to, lanes_, plan.flag);
    writer_.commit(claim);
    return claim.position;
  }
  // A line of the trace: its layer, the first lane's length and how many lanes there are.
  static std::string brief(const std::string& line) {
    const auto number = [&](std::string_view name) {
      const std::size_t at = line.find(name);
      return at == line.npos ? "none" : std::to_string(std::stoi(line.substr(at + name.size())));
    };
    std::size_t n = 0;
    for (std::size_t at = 0; (at = line.find("\"len\"", at)) != line.npos; ++at) ++n;
    return number("\"layer\": ") + "/" + number("\"len\": ") + "/" + std::to_string(n);
  }
  std::vector<std::string> briefs() const {
    std::vector<std::string> all;
    for (const std::string& line : trace()) all.push_back(brief(line));
    return all;
  }

  static constexpr std::size_t kLanes = 17;
  std::vector<std::int64_t> len_, row_;
  std::int32_t layer_ = 0;
  ptape_lanes lanes_{};
  ptape_launch launch_{};
};

TEST_F(LanesOnce, OneWithoutSuchARecordIsCountedAndLeftOut) {
  const auto drained = drain();
  name(1, "b");
  const std::uint64_t first = launch(1, 10);
  launch(2, 10, first + 8);
  launch(3, 10, writer_.header().tail + (1 << 20));
  step(1, 0);
  launch(4, 10, writer_.header().tail);  // Itself.
  launch(5, 10, first);
  Record graph;
  graph.kind = kKindOf<ev::GraphLaunch>;
  graph.flag = kLanesEarlier;
  graph.set_names(ptape_name{1});
  graph.set_ints(static_cast<std::int64_t>(first));
  put(graph, "");
  while (drained->serve()) {
  }
  ASSERT_TRUE(drained->close().ok());
  EXPECT_EQ(drained->header().malformed, 4u);
  EXPECT_THAT(drained->error(), HasSubstr("lanes of no record before it"));
  EXPECT_THAT(briefs(), ElementsAre("1/10/17", "none/none/0", "5/10/17"));
}

// The file has the record that holds the lanes, the ring the launches that refer to it.
class LanesOfALargeRing : public LanesOnce {
 protected:
  LanesOfALargeRing() {
    memory_.assign(ring_bytes(kLarge) / 64, {});
    format_ring(memory_.data(), kLarge, -1);
    writer_ = RingWriter(memory_.data());
  }
  static constexpr std::size_t kLarge = 1 << 20;
};

TEST_F(LanesOfALargeRing, ALaunchHasTheLanesOfTheRecordThatItRefersTo) {
  const auto drained = drain();
  name(1, "b");
  // More of them than are remembered, so that some are looked up in the ring.
  std::vector<std::uint64_t> first;
  for (int i = 0; i < 6; ++i) first.push_back(launch(1, 10 * i));
  for (int i = 0; i < 6; ++i) launch(2, 7, first[static_cast<std::size_t>(i)]);
  launch(3, 7, first[0]);
  while (drained->serve()) {
  }
  ASSERT_TRUE(drained->close().ok());
  EXPECT_EQ(drained->error(), "");
  EXPECT_THAT(briefs(),
              ElementsAre("1/0/17", "1/10/17", "1/20/17", "1/30/17", "1/40/17", "1/50/17", "2/0/17",
                          "2/10/17", "2/20/17", "2/30/17", "2/40/17", "2/50/17", "3/0/17"));
}

TEST_F(LanesOfALargeRing, WhoReadsOnBehindADeadReaderHasThem) {
  std::vector<std::uint64_t> first;
  auto drained = drain(true);
  name(1, "b");
  const auto send = [&](int round) {
    first.push_back(launch(1, round));
    launch(2, round, first.back());
    drained->serve();
  };
  int round = 0;
  while (writer_.header().tail < 3 * kLarge) send(round++);
  drained->flush();
  const std::uint64_t last = first.back();
  for (int layer = 3; layer < 9; ++layer) launch(layer, 0, last);
  // The farthest that it may refer to.
  const std::uint64_t farthest =
      *std::ranges::lower_bound(first, writer_.header().tail.load() - ring_kept(kLarge));
  launch(9, 0, farthest);
  drained.reset();  // As one that died.

  const auto after = drain();
  after->resume({"b"}, 0);
  ASSERT_TRUE(after->close().ok());
  EXPECT_EQ(after->error(), "");
  const std::vector<std::string> got = briefs();
  ASSERT_EQ(got.size(), 7u);
  EXPECT_EQ(got[0], "3/" + std::to_string(round - 1) + "/17");
  const auto index = std::ranges::find(first, farthest) - first.begin();
  EXPECT_EQ(got[6], "9/" + std::to_string(index) + "/17");
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
