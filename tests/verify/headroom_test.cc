// SPDX-License-Identifier: Apache-2.0
#include "verify/headroom.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "capture/sim/bugs.h"
#include "capture/sim/models.h"
#include "capture/sim/synth.h"
#include "tests/verify/verify_fixture.h"

namespace pagetape {
namespace {

using testing::HasSubstr;

HeadroomOptions at_least(double pages, bool per_cent = false) {
  return {.judged = true, .min = pages, .per_cent = per_cent};
}

HeadroomReport headroom_of(const std::string& lines, const HeadroomOptions& options = {}) {
  const ScratchFolder folder;
  return headroom_trace(folder.write("trace.jsonl", lines), options);
}

// F has 16 pages, S has 4; A has page 3 in both, and the map says so.
const std::string kPools = R"({"ev":"pool","pool":"F","pages":16,"page_size":4}
{"ev":"pool","pool":"S","pages":4,"page_size":4,"reserved":[{"page":0,"role":"pad"}]}
{"ev":"map","map":"F>S","from":"F","to":"S","unit":"page"}
{"ev":"backend","backend":"d"}
{"ev":"pool_swap","backend":"d","layers":"*","pool":"S"}
{"ev":"alloc","pool":"F","req":"A","pages":[3],"first":0}
{"ev":"alloc","pool":"S","req":"A","pages":[3],"first":0}
{"ev":"map_set","map":"F>S","pairs":[[3,3]]}
)";
std::string launch(const std::string& space, int page = 3, const std::string& more = "") {
  return R"({"ev":"attention","backend":"d","layer":0,)" +
         (space.empty() ? "" : "\"space\":\"" + space + "\",") + more +
         R"("rows":[{"req":"A","len":4,"pages":[)" + std::to_string(page) + "]}]}\n";
}

TEST(Headroom, AFullPoolIsSafeWhereTheTableIsOfItsSpace) {
  const HeadroomReport report = headroom_of(kPools + launch("S"), at_least(100));
  ASSERT_EQ(report.tables.size(), 1u);
  EXPECT_EQ(report.tables[0].greatest, 3);
  EXPECT_EQ(report.tables[0].distance(), 1);
  EXPECT_TRUE(report.tables[0].safe());
  EXPECT_EQ(report.exit_code(), 0);
}

TEST(Headroom, ATableOfALargerSpaceFailsThoughItsIdsWereRight) {
  const HeadroomReport report = headroom_of(kPools + launch("F"), at_least(0));
  ASSERT_EQ(report.tables.size(), 1u);
  const TableUse& use = report.tables[0];
  EXPECT_TRUE(use.wrong);
  EXPECT_EQ(use.possible, 16);
  EXPECT_EQ(use.margin(), -12);
  EXPECT_EQ(use.camouflaged, 1u);
  EXPECT_EQ(use.misplaced, 0u);
  EXPECT_EQ(use.first_oob_fill, 4);
  EXPECT_EQ(report.exit_code(), 1);
  const std::string text = headroom_text(report, at_least(0));
  EXPECT_THAT(text, HasSubstr("FAIL  "));
  EXPECT_THAT(text, HasSubstr("id, 4, becomes possible when more than 4 pages of space F are"));
  EXPECT_THAT(text, HasSubstr("Identity camouflage: 1 of 1 entries"));
}

TEST(Headroom, WithoutAMarginAskedForNothingFails) {
  EXPECT_EQ(headroom_of(kPools + launch("F")).exit_code(), 0);
}

TEST(Headroom, AnIdThatIsNotTheMapsIsMisplaced) {
  const HeadroomReport report = headroom_of(kPools + launch("F", 2));
  EXPECT_EQ(report.tables[0].camouflaged, 0u);
  EXPECT_EQ(report.tables[0].misplaced, 1u);
}

TEST(Headroom, AnIdOutsideHasADistanceBelowOne) {
  const HeadroomReport report = headroom_of(kPools + launch("S", 9), at_least(0));
  EXPECT_EQ(report.tables[0].distance(), -5);
  EXPECT_FALSE(report.tables[0].safe());
  EXPECT_EQ(report.exit_code(), 1);
  EXPECT_EQ(headroom_of(kPools + launch("S", -2)).tables[0].distance(), -2);
}

TEST(Headroom, WhereNoSpaceIsSaidWhatWasUsedCounts) {
  const std::string lines = kPools + launch("", 1);
  EXPECT_EQ(headroom_of(lines).tables[0].margin(), 2);
  EXPECT_EQ(headroom_of(lines, at_least(2)).exit_code(), 0);
  EXPECT_EQ(headroom_of(lines, at_least(3)).exit_code(), 1);
  EXPECT_EQ(headroom_of(lines, at_least(50, true)).exit_code(), 0);
  EXPECT_EQ(headroom_of(lines, at_least(51, true)).exit_code(), 1);
}

TEST(Headroom, ATensorSmallerThanItsPoolIsNoSafeBound) {
  const HeadroomReport report =
      headroom_of(kPools + launch("S", 1, R"("bound":{"pool":"S","pages":2},)"), at_least(0));
  EXPECT_FALSE(report.tables[0].wrong);
  EXPECT_EQ(report.tables[0].margin(), -2);
  EXPECT_EQ(report.exit_code(), 1);
}

TEST(Headroom, SlotsOfAStoreAreMeasuredInSlots) {
  const HeadroomReport report =
      headroom_of(kPools + R"({"ev":"store","backend":"d","layer":0,"space":"S",)" +
                  R"("rows":[{"req":"A","slots":[12,13]}]})" + "\n");
  ASSERT_EQ(report.tables.size(), 1u);
  EXPECT_EQ(report.tables[0].bound, 16);
  EXPECT_EQ(report.tables[0].distance(), 3);
}

TEST(Headroom, RowsOfATableAreFollowedAsTheyChange) {
  const std::string table = R"({"ev":"buffer","buffer":"pt","rows":1,"cols":8}
{"ev":"table","buffer":"pt","row":0,"col":0,"pages":[1]}
)";
  const std::string use = R"({"ev":"attention","backend":"d","layer":0,"space":"S","table":"pt",)";
  const std::string short_row = use + R"("rows":[{"req":"A","len":4,"row":0}]})" + "\n";
  const std::string long_row = use + R"("rows":[{"req":"A","len":8,"row":0}]})" + "\n";
  const std::string more = R"({"ev":"table","buffer":"pt","row":0,"col":1,"pages":[3]}
)";
  const std::string again = R"({"ev":"table","buffer":"pt","row":0,"col":0,"pages":[5]}
)";
  EXPECT_EQ(headroom_of(kPools + table + short_row + more + short_row).tables[0].greatest, 1);
  EXPECT_EQ(headroom_of(kPools + table + short_row + more + long_row).tables[0].greatest, 3);
  const HeadroomReport report =
      headroom_of(kPools + table + short_row + more + long_row + again + long_row);
  EXPECT_EQ(report.tables[0].greatest, 5);
  EXPECT_EQ(report.tables[0].entries, 5u);
}

TEST(Headroom, WhereNothingIsMeasuredAMarginIsNotMet) {
  const HeadroomReport report = headroom_of(kPools, at_least(0));
  EXPECT_TRUE(report.tables.empty());
  EXPECT_EQ(report.exit_code(), 1);
}

TEST(Headroom, WhatCannotBeReadIsNoMarginThatIsNotMet) {
  EXPECT_EQ(headroom_of("{\"ev\":", at_least(0)).exit_code(), 2);
  EXPECT_EQ(headroom_of(kPools + "{\"ev\":", at_least(0)).exit_code(), 2);
}

TEST(Headroom, SpacesSayHowFarTheyWereFilled) {
  const HeadroomReport report =
      headroom_of(kPools + R"({"ev":"free","pool":"S","req":"A","pages":[3]}
{"ev":"alloc","pool":"S","req":"A","pages":[1]}
)");
  ASSERT_EQ(report.spaces.size(), 2u);
  EXPECT_EQ(report.spaces[1].capacity, 3);
  EXPECT_EQ(report.spaces[1].peak, 1);
  EXPECT_EQ(report.spaces[1].greatest, 3);
}

TEST(Headroom, ATextInErrorIsWrongUsageAndWhatCameBeforeIsSaid) {
  const HeadroomReport report = headroom_of(kPools + launch("S") + "{}\n");
  EXPECT_EQ(report.exit_code(), 2);
  EXPECT_EQ(report.tables.size(), 1u);
  EXPECT_THAT(headroom_text(report, {}), HasSubstr("Reading ended early"));
}

TEST(Headroom, JsonHasALineATable) {
  const auto json = nlohmann::json::parse(headroom_json(headroom_of(kPools + launch("F"))));
  ASSERT_EQ(json.at("tables").size(), 1u);
  EXPECT_EQ(json.at("tables")[0].at("margin_pages"), -12);
  EXPECT_EQ(json.at("tables")[0].at("wrong_space"), true);
  EXPECT_EQ(json.at("spaces").size(), 2u);
}

// A run too short for any id to be wrong: the defect fails all the same, and its repair passes.
TEST(Headroom, TheShortRunOfTheHybridWindowDefectFails) {
  const ScratchFolder folder;
  for (const char* bug : {"stale-swa", "none"}) {
    sim::Config config;
    config.model = sim::find_model("gemma4-e4b");
    config.bug = sim::find_bug(bug)->bug;
    config.requests = config.concurrency = 4;
    config.prompt_tokens = 256;
    config.output_tokens = 16;
    const std::string path = folder.file(std::string(bug) + ".ptape");
    ASSERT_EQ(sim::synthesize(config, path).error, "");
    EXPECT_EQ(headroom_trace(path, at_least(0)).exit_code(), std::string(bug) == "none" ? 0 : 1);
  }
}

}  // namespace
}  // namespace pagetape
