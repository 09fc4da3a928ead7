// SPDX-License-Identifier: Apache-2.0
#include "traces/event.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
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

ev::Rows two_lanes() {
  ev::Rows rows;
  ev::SlotLanes& lanes = rows.renew_slot_lanes();
  lanes.reqs = {Name{1}, kNone};
  lanes.runs = {{SlotId{8}, 3}, {SlotId{-4}, 1}};
  lanes.ends = {2, 2};
  return rows;
}

TEST(Rows, LanesOfSlotsAreAListWhenOneIsAskedFor) {
  const ev::Rows rows = two_lanes();
  EXPECT_EQ(rows.size(), 2U);
  std::vector<ev::Row> list(2);
  list[0].req = Name{1};
  list[0].slots = Slots{SlotId{8}, SlotId{9}, SlotId{10}, SlotId{-4}};
  list[1].slots.emplace();
  EXPECT_EQ(rows.list(), list);
  EXPECT_EQ(rows, ev::Rows(list));
  EXPECT_NE(rows.slot_lanes(), nullptr);
  EXPECT_FALSE(rows.by_row());
}

TEST(Rows, WhoeverChangesLanesHasAListOfHisOwn) {
  ev::Rows rows = two_lanes();
  const ev::Rows copy = rows;
  rows.edit()[0].req = Name{2};
  EXPECT_EQ(rows.slot_lanes(), nullptr);
  EXPECT_EQ(rows[0].slots->size(), 4U);
  EXPECT_EQ(copy[0].req, Name{1});
  EXPECT_NE(copy.slot_lanes(), nullptr);
  ev::Rows alone = two_lanes();
  alone.edit().pop_back();
  EXPECT_EQ(alone.size(), 1U);
  alone.renew_slot_lanes().reqs.clear();
  EXPECT_TRUE(alone.empty());
}

TEST(Rows, ByRowIsAskedAnewOfAListThatWasChanged) {
  ev::Row row;
  row.row = 3;
  ev::Rows rows{row, row};
  EXPECT_TRUE(rows.by_row());
  rows.edit()[1].len = 9;
  EXPECT_FALSE(rows.by_row());
  rows.renew().assign(1, row);
  EXPECT_TRUE(rows.by_row());
  EXPECT_FALSE(ev::Rows().by_row());
}

TEST(Rows, SeveralThreadsMayAskForTheListOfCopies) {
  for (int round = 0; round < 50; ++round) {
    const ev::Rows rows = two_lanes();
    std::vector<std::thread> threads;
    std::atomic<std::size_t> slots{0};
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([copy = rows, &slots] { slots += copy.list()[0].slots->size(); });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(slots, 16U);
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
