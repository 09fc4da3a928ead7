// SPDX-License-Identifier: Apache-2.0
#include "gui/app/comparison.h"

#include "tests/gui/gui_fixture.h"

namespace pagetape {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ComparisonTest = GuiTest;

bool go_on(const std::string&, EventIndex) { return true; }

TEST(AlignmentTest, PairsStandSideBySideAndWhatLiesBetweenInProportion) {
  Alignment alignment(100, 200);
  alignment.add(10, 40);
  alignment.add(50, 60);
  alignment.finish();
  EXPECT_DOUBLE_EQ(alignment.to_second(10), 40);
  EXPECT_DOUBLE_EQ(alignment.to_first(60), 50);
  EXPECT_DOUBLE_EQ(alignment.to_second(30), 50);
  EXPECT_DOUBLE_EQ(alignment.to_first(50), 30);
  EXPECT_DOUBLE_EQ(alignment.to_first(0), 0);
  EXPECT_DOUBLE_EQ(alignment.to_first(200), 100);
  EXPECT_DOUBLE_EQ(alignment.to_second(75), 130);
}

TEST(AlignmentTest, WhatWasDoneInAnotherOrderDoesNotBendTheAxisBack) {
  Alignment alignment(100, 100);
  for (EventIndex at = 1; at < 100; ++at) alignment.add(at, at == 50 ? 3 : at);
  alignment.finish();
  EXPECT_EQ(alignment.pairs(), 100U) << "but for that one, with both ends";
  double before = 0;
  for (double at = 0; at <= 100; at += 0.5) {
    EXPECT_GE(alignment.to_second(at), before);
    before = alignment.to_second(at);
    EXPECT_NEAR(alignment.to_first(before), at, 1e-9);
  }
}

TEST_F(ComparisonTest, ATraceWithItselfIsTheSameEverywhere) {
  synth("stale-swa");
  const auto made = compare(path_, path_, go_on);
  ASSERT_TRUE(made->report.status.ok()) << made->report.status.message();
  EXPECT_TRUE(made->differing.empty());
  ASSERT_NE(made->other, nullptr);
  const auto own = open();
  EXPECT_EQ(made->other->index.events, own->index.events);
  for (EventIndex at = 0; at < own->index.events; at += 7) {
    EXPECT_NEAR(made->alignment.to_first(static_cast<double>(at)), static_cast<double>(at), 1e-6);
  }
  ASSERT_EQ(made->other->index.backends.size(), own->index.backends.size());
  for (std::size_t b = 0; b < own->index.backends.size(); ++b) {
    const BackendLane &here = own->index.backends[b], &there = made->other->index.backends[b];
    EXPECT_EQ(there.launches.total(), here.launches.total());
    for (EventIndex at = 0; at < own->index.events; ++at) {
      EXPECT_EQ(there.swa.at(at).flagged, here.swa.at(at).flagged) << at;
    }
  }
}

TEST_F(ComparisonTest, TheRepairedRunIsComparedWithTheCrash) {
  synth("stale-swa");
  synth("none", other_);
  Viewer viewer(open());
  EXPECT_FALSE(viewer.run("compare"));
  EXPECT_FALSE(viewer.run("next-difference"));
  ASSERT_TRUE(viewer.compare_with(other_));
  ASSERT_TRUE(viewer.run("wait"));
  ASSERT_NE(viewer.comparison(), nullptr);
  ASSERT_TRUE(viewer.comparison()->report.status.ok())
      << viewer.comparison()->report.status.message();
  ASSERT_GT(viewer.comparison()->report.total, 0U);
  std::string text;
  for (const Line& line : viewer.compared_block().lines) text += text_of(line) + '\n';
  EXPECT_THAT(text, HasSubstr("steps of requests differ"));
  EXPECT_THAT(text, HasSubstr("there  event"));
  std::vector<std::string> names;
  for (const LaneView& lane : viewer.lanes()) names.push_back(lane.name);
  EXPECT_THAT(names, Contains("other draft pool bound"));
  ASSERT_TRUE(viewer.run("next-difference"));
  EXPECT_EQ(viewer.selected(), viewer.comparison()->differing.front());
  EXPECT_EQ(viewer.differing().at(viewer.selected()).value, 1U) << "its step is shaded";
  EXPECT_EQ(viewer.pane(), LowPane::kCompare);
  ASSERT_TRUE(viewer.run("compare"));
  EXPECT_EQ(viewer.pane(), LowPane::kTable);
}

TEST_F(ComparisonTest, WhatCannotBeComparedSaysWhyAndWhatIsStoppedEnds) {
  synth("none");
  EXPECT_FALSE(compare(path_, path_ + ".nowhere", go_on)->report.status.ok());
  const auto stopped = compare(path_, path_, [](const std::string&, EventIndex) { return false; });
  EXPECT_FALSE(stopped->report.status.ok());
}

TEST(DifferingStepsTest, AStepIsMarkedAsAWholeAndOnce) {
  TraceIndex index;
  index.events = 100;
  index.steps = {{.event = 10, .step = 0}, {.event = 40, .step = 1}, {.event = 70, .step = 2}};
  const Track track = differing_steps({45, 46, 75}, index);
  EXPECT_EQ(track.at(20).value, 0U);
  EXPECT_EQ(track.at(40).value, 1U);
  EXPECT_EQ(track.at(99).value, 1U);
  const Track one = differing_steps({12}, index);
  EXPECT_EQ(one.at(5).value, 0U);
  EXPECT_EQ(one.at(39).value, 1U);
  EXPECT_EQ(one.at(40).value, 0U);
}

}  // namespace
}  // namespace pagetape
