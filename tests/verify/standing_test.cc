// SPDX-License-Identifier: Apache-2.0
// judge_launch_test holds that no finding is lost by it; here, what it forgets and what it keeps.
#include "verify/standing.h"

#include <gtest/gtest.h>

namespace pagetape {
namespace {

constexpr Name kA{1}, kB{2};

class StandingTest : public testing::Test {
 protected:
  StandingTest() {
    give(here_, kA, 1);
    give(here_, kB, 2);
    give(from_, kA, 3);
    give(from_, kB, 4);
    begin();
    standing_.set(0, lane(kA));
    standing_.set(1, lane(kB));
  }
  static void give(Space& space, Name owner, std::int32_t page) {
    space.give(PageId{page}, owner, 0, 1, true);
  }
  void begin(std::int64_t cols = 8) { standing_.begin(cols, table_, here_, &from_, front_); }
  Standing::Lane lane(Name req) const {
    Standing::Lane lane;
    lane.page = 1;
    lane.end = 5;
    lane.req = req;
    lane.holder = here_.holder_index(req);
    lane.from_holder = from_.holder_index(req);
    return lane;
  }
  // The rows that are known at the next launch.
  std::string known() {
    begin();
    std::string rows;
    for (std::size_t row = 0; row < standing_.size(); ++row) {
      if (standing_.rows()[row].page != Standing::kUnknown) rows += std::to_string(row);
    }
    return rows;
  }

  BufferState table_;
  Space here_, from_;
  Standing standing_;
  std::uint64_t front_ = 0;
};

TEST_F(StandingTest, WhatIsNotTouchedIsKept) {
  EXPECT_EQ(known(), "01");
  EXPECT_EQ(known(), "01");
}

TEST_F(StandingTest, ATouchedRowIsForgottenAndNoOther) {
  table_.touched.touch(1);
  EXPECT_EQ(known(), "0");
  table_.touched.touch(1000000);  // Beyond the rows that are kept.
  EXPECT_EQ(known(), "0");
  table_.touched.touch_all();
  EXPECT_EQ(known(), "");
}

TEST_F(StandingTest, SoAreTheRowsOfATouchedHolder) {
  give(here_, kB, 7);
  EXPECT_EQ(known(), "0");
  give(from_, kA, 8);
  EXPECT_EQ(known(), "");
}

TEST_F(StandingTest, AMapsEntryIsHeardOfWhereItLeadsFrom) {
  Space::MapTouches(here_).touch(PageId{1});
  EXPECT_EQ(known(), "01");
  Space::MapTouches(from_).touch(PageId{3});
  EXPECT_EQ(known(), "1");
}

TEST_F(StandingTest, OfTwoRowsOfOneHolderTheLastIsKnown) {
  standing_.set(2, lane(kA));
  EXPECT_EQ(known(), "12");
  give(here_, kA, 9);
  EXPECT_EQ(known(), "1");
}

TEST_F(StandingTest, ATableTooNarrowForALaneKnowsNothing) {
  begin(5);
  EXPECT_EQ(known(), "01");
  begin(4);
  EXPECT_EQ(known(), "");
}

TEST_F(StandingTest, NorDoesOneWhoseColumnsAreNoLongerSaid) {
  begin(-1);
  standing_.set(0, lane(kA));
  begin(-1);
  EXPECT_EQ(standing_.rows()[0].page, 1U);
  EXPECT_EQ(known(), "");
}

TEST_F(StandingTest, ALaneIsTheOneThatSaysTheSame) {
  const Standing::Lane known = lane(kA);
  Lane same;
  same.req = kA;
  EXPECT_TRUE(known.like(same));
  for (std::int64_t Lane::*member : {&Lane::q_len, &Lane::first, &Lane::entries}) {
    Lane other = same;
    ++(other.*member);
    EXPECT_FALSE(known.like(other));
  }
  same.req = kB;
  EXPECT_FALSE(known.like(same));
}

TEST_F(StandingTest, WhoeverWasAwayTooLongKnowsNothing) {
  for (std::int32_t page = 10; page < 210; ++page) {
    give(here_, kA, page);
    give(here_, Name{static_cast<std::uint32_t>(page)}, page + 300);
  }
  EXPECT_EQ(known(), "");
}

TEST_F(StandingTest, AHolderBeyondAllMeasureIsNotKnown) {
  Standing::Lane far = lane(kA);
  far.holder = 1U << 30;
  standing_.set(3, far);
  EXPECT_EQ(known().find('3'), std::string::npos);
}

TEST_F(StandingTest, WhatAFrontMadeWholeGoesWithIt) {
  front_ = 7;
  begin();
  Standing::Lane whole = lane(kA);
  whole.by_front = true;
  standing_.set(0, whole);
  EXPECT_EQ(known(), "01");
  front_ = 0;  // A launch of other layers.
  EXPECT_EQ(known(), "1");
  front_ = 7;
  EXPECT_EQ(known(), "1") << "it is not known again by itself";
}

}  // namespace
}  // namespace pagetape
