// SPDX-License-Identifier: Apache-2.0
#include "verify/trace_parts.h"

#include <gtest/gtest.h>

#include "tests/verify/parts_fixture.h"

namespace pagetape {
namespace {

class TraceParts : public TracesInParts {
 protected:
  void SetUp() override {
    synth("none", path_);
    Names names;
    Status status;
    const auto reader = Reader::open(path_, names, status);
    ASSERT_NE(reader, nullptr) << status.message();
    keyframes_ = reader->keyframes();
    events_ = reader->events();
  }

  std::vector<KeyframeInfo> keyframes_;
  EventIndex events_ = 0;
};

TEST_F(TraceParts, AreOneWhereThereAreNoKeyframes) {
  const std::vector<TracePart> parts = trace_parts({}, events_, 8);
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_FALSE(parts[0].from);
  EXPECT_EQ(parts[0].end, kNever);
}

TEST_F(TraceParts, FollowOnEachOtherFromTheBeginningToTheEnd) {
  for (const std::size_t most : {1, 2, 3, 100}) {
    const std::vector<TracePart> parts = trace_parts(keyframes_, events_, most);
    EXPECT_GT(parts.size(), 1u);
    EXPECT_LE(parts.size(), 1 + std::min(most, keyframes_.size()));
    EXPECT_FALSE(parts[0].from);
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      ASSERT_TRUE(parts[i + 1].from);
      EXPECT_EQ(parts[i].end, parts[i + 1].from->event);
    }
    EXPECT_EQ(parts.back().end, kNever);
  }
}

TEST_F(TraceParts, GoneThroughOneByOneAreTheWholeTrace) {
  std::uint64_t digest = 0, events = 0;
  for (const TracePart& part : trace_parts(keyframes_, events_, 3)) {
    Names names;
    State state(names);
    EventIndex next = part.from ? part.from->event : 0;
    const Passage passage =
        go_through(path_, part, names, state, [&](const Event& event, EventIndex index) {
          EXPECT_EQ(index, next++);
          return state.apply(event);
        });
    EXPECT_TRUE(passage.good);
    EXPECT_FALSE(passage.skipped);
    EXPECT_EQ(passage.digest_before, digest);
    digest = state.digest();
    events += passage.events;
  }
  EXPECT_EQ(events, events_);
}

TEST_F(TraceParts, OfAFileThatIsNotThereAreNotGood) {
  Names names;
  State state(names);
  const auto apply = [&](const Event& event, EventIndex) { return state.apply(event); };
  EXPECT_FALSE(go_through(folder_.file("none"), {}, names, state, apply).good);
  EXPECT_FALSE(
      go_through(folder_.file("s"), {.from = keyframes_[0], .end = kNever}, names, state, apply)
          .good)
      << "another file has no keyframe there";
}

}  // namespace
}  // namespace pagetape
