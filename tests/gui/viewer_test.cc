// SPDX-License-Identifier: Apache-2.0
#include "gui/app/viewer.h"

#include <algorithm>
#include <fstream>
#include <set>

#include "tests/gui/gui_fixture.h"

namespace pagetape {
namespace {

using ::testing::HasSubstr;
using ViewerTest = GuiTest;

std::string texts(const std::vector<Block>& blocks) {
  std::string out;
  for (const Block& block : blocks) {
    out += block.title + '\n';
    for (const Line& line : block.lines) out += text_of(line) + '\n';
  }
  return out;
}

TEST_F(ViewerTest, TwoInputsFindTheCauseOfTheCrash) {
  synth("stale-swa");
  Viewer viewer(open());
  ASSERT_TRUE(viewer.run("next-finding"));
  ASSERT_TRUE(viewer.run("blame"));
  const std::string why = texts({viewer.explained()});
  EXPECT_THAT(why, HasSubstr("the pool swap"));
  EXPECT_THAT(why, HasSubstr("uses no sliding-window pool"));
  EXPECT_THAT(texts(viewer.moment().state), HasSubstr("STALE  swa_state: no window pool"));
}

TEST_F(ViewerTest, TheGraphThatIsLaunchedStandsFirst) {
  synth("stale-swa");
  Viewer viewer(open());
  while (viewer.moment().kind != "graph_launch") ASSERT_TRUE(viewer.run("next-finding"));
  const Block& first = viewer.moment().state.at(0);
  EXPECT_EQ(first.title + ' ' + first.note, "Graph draft.bs2 launched here");
  EXPECT_THAT(texts({first}), HasSubstr("no window pool (stale)"));
  const auto again = [&](const Block& block) { return block.title == first.title; };
  EXPECT_EQ(std::ranges::count_if(viewer.moment().state, again), 1);
}

// Layers of the window and full pool take turns.
TEST_F(ViewerTest, LayersThatAreBoundAlikeAreOneLine) {
  std::ofstream(path_) << R"({"ev":"pool","pool":"F","pages":8,"page_size":16}
{"ev":"pool","pool":"S","pages":8,"page_size":16}
{"ev":"backend","backend":"t"}
{"ev":"pool_swap","backend":"t","layers":[0,1,3,4],"pool":"S"}
{"ev":"pool_swap","backend":"t","layers":[2],"pool":"F"}
{"ev":"pool_swap","backend":"t","layers":[6],"pool":"S"}
{"ev":"backend","backend":"u"}
)";
  Viewer viewer(open());
  viewer.run("last");
  EXPECT_THAT(
      texts(viewer.moment().state),
      HasSubstr("layers 0–1, 3–4 → S  since 3\nlayer 2 → F  since 4\nlayer 6 → S  since 5"));
}

TEST_F(ViewerTest, ALineOfTheExplanationLeadsToItsEventAndReturnLeadsBack) {
  synth("stale-swa");
  Viewer viewer(open());
  viewer.run("next-finding");
  const EventIndex finding = viewer.selected();
  viewer.run("blame");
  ASSERT_TRUE(viewer.run("follow 1"));
  EXPECT_EQ(to_event(viewer.selected()), viewer.explained().lines[0][0].command);
  EXPECT_LT(viewer.selected(), finding);
  ASSERT_TRUE(viewer.run("return"));
  EXPECT_EQ(viewer.selected(), finding);
}

TEST_F(ViewerTest, TheTableSaysWhatShouldStandThere) {
  synth("stale-swa");
  Viewer viewer(open());
  while (viewer.run("next-finding")) {
    const auto& table = viewer.moment().table;
    if (!table) continue;
    for (const RowView& row : table->rows) {
      for (const CellView& cell : row.cells) {
        if (cell.outside && cell.kind == CellKind::kLive && cell.right) {
          EXPECT_LT(*cell.right, table->bound);
          EXPECT_NE(cell.rule, kRuleCount);
          return;
        }
      }
    }
  }
  FAIL() << "no live cell is outside its pool";
}

// While pages of the window pool are handed out in step with those of the full one.
TEST_F(ViewerTest, TheTableSaysWhichWrongEntriesNameTheRightPageByAccident) {
  synth("stale-swa");
  Viewer viewer(open());
  ASSERT_TRUE(viewer.run("next-finding"));
  ASSERT_TRUE(viewer.moment().table);
  EXPECT_GT(viewer.moment().table->broken, 0U);
  EXPECT_EQ(viewer.moment().table->lucky, viewer.moment().table->broken);
  while (viewer.moment().table->lucky == viewer.moment().table->broken) {
    ASSERT_TRUE(viewer.run("next-finding")) << "at last they name others";
    while (!viewer.moment().table) ASSERT_TRUE(viewer.run("next-finding"));
  }
  EXPECT_LT(viewer.moment().table->lucky, viewer.moment().table->broken);
}

TEST_F(ViewerTest, AHiddenRuleIsPassedBy) {
  synth("stale-swa");
  Viewer viewer(open());
  for (const char* rule : {"WRONG_SPACE", "STALE_BINDING", "FREED_PAGE"}) {
    ASSERT_TRUE(viewer.run("rule " + std::string(rule)));
  }
  ASSERT_TRUE(viewer.run("next-finding"));
  EXPECT_EQ(viewer.moment().findings_total > 0, true);
  const FindingItem item = viewer.finding(viewer.finding_number());
  EXPECT_EQ(viewer.index().findings[item.group].rule, Rule::kOobPage);
  EXPECT_FALSE(viewer.run("rule NO_SUCH"));
}

TEST_F(ViewerTest, SaysWhyACommandCannotBeDone) {
  synth("none");
  Viewer viewer(open());
  EXPECT_FALSE(viewer.run("next-finding"));
  EXPECT_EQ(viewer.message(), "this trace has no findings");
  EXPECT_FALSE(viewer.run("goto 99999999"));
  EXPECT_FALSE(viewer.run("goto soon"));
  EXPECT_FALSE(viewer.run("blame S:nothing"));
  EXPECT_FALSE(viewer.run("dance"));
  EXPECT_THAT(viewer.message(), HasSubstr("dance"));
  EXPECT_FALSE(viewer.run("undo-view"));
}

TEST_F(ViewerTest, ViewsAreUndone) {
  synth("none");
  Viewer viewer(open());
  const Axis whole = viewer.axis();
  viewer.run("zoom-in");
  viewer.run("pan-right");
  viewer.run("undo-view");
  viewer.run("undo-view");
  EXPECT_EQ(viewer.axis(), whole);
}

TEST_F(ViewerTest, EveryKeyIsThereOnceAndEveryCommandRuns) {
  synth("stale-swa");
  Viewer viewer(open());
  for (const Command& command : viewer_commands()) {
    if (!command.key.empty()) {
      EXPECT_EQ(viewer.command_of(command.key), command.name);
    }
    viewer.run(command.name);
    EXPECT_THAT(viewer.message(), ::testing::Not(HasSubstr("there is no command")));
  }
}

TEST_F(ViewerTest, APageIsBlamed) {
  synth("none");
  Viewer viewer(open());
  viewer.run("goto 60");
  ASSERT_TRUE(viewer.run("blame F:1")) << viewer.message();
  EXPECT_THAT(viewer.explanation().subject, HasSubstr("page 1 of pool F"));
}

// The target's full and window layers are one launch: the same cell names a page of either pool.
TEST_F(ViewerTest, ACellIsBlamedInThePoolThatTheTableShows) {
  synth("none");
  Viewer viewer(open());
  const Names& names = viewer.trace().names;
  for (EventIndex event = 0; event < viewer.index().events; ++event) {
    ASSERT_TRUE(viewer.run("goto " + std::to_string(event)));
    if (!viewer.moment().table || viewer.moment().table->rows.empty()) continue;
    ASSERT_TRUE(viewer.run("blame 0 0")) << viewer.message();
    for (const Link& link : viewer.explanation().links) {
      if (link.spot.kind != LinkKind::kBinding) continue;
      EXPECT_THAT(link.value, HasSubstr("pool " + viewer.moment().table->pool));
    }
  }
  EXPECT_NE(names.find("S"), kNone);
}

TEST_F(ViewerTest, FindingsOfOneRequestOrLayerAreShownAlone) {
  synth("stale-swa");
  Viewer viewer(open());
  const std::size_t all = viewer.findings_shown();
  ASSERT_TRUE(viewer.run("only request r0"));
  const std::size_t of_request = viewer.findings_shown();
  EXPECT_LT(of_request, all);
  EXPECT_GT(of_request, 0U);
  ASSERT_TRUE(viewer.run("next-finding"));
  EXPECT_THAT(viewer.moment().findings,
              ::testing::Contains(::testing::Field(&FindingHere::place, HasSubstr("request r0"))));
  ASSERT_TRUE(viewer.run("only request r0")) << "again: no filter";
  EXPECT_EQ(viewer.findings_shown(), all);
  ASSERT_TRUE(viewer.run("only layer 5"));
  const std::size_t of_layer = viewer.findings_shown();
  EXPECT_GT(of_layer, 0U);
  EXPECT_LT(of_layer, all);
  ASSERT_TRUE(viewer.run("only layer nowhere"));
  EXPECT_EQ(viewer.findings_shown(), 0U);
  ASSERT_TRUE(viewer.run("all-findings"));
  EXPECT_EQ(viewer.findings_shown(), all);
  EXPECT_FALSE(viewer.run("only request nobody"));
  EXPECT_FALSE(viewer.run("only thing 1"));
}

TEST_F(ViewerTest, AnEventThatBreaksSeveralRulesIsCountedOnce) {
  synth("stale-swa");
  Viewer viewer(open());
  std::set<EventIndex> events;
  for (const FindingGroup& group : viewer.index().findings) events.insert(group.event);
  EXPECT_EQ(viewer.events_shown(), events.size());
  EXPECT_LT(viewer.events_shown(), viewer.findings_shown());
  ASSERT_TRUE(viewer.run("only request nobody") || viewer.run("only layer nowhere"));
  EXPECT_EQ(viewer.events_shown(), 0U);
}

TEST_F(ViewerTest, BookmarksHoldNotesAndASessionIsRestored) {
  synth("none");
  Session kept;
  {
    Viewer viewer(open());
    viewer.run("goto 60");
    ASSERT_TRUE(viewer.run("bookmark the swap"));
    viewer.run("goto 20");
    ASSERT_TRUE(viewer.run("bookmark"));
    ASSERT_TRUE(viewer.run("next-bookmark"));
    EXPECT_EQ(viewer.selected(), 60U);
    EXPECT_EQ(viewer.message(), "the swap");
    EXPECT_FALSE(viewer.run("next-bookmark"));
    viewer.run("rule OOB_PAGE");
    viewer.run("colour age");
    viewer.run("theme");
    viewer.run("focus");
    kept = viewer.session();
  }
  Viewer again(open());
  again.restore(kept);
  EXPECT_EQ(again.session(), kept);
  EXPECT_EQ(again.selected(), 60U);
  EXPECT_EQ(again.colours(), Colours::kAge);
  ASSERT_TRUE(again.run("bookmark"));
  EXPECT_EQ(again.bookmarks().size(), 1U) << "again: it is taken away";
}

TEST_F(ViewerTest, PlaysFromStepToStepAndStopsAtTheEnd) {
  synth("none");
  Viewer viewer(open());
  viewer.run("play");
  EXPECT_TRUE(viewer.busy());
  viewer.tick(1);
  EXPECT_EQ(viewer.selected(), viewer.index().steps[0].event);
  for (std::size_t i = 0; i <= viewer.index().steps.size(); ++i) viewer.tick(1);
  EXPECT_FALSE(viewer.playing());
  EXPECT_EQ(viewer.selected(), viewer.index().steps.back().event);
}

TEST_F(ViewerTest, WhereSomeoneLooksStaysWhenMoreIsKnown) {
  synth("stale-swa");
  Viewer viewer(open());
  viewer.run("next-finding");
  viewer.run("focus");
  const EventIndex selected = viewer.selected();
  const Axis axis = viewer.axis();
  viewer.adopt(open());
  EXPECT_EQ(viewer.selected(), selected);
  EXPECT_EQ(viewer.axis(), axis);
  EXPECT_EQ(viewer.moment().findings_total > 0, true);
}

TEST_F(ViewerTest, InAThreadTheSameIsFoundAndTheWindowNeverWaits) {
  synth("stale-swa");
  Viewer here(open()), viewer(open(), Lookup::Where::kThread);
  const auto at_once = [&](const char* command) {
    here.run(command);
    EXPECT_TRUE(viewer.run(command)) << viewer.message();
    EXPECT_EQ(viewer.selected(), here.selected()) << "selected before it is sought";
  };
  at_once("next-finding");
  at_once("blame");
  at_once("next-step");
  at_once("previous-finding");
  at_once("blame");
  viewer.wait();
  EXPECT_FALSE(viewer.seeking());
  EXPECT_EQ(viewer.moment().json, here.moment().json);
  EXPECT_EQ(texts({viewer.explained()}), texts({here.explained()}));
  viewer.run("goto 1");
  viewer.run("stop");
  EXPECT_FALSE(viewer.seeking());
  EXPECT_EQ(viewer.selected(), viewer.moment().at);
}

TEST_F(ViewerTest, ARangeSaysWhatItHoldsAndIsZoomedTo) {
  synth("stale-swa");
  Viewer viewer(open());
  EXPECT_EQ(viewer.measured(), "");
  ASSERT_TRUE(viewer.run("range 60 20"));
  EXPECT_EQ(viewer.range(), (EventRange{20, 60}));
  EXPECT_THAT(viewer.measured(), HasSubstr("40 events"));
  ASSERT_TRUE(viewer.run("zoom-range"));
  EXPECT_DOUBLE_EQ(viewer.axis().begin(), 20);
  EXPECT_DOUBLE_EQ(viewer.axis().end(), 60);
  ASSERT_TRUE(viewer.run("range"));
  EXPECT_FALSE(viewer.range());
  EXPECT_FALSE(viewer.run("range 1"));
  viewer.run("goto 10");
  viewer.run("measure");
  viewer.run("goto 400");
  EXPECT_EQ(viewer.range(), (EventRange{10, 400}));
  EXPECT_THAT(viewer.measured(), HasSubstr(" steps"));
  EXPECT_THAT(viewer.measured(), HasSubstr("findings"));
  viewer.run("measure");
  EXPECT_FALSE(viewer.range());
}

TEST_F(ViewerTest, LanesArePinnedHiddenAndFilteredAndKeptWithTheSession) {
  synth("none");
  Viewer viewer(open());
  const auto names = [&] {
    std::vector<std::string> out;
    for (const LaneView& lane : viewer.lanes()) out.push_back(lane.name);
    return out;
  };
  const auto all = names();
  ASSERT_TRUE(viewer.run("pin-lane requests")) << viewer.message();
  EXPECT_EQ(names()[0], "requests");
  ASSERT_TRUE(viewer.run("hide-lane step"));
  EXPECT_THAT(names(), ::testing::Not(::testing::Contains("step")));
  EXPECT_FALSE(viewer.run("pin-lane nothing such"));
  ASSERT_TRUE(viewer.run("lanes draft"));
  EXPECT_THAT(names(), ::testing::Contains("draft launches"));
  EXPECT_THAT(names(), ::testing::Not(::testing::Contains("target launches")));
  Viewer again(open());
  again.restore(viewer.session());
  EXPECT_EQ(again.lane_choice(), viewer.lane_choice());
  ASSERT_TRUE(viewer.run("all-lanes"));
  EXPECT_EQ(names(), all);
}

TEST_F(ViewerTest, ARequestLeadsToWhereItBegan) {
  synth("none");
  Viewer viewer(open());
  viewer.run("last");
  ASSERT_TRUE(viewer.run("request r0")) << viewer.message();
  EXPECT_EQ(viewer.selected(), viewer.index().lives[0].begin);
  EXPECT_FALSE(viewer.run("request nobody"));
}

TEST_F(ViewerTest, ANameLeadsToWhereItWasDeclared) {
  synth("stale-swa");
  Viewer viewer(open());
  viewer.run("next-finding");
  for (const char* name : {"S", "draft"}) {
    ASSERT_TRUE(viewer.run(std::string("declared ") + name)) << viewer.message();
    EXPECT_THAT(viewer.moment().json, HasSubstr('"' + std::string(name) + '"'));
  }
  EXPECT_EQ(viewer.moment().kind, "backend");
  EXPECT_FALSE(viewer.run("declared nothing"));
}

// Whatever is said of a state, a finding and its chain can be followed.
TEST_F(ViewerTest, EveryLinkLeadsSomewhere) {
  synth("stale-swa");
  Viewer viewer(open());
  viewer.run("next-finding");
  viewer.run("blame");
  std::vector<Block> blocks = viewer.moment().state;
  blocks.push_back(viewer.explained());
  std::set<std::string> commands;
  for (const Block& block : blocks) {
    commands.insert(block.command);
    for (const Line& line : block.lines) {
      for (const Phrase& phrase : line) commands.insert(phrase.command);
    }
    for (const Chain& chain : block.chains) {
      for (const Phrase& name : chain.names) commands.insert(name.command);
    }
  }
  commands.erase("");
  EXPECT_GT(commands.size(), 12U);
  for (const std::string& command : commands) {
    EXPECT_TRUE(viewer.run(command)) << command << ": " << viewer.message();
  }
}

TEST_F(ViewerTest, WhatWasNotCheckedIsSaid) {
  synth("none");
  const Viewer viewer(open());
  EXPECT_THAT(texts({viewer.not_checked()}), HasSubstr("STALE_CONTENT"));
}

TEST_F(ViewerTest, ACellIsCopiedAsText) {
  synth("stale-swa");
  Viewer viewer(open());
  viewer.run("next-finding");
  while (!viewer.moment().table) ASSERT_TRUE(viewer.run("next-finding"));
  ASSERT_TRUE(viewer.run("copy 0 0"));
  EXPECT_THAT(viewer.take_copied(), HasSubstr("column 0: "));
  EXPECT_FALSE(viewer.run("copy 99999 0"));
  ASSERT_TRUE(viewer.run("copy"));
  EXPECT_THAT(viewer.take_copied(), HasSubstr("event " + std::to_string(viewer.selected())));
}

TEST_F(ViewerTest, ThePaletteFindsRulesAndRequests) {
  synth("stale-swa");
  const Viewer viewer(open());
  EXPECT_THAT(viewer.palette("first oob", 1).at(0).text, HasSubstr("OOB_PAGE"));
  EXPECT_EQ(viewer.palette("78", 1).at(0).command, "goto 78");
  EXPECT_EQ(viewer.palette("F:3", 1).at(0).command, "blame F:3");
  EXPECT_EQ(viewer.palette("pool S", 1).at(0).command, "declared S");
  EXPECT_EQ(viewer.palette("blame 0 1", 1).at(0).command, "blame 0 1");
  EXPECT_EQ(viewer.palette("lanes draft", 1).at(0).command, "lanes draft");
}

}  // namespace
}  // namespace pagetape
