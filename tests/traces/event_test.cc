// SPDX-License-Identifier: Apache-2.0
#include "traces/event.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/traces/trace_fixture.h"

namespace pagetape {
namespace {

class EventTest : public testing::Test {
 protected:
  Names names_;
  const std::vector<Event> events_ = sample_events(names_);
};

TEST_F(EventTest, BodyIsCopiedAndMovedOverEachKind) {
  const EventBody fresh;
  for (const Event& event : events_) {
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
      EventBody copy, moved;
      ASSERT_TRUE(emplace_kind(copy, kind, [](auto&) {}));
      ASSERT_TRUE(emplace_kind(moved, kind, [](auto&) {}));
      copy = event.body;
      EXPECT_EQ(copy, event.body);
      moved = std::move(copy);
      EXPECT_EQ(moved, event.body);
      EXPECT_EQ(moved.index(), event.kind());
    }
    EventBody copy(event.body);
    const EventBody moved(std::move(copy));
    EXPECT_EQ(moved, event.body);
  }
  EXPECT_EQ(fresh, EventBody(ev::Header{}));
}

TEST_F(EventTest, BodiesOfWhichAnythingDiffersAreNotEqual) {
  for (std::size_t i = 0; i < events_.size(); ++i) {
    for (std::size_t k = 0; k < events_.size(); ++k) {
      EXPECT_EQ(events_[i].body == events_[k].body, i == k) << i << ' ' << k;
    }
  }
}

TEST_F(EventTest, KindsAreFoundByName) {
  for (std::size_t kind = 0; kind < kKinds; ++kind) EXPECT_EQ(kind_named(kKindNames[kind]), kind);
  EXPECT_EQ(kind_named("no_kind"), kKinds);
  EXPECT_EQ(kKindOf<ev::End>, kKinds - 1);
  EXPECT_EQ(EventBody(ev::End{}).index(), kKindOf<ev::End>);
  EventBody body;
  EXPECT_FALSE(emplace_kind(body, kKinds, [](auto&) {}));
}

}  // namespace
}  // namespace pagetape
