// SPDX-License-Identifier: Apache-2.0
// What the state panel says of a flag that contradicts the pool bound, beside what STALE_BINDING
// finds.
#include "gui/app/stale_uses.h"

#include <fstream>
#include <set>

#include "tests/gui/gui_fixture.h"

namespace pagetape {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class StaleUsesTest : public GuiTest {
 protected:
  static std::string state_at(Viewer& viewer, EventIndex event) {
    EXPECT_TRUE(viewer.run("goto " + std::to_string(event))) << viewer.message();
    std::string out;
    for (const Block& block : viewer.moment().state) {
      if (!block.title.starts_with("Backend")) continue;
      out += (block.tone == Tone::kBad ? "!" : "") + block.title + '\n';
      for (const Line& line : block.lines) out += text_of(line) + '\n';
    }
    return out;
  }
  void write(const std::string& lines) const { std::ofstream(path_) << lines; }
};

// The draft's pool is swapped for each step and swapped back; its flag is set again in between.
TEST_F(StaleUsesTest, AHealthyRunIsNeverStaleThoughASwapIsUndone) {
  synth("none");
  Viewer viewer(open());
  ASSERT_EQ(viewer.index().total, 0U);
  std::size_t differ = 0;
  for (EventIndex event = 0; event < viewer.index().events; ++event) {
    const std::string state = state_at(viewer, event);
    ASSERT_THAT(state, Not(HasSubstr("STALE"))) << "before event " << event;
    ASSERT_THAT(state, Not(HasSubstr("!Backend"))) << "before event " << event;
    if (state.find("bound now; no launch has used it so far") != std::string::npos) ++differ;
  }
  EXPECT_GT(differ, 0U) << "what differs for a while is said all the same";
}

// Launches of the backend itself; a graph's are told by its own block, as captured.
TEST_F(StaleUsesTest, AtEachFindingOfTheRuleTheBackendIsStale) {
  synth("stale-swa");
  Viewer viewer(open());
  std::set<EventIndex> events;
  for (const FindingGroup& group : viewer.index().findings) {
    if (group.rule == Rule::kStaleBinding) events.insert(group.event);
  }
  ASSERT_FALSE(events.empty());
  std::size_t eager = 0;
  for (const EventIndex event : events) {
    const std::string state = state_at(viewer, event);
    if (viewer.moment().kind != "attention") continue;
    ++eager;
    ASSERT_THAT(state, HasSubstr("!Backend draft")) << "before event " << event;
    ASSERT_THAT(state, HasSubstr("STALE  swa_state")) << "before event " << event;
  }
  EXPECT_GT(eager, 0U);
}

constexpr std::string_view
    kSwap = R"({"ev":"pool_swap","backend":"d","layers":[22],"pool":"S"})",
    kBack = R"({"ev":"pool_swap","backend":"d","layers":[22],"pool":"D"})",
    kLaunch = R"({"ev":"attention","backend":"d","layer":22,"space":"D","rows":[)"
              R"({"req":"A","len":1,"pages":[1]}]})",
    kOther = R"({"ev":"swa_state","backend":"t","uses_swa":false,"swa_pool":null,)"
             R"("derived_from":"D"})";

// Of layer 22, which d's flag of event 4 was not derived for.
TEST_F(StaleUsesTest, ASwapThatALaunchMeetsIsStaleFromThereUntilItIsUndone) {
  std::string lines = R"({"ev":"pool","pool":"D","pages":8,"page_size":16}
{"ev":"pool","pool":"S","pages":8,"page_size":16}
{"ev":"backend","backend":"d"}
{"ev":"backend","backend":"t"}
{"ev":"swa_state","backend":"d","uses_swa":false,"swa_pool":null,"derived_from":"D"}
)";
  for (const std::string_view line :
       {kBack, kLaunch, kSwap, kBack, kSwap, kOther, kLaunch, kOther, kBack, kSwap, kOther}) {
    lines += std::string(line) + '\n';
  }
  write(lines);
  Viewer viewer(open());
  EXPECT_THAT(state_at(viewer, 7), Not(HasSubstr("bound now"))) << "as it was derived";
  EXPECT_THAT(state_at(viewer, 8), HasSubstr("S bound now; no launch has used it so far"));
  EXPECT_THAT(state_at(viewer, 9), Not(HasSubstr("bound now"))) << "undone";
  EXPECT_THAT(state_at(viewer, 10), HasSubstr("S bound now; no launch has used it so far"));
  EXPECT_THAT(state_at(viewer, 11), HasSubstr("STALE  swa_state")) << "this launch uses it";
  EXPECT_THAT(state_at(viewer, 13), HasSubstr("S bound now, used since 11"))
      << "whatever moved elsewhere";
  EXPECT_THAT(state_at(viewer, 14), Not(HasSubstr("bound now"))) << "undone";
  EXPECT_THAT(state_at(viewer, 15), HasSubstr("no launch has used it so far")) << "a swap anew";
}

TEST_F(StaleUsesTest, AFlagOfAPoolThatWasRebuiltIsStaleFromALaunchOn) {
  write(R"({"ev":"pool","pool":"D","pages":8,"page_size":16}
{"ev":"backend","backend":"d"}
{"ev":"backend","backend":"t"}
{"ev":"swa_state","backend":"d","uses_swa":false,"swa_pool":null,"derived_from":"D"}
{"ev":"pool_swap","backend":"d","layers":[22],"pool":"D"}
{"ev":"pool","pool":"D","pages":16,"page_size":16}
)" + std::string(kOther) +
        '\n' + std::string(kLaunch) + '\n' + std::string(kOther) + '\n');
  Viewer viewer(open());
  EXPECT_THAT(state_at(viewer, 5), Not(HasSubstr("rebuilt")));
  EXPECT_THAT(state_at(viewer, 6), HasSubstr("D was rebuilt after that; no launch has"));
  EXPECT_THAT(state_at(viewer, 8), HasSubstr("D was rebuilt after that, used since 7"));
}

// What a window shows while it reads an hour.
TEST_F(StaleUsesTest, WhatIsNotReadYetIsNotDenied) {
  synth("stale-swa");
  const auto whole = open();
  const EventIndex finding = whole->index.findings.front().event;
  EventIndex swapped = finding;  // The last event before at which the state differs already.
  const auto at = [&](EventIndex event, const Known& known) {
    std::string out;
    for (const Block& block : look_at(*whole->place, known, event, std::nullopt).state) {
      for (const Line& line : block.lines) out += text_of(line) + '\n';
    }
    return out;
  };
  while (at(swapped, whole->index.known).find("so far") == std::string::npos) --swapped;
  EXPECT_THAT(at(swapped, Known()), HasSubstr("bound now; its launches are not read yet"));
  EXPECT_THAT(at(finding, Known()), HasSubstr("STALE")) << "it is seen at the event itself";
}

}  // namespace
}  // namespace pagetape
