// SPDX-License-Identifier: Apache-2.0
#include "gui/app/lane_view.h"

#include "tests/gui/gui_fixture.h"

namespace pagetape {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;
using LaneViewTest = GuiTest;

std::vector<std::string> names_of(const std::vector<LaneView>& lanes) {
  std::vector<std::string> out;
  for (const LaneView& lane : lanes) out.push_back(lane.name);
  return out;
}

TEST_F(LaneViewTest, ATraceHasALaneForEachOfItsKindsOfThings) {
  synth("stale-swa");
  const auto trace = open();
  const auto names = names_of(lanes_of(trace->index, trace->names));
  EXPECT_EQ(names[0], "step");
  for (const char* name :
       {"findings", "draft launches", "draft pool bound", "draft swa_state", "requests"}) {
    EXPECT_THAT(names, Contains(name));
  }
  EXPECT_THAT(names, Not(Contains("errors")));
}

TEST_F(LaneViewTest, WhatIsPinnedComesFirstAndPassesTheFilter) {
  std::vector<LaneView> lanes(4);
  lanes[0].name = "step";
  lanes[1].name = "draft launches";
  lanes[2].name = "draft pool bound";
  lanes[3].name = "requests";
  LaneChoice choice;
  EXPECT_EQ(names_of(choice.of(lanes)), names_of(lanes));
  choice.pin("requests");
  EXPECT_THAT(names_of(choice.of(lanes)),
              ElementsAre("requests", "step", "draft launches", "draft pool bound"));
  choice.filter = "DRAFT";
  EXPECT_THAT(names_of(choice.of(lanes)),
              ElementsAre("requests", "draft launches", "draft pool bound"));
  EXPECT_TRUE(choice.of(lanes)[0].pinned);
  choice.hide("draft launches");
  EXPECT_THAT(names_of(choice.of(lanes)), ElementsAre("requests", "draft pool bound"));
  choice.pin("requests");
  choice.hide("draft launches");
  choice.filter.clear();
  EXPECT_EQ(choice, LaneChoice());
}

}  // namespace
}  // namespace pagetape
