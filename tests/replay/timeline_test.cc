// SPDX-License-Identifier: Apache-2.0
// The state before an event is the same whichever way led there.
#include "replay/timeline.h"

#include <gtest/gtest.h>

#include "capture/sim/models.h"
#include "capture/sim/synth.h"
#include "replay/compact.h"
#include "tests/replay/replay_fixture.h"
#include "traces/reader.h"

namespace pagetape {
namespace {

// The digest before each event and at the end, going forward.
std::vector<std::uint64_t> digests_of(const std::string& path) {
  Names names;
  State state(names);
  std::vector<std::uint64_t> out{state.digest()};
  for (const Event& event : events_of(path, names)) {
    EXPECT_TRUE(state.apply(event).applied());
    out.push_back(state.digest());
  }
  return out;
}

std::unique_ptr<Timeline> opened(const std::string& path, Names& names,
                                 const TimelineOptions& options = {}) {
  Status status;
  std::unique_ptr<Timeline> timeline = Timeline::open(path, names, options, status);
  EXPECT_TRUE(timeline != nullptr) << status.message();
  return timeline;
}

// A short run of the simulated engine, in small segments: with keyframes or without, or as text.
class Synthetic {
 public:
  Synthetic() {
    sim::Config config;
    config.model = sim::find_model("tiny");
    config.requests = 8;
    config.steps = 40;
    EXPECT_EQ(sim::synthesize(config, text()).error, "");
    std::uint64_t keyframes = 0;
    EXPECT_TRUE(compact_trace(text(), bare(), {.segment_events = 40}, UINT64_MAX, keyframes).ok());
    EXPECT_TRUE(compact_trace(text(), whole(), {.segment_events = 40}, 250, keyframes).ok());
    EXPECT_GT(keyframes, 3u);
  }
  std::string text() const { return folder_.file("x.jsonl"); }
  std::string bare() const { return folder_.file("bare.ptape"); }
  std::string whole() const { return folder_.file("whole.ptape"); }
  const ScratchFolder& folder() const { return folder_; }

 private:
  ScratchFolder folder_;
};

const Synthetic& synthetic() {
  static const Synthetic all;
  return all;
}

// Random ways through the trace; each place is compared with the pass forward.
void wander(const std::string& path, const std::vector<std::uint64_t>& want, std::uint64_t seed,
            const TimelineOptions& options) {
  SCOPED_TRACE(path + ", seed " + std::to_string(seed));
  Names names;
  const std::unique_ptr<Timeline> timeline = opened(path, names, options);
  Dice dice(seed);
  const auto n = static_cast<std::int64_t>(want.size()) - 1;
  ASSERT_EQ(timeline->end(), want.size() - 1);
  for (int i = 0; i < 60; ++i) {
    const EventIndex at = timeline->at();
    switch (dice.below(4)) {
      case 0:
        ASSERT_EQ(timeline->step(), at < timeline->end());
        ASSERT_EQ(timeline->at(), std::min(at + 1, timeline->end()));
        break;
      case 1:
        for (std::int64_t k = dice.below(40); k >= 0; --k) timeline->back();
        break;
      case 2:
        ASSERT_EQ(timeline->back(), at > 0);
        ASSERT_EQ(timeline->at(), at > 0 ? at - 1 : 0);
        break;
      default:
        const auto to = static_cast<EventIndex>(dice.below(n + 1));
        ASSERT_TRUE(timeline->seek(to).ok());
        ASSERT_EQ(timeline->at(), to);
    }
    ASSERT_EQ(timeline->state().digest(), want[timeline->at()]) << "at " << timeline->at();
    ASSERT_EQ(timeline->event() == nullptr, timeline->at_end());
  }
  EXPECT_TRUE(timeline->status().ok());
}

TEST(Timeline, GivesTheStateOfAForwardRunWhicheverWayLedThere) {
  const std::vector<std::uint64_t> want = digests_of(synthetic().text());
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    for (const std::string& path : {synthetic().text(), synthetic().bare(), synthetic().whole()}) {
      wander(path, want, seed, {});
      wander(path, want, seed, {.memory = 0, .spacing = 50});
      wander(path, want, seed, {.memory = 100'000, .spacing = 200});
    }
  }
}

TEST(Timeline, StepsBackFromTheEndToTheBeginning) {
  const std::vector<std::uint64_t> want = digests_of(synthetic().text());
  Names names;
  const auto timeline = opened(synthetic().whole(), names);
  ASSERT_TRUE(timeline->seek(timeline->end()).ok());
  for (EventIndex at = timeline->end(); at-- > 0;) {
    ASSERT_TRUE(timeline->back());
    ASSERT_EQ(timeline->at(), at);
    if (at % 16 == 0) {
      ASSERT_EQ(timeline->state().digest(), want[at]) << at;
    }
  }
  EXPECT_FALSE(timeline->back());
}

TEST(Timeline, GivesTheEventsOfTheTrace) {
  Names names;
  const std::vector<Event> events = events_of(synthetic().text(), names);
  const auto timeline = opened(synthetic().bare(), names);
  for (const EventIndex at : {events.size() - 1, events.size() / 2, std::size_t{0}}) {
    ASSERT_TRUE(timeline->seek(at).ok());
    EXPECT_EQ(*timeline->event(), events[at]);
  }
}

TEST(Timeline, KeepsNoMoreThanItMay) {
  Names names;
  const auto timeline = opened(synthetic().bare(), names, {.memory = 100'000, .spacing = 20});
  ASSERT_TRUE(timeline->seek(timeline->end()).ok());
  EXPECT_GT(timeline->kept_bytes(), 0u);
  EXPECT_LE(timeline->kept_bytes(), 100'000u);
}

TEST(Timeline, HasNoEventBehindTheEnd) {
  Names names;
  const auto timeline = opened(synthetic().whole(), names);
  EXPECT_TRUE(timeline->seek(timeline->end()).ok());
  EXPECT_EQ(timeline->seek(timeline->end() + 1).code(), Code::kUsage);
  EXPECT_TRUE(timeline->at_end());
  EXPECT_FALSE(timeline->step());
}

class KindWatch final : public Watch {
 public:
  explicit KindWatch(std::size_t kind) : kind_(kind) {}
  void on_event(const World&, const Event& event, EventIndex) override {
    met_ = event.kind() == kind_;
  }
  bool met() override { return std::exchange(met_, false); }

 private:
  std::size_t kind_;
  bool met_ = false;
};

TEST(Timeline, RunsToWhatIsLookedForBothWays) {
  Names names;
  const std::vector<Event> events = events_of(synthetic().text(), names);
  std::vector<EventIndex> steps;
  for (EventIndex i = 0; i < events.size(); ++i) {
    if (events[i].kind() == kKindOf<ev::Step>) steps.push_back(i);
  }
  ASSERT_GT(steps.size(), 3u);
  const auto timeline = opened(synthetic().whole(), names);
  KindWatch watch(kKindOf<ev::Step>);
  for (EventIndex step : steps) {
    ASSERT_TRUE(timeline->run_until(watch));
    ASSERT_EQ(timeline->at(), step);
  }
  EXPECT_FALSE(timeline->run_until(watch));
  EXPECT_TRUE(timeline->at_end());
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    ASSERT_TRUE(timeline->run_back_until(watch));
    ASSERT_EQ(timeline->at(), *step);
  }
  EXPECT_FALSE(timeline->run_back_until(watch));
  EXPECT_EQ(timeline->at(), 0u);
}

TEST(Timeline, EndsBeforeAnEventThatCannotApply) {
  const ScratchFolder folder;
  Names names;
  const auto timeline = opened(folder.write("x.jsonl", R"({"ev":"note","text":"a"}
{"ev":"alloc","pool":"F","req":"A","pages":[1]}
{"ev":"note","text":"b"}
)"),
                               names);
  EXPECT_FALSE(timeline->seek(3).ok());
  EXPECT_EQ(timeline->at(), 1u);
  EXPECT_TRUE(timeline->at_end());
  EXPECT_EQ(timeline->status().code(), Code::kUsage);
  EXPECT_NE(timeline->status().message().find("x.jsonl:2: event 1 (alloc)"), std::string::npos)
      << timeline->status().message();
  EXPECT_TRUE(timeline->back());
  EXPECT_TRUE(timeline->step());
  EXPECT_FALSE(timeline->step());
}

TEST(Timeline, EndsBeforeALineInError) {
  const ScratchFolder folder;
  Names names;
  const auto timeline = opened(
      folder.write("x.jsonl", "{\"ev\":\"note\",\"text\":\"a\"}\n{\"ev\":\"nope\"}\n"), names);
  EXPECT_EQ(timeline->end(), 1u);
  EXPECT_TRUE(timeline->step());
  EXPECT_FALSE(timeline->step());
  EXPECT_NE(timeline->status().message().find("nope"), std::string::npos);
}

// ---- damage ----

// A copy of the trace with a byte changed at an offset.
std::string with_damage(const std::string& path, const std::vector<std::uint64_t>& offsets) {
  std::ifstream in(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), {});
  for (std::uint64_t offset : offsets) bytes[offset] = static_cast<char>(bytes[offset] ^ 1);
  static int number = 0;
  return synthetic().folder().write("damaged" + std::to_string(++number) + ".ptape", bytes);
}

// The same digest at each place, forward and by seeks from the end; missing events are skipped.
void expect_one_state_each(const std::string& path) {
  Names names, other;
  const auto forward = opened(path, names);
  const auto seeking = opened(path, other);
  std::map<EventIndex, std::uint64_t> want;
  do {
    want[forward->at()] = forward->state().digest();
  } while (forward->step());
  want[forward->at()] = forward->state().digest();
  for (auto place = want.rbegin(); place != want.rend(); ++place) {
    ASSERT_TRUE(seeking->seek(place->first).ok());
    ASSERT_EQ(seeking->at(), place->first);
    ASSERT_EQ(seeking->state().digest(), place->second) << place->first;
  }
  ASSERT_TRUE(seeking->seek(want.rbegin()->first).ok());
  for (auto place = std::next(want.rbegin()); place != want.rend(); ++place) {
    ASSERT_TRUE(seeking->back());
    ASSERT_EQ(seeking->at(), place->first);
    ASSERT_EQ(seeking->state().digest(), place->second) << place->first;
  }
}

std::unique_ptr<Reader> read(const std::string& path, Names& names) {
  Status status;
  return Reader::open(path, names, status);
}

TEST(TimelineDamage, IsSurvivedAsAGapUpToTheNextKeyframe) {
  Names names;
  const auto reader = read(synthetic().whole(), names);
  const std::vector<KeyframeInfo>& keyframes = reader->keyframes();
  const std::vector<std::uint64_t> want = digests_of(synthetic().text());
  // The last segment before the second keyframe.
  const SegmentInfo* lost = nullptr;
  for (const SegmentInfo& segment : reader->segments()) {
    if (segment.first_event < keyframes[1].event) lost = &segment;
  }
  const std::string path = with_damage(synthetic().whole(), {lost->offset + 40});
  expect_one_state_each(path);
  Names other;
  const auto timeline = opened(path, other);
  ASSERT_TRUE(timeline->seek(lost->first_event + 1).ok());
  EXPECT_EQ(timeline->at(), lost->first_event + lost->events);
  EXPECT_EQ(timeline->status().code(), Code::kDamaged);
  EXPECT_EQ(timeline->state().digest(), want[timeline->at()]) << "the keyframe knows";
}

TEST(TimelineDamage, WithoutKeyframesIsAGapToTheEnd) {
  Names names;
  const auto reader = read(synthetic().bare(), names);
  const SegmentInfo& lost = reader->segments()[3];
  expect_one_state_each(with_damage(synthetic().bare(), {lost.offset + 40}));
}

TEST(TimelineDamage, OfTheFirstSegmentOrTheLastIsSurvived) {
  Names names;
  const auto reader = read(synthetic().whole(), names);
  expect_one_state_each(with_damage(synthetic().whole(), {reader->segments().front().offset + 40}));
  expect_one_state_each(with_damage(synthetic().whole(), {reader->segments().back().offset + 40}));
}

TEST(TimelineDamage, OfAKeyframeLeavesTheOneBefore) {
  const std::vector<std::uint64_t> want = digests_of(synthetic().text());
  Names names;
  const auto reader = read(synthetic().whole(), names);
  const KeyframeInfo keyframe = reader->keyframes()[2];
  const std::string path = with_damage(synthetic().whole(), {keyframe.offset + 40});
  Names other;
  const auto timeline = opened(path, other);
  ASSERT_TRUE(timeline->seek(keyframe.event + 3).ok());
  EXPECT_EQ(timeline->state().digest(), want[keyframe.event + 3]);
  EXPECT_FALSE(timeline->warnings().empty());
  expect_one_state_each(path);
}

}  // namespace
}  // namespace pagetape
