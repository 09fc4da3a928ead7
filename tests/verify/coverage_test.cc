// SPDX-License-Identifier: Apache-2.0
#include "verify/coverage.h"

#include <gtest/gtest.h>

#include "tests/verify/verify_fixture.h"

namespace pagetape {
namespace {

std::vector<std::string> unchecked_of(const std::string& lines) {
  return unchecked(verify_lines(lines));
}

TEST(Coverage, ATraceWithoutObjectsChecksNothingAndFailsNothing) {
  const Report report = verify_lines("{\"ev\":\"end\"}\n");
  EXPECT_TRUE(unchecked(report).empty());
  EXPECT_EQ(unchecked(report, false), (std::vector<std::string>{"GRAPH_STALE -", "GEOMETRY -"}));
}

TEST(Coverage, WhatTheEventsOfATraceDecideIsChecked) {
  const std::vector<std::string> lines = unchecked_of(std::string(kSmallTrace) + kGoodLaunch);
  for (const char* line : {"OOB_PAGE t", "SHORT_TABLE t", "FREED_PAGE F", "WRONG_OWNER F",
                           "ALIASED_WRITE F", "UNINIT_READ F"}) {
    EXPECT_FALSE(contains(lines, line)) << line;
  }
  for (const char* line :
       {"WRONG_SPACE t", "STALE_BINDING t", "INFLIGHT_HAZARD F", "STALE_CONTENT F",
        "WINDOW_EVICTED F", "FREELIST F", "OFFSET_OVERFLOW F", "PAD_LANE F"}) {
    EXPECT_TRUE(contains(lines, line)) << line;
  }
}

TEST(Coverage, EachMissingEventMakesItsRuleChecked) {
  const std::string small = std::string(kSmallTrace) + kGoodLaunch;
  const std::pair<const char*, const char*> cases[] = {
      {"WRONG_SPACE t", R"({"ev":"attention","backend":"t","layer":0,"space":"F",
          "rows":[{"req":"A","len":8,"pages":[1,2]}]})"},
      {"STALE_BINDING t", R"({"ev":"attention","backend":"t","layer":0,"bound":{"pool":"F"},
          "rows":[]})"},
      {"INFLIGHT_HAZARD F", R"({"ev":"async_begin","op":"x","kind":"read","pool":"F","pages":[],
          "by":"nic"})"},
      {"STALE_CONTENT F", R"({"ev":"fill","pool":"F","req":"A","pages":[1],"digest":"k"})"},
      {"WINDOW_EVICTED F", R"({"ev":"evict","pool":"F","req":"A","logical":0,"page":1})"},
      {"FREELIST F", R"({"ev":"free","pool":"F","req":"A","pages":[1]})"},
      {"FREELIST F", R"({"ev":"free_count","pool":"F","free":3})"},
      {"OFFSET_OVERFLOW F", R"({"ev":"pool","pool":"F","pages":8,"page_size":4,"page_bytes":64,
          "offset_bits":32})"},
      {"PAD_LANE F", R"({"ev":"pool","pool":"F","pages":8,"page_size":4,
          "reserved":[{"page":0,"role":"pad"}]})"},
  };
  for (const auto& [line, event] : cases) {
    std::string flat = event;
    std::erase(flat, '\n');
    EXPECT_TRUE(contains(unchecked_of(small), line)) << line;
    EXPECT_FALSE(contains(unchecked_of(small + flat + '\n'), line)) << line;
  }
}

TEST(Coverage, ABackendWhoseBindingIsUnknownIsNotChecked) {
  const std::string lines = R"({"ev":"pool","pool":"F","pages":8,"page_size":4}
{"ev":"backend","backend":"t"}
)" + std::string(kGoodLaunch);
  EXPECT_TRUE(contains(unchecked_of(lines), "OOB_PAGE t"));
}

TEST(Coverage, ABindingLearntAfterAnUnjudgedLaunchDoesNotMakeItChecked) {
  const std::string lines = R"({"ev":"pool","pool":"F","pages":8,"page_size":4}
{"ev":"backend","backend":"t"}
)" + std::string(kBadLaunch) +
                            R"({"ev":"pool_swap","backend":"t","layers":"*","pool":"F"}
)" + kGoodLaunch;
  EXPECT_TRUE(contains(unchecked_of(lines), "OOB_PAGE t"));
}

TEST(Coverage, ABackendThatNeverLaunchedIsNotApplicable) {
  const Report report = verify_lines("{\"ev\":\"backend\",\"backend\":\"idle\"}\n");
  EXPECT_TRUE(contains(unchecked(report, false), "OOB_PAGE idle"));
  EXPECT_FALSE(contains(unchecked(report), "OOB_PAGE idle"));
}

TEST(Coverage, WhatTheRecorderSaysItRecordsDidNotHappen) {
  const std::string header =
      R"({"ev":"header","format":1,"records":["alloc","free","evict","async_begin"]}
)";
  const std::vector<std::string> lines =
      unchecked_of(header + "{\"ev\":\"pool\",\"pool\":\"F\",\"pages\":8,\"page_size\":4}\n");
  for (const char* line : {"FREED_PAGE F", "WRONG_OWNER F", "ALIASED_WRITE F", "INFLIGHT_HAZARD F",
                           "WINDOW_EVICTED F", "FREELIST F"}) {
    EXPECT_FALSE(contains(lines, line)) << line;
  }
  EXPECT_TRUE(contains(lines, "UNINIT_READ F"));
}

TEST(Coverage, GraphsThatAreNotRecordedAreNotChecked) {
  const std::string head = R"({"ev":"header","format":1,"records":["alloc"]})";
  EXPECT_TRUE(contains(unchecked_of(head + '\n'), "GRAPH_STALE -"));
  EXPECT_FALSE(contains(unchecked_of("{\"ev\":\"end\"}\n"), "GRAPH_STALE -"));
  // Of this graph nothing is known but that there is one.
  const std::string bare =
      "{\"ev\":\"graph_capture\",\"graph\":\"g\"}\n{\"ev\":\"graph_launch\",\"graph\":\"g\"}\n";
  EXPECT_TRUE(contains(unchecked_of(bare), "GRAPH_STALE -"));
}

TEST(Coverage, AnObjectOfAnotherRankIsAnother) {
  const Report report = verify_lines(R"({"ev":"pool","pool":"F","pages":8,"page_size":4,"rank":0}
{"ev":"pool","pool":"F","pages":8,"page_size":4,"rank":1}
{"ev":"alloc","pool":"F","req":"A","pages":[1],"rank":1}
)");
  std::vector<std::int64_t> ranks;
  for (const NotChecked& n : report.not_checked) {
    if (n.rule == Rule::kFreedPage) ranks.push_back(n.rank);
  }
  EXPECT_EQ(ranks, std::vector<std::int64_t>{0});
}

TEST(Coverage, AFindingIsHeldBackUntilThePoolShowsTheEventsThatTheRuleNeeds) {
  const std::string bound = R"({"ev":"pool","pool":"F","pages":8,"page_size":4}
{"ev":"backend","backend":"t"}
{"ev":"pool_swap","backend":"t","layers":"*","pool":"F"}
)" + std::string(kGoodLaunch);
  const Report without = verify_lines(bound);
  EXPECT_EQ(without.total, 0u);
  EXPECT_TRUE(contains(unchecked(without), "FREED_PAGE F"));
  const Report with =
      verify_lines(bound + "{\"ev\":\"alloc\",\"pool\":\"F\",\"req\":\"B\",\"pages\":[5]}\n");
  EXPECT_EQ(count_of(with, Rule::kFreedPage), 2u);
  EXPECT_FALSE(contains(unchecked(with), "FREED_PAGE F"));
}

TEST(Coverage, WhatAGapMadeUnknownIsNotCheckedWhereItWasLookedAt) {
  const std::string gap = "{\"ev\":\"gap\",\"why\":\"ring\"}\n";
  const std::string head = std::string(kSmallTrace) + gap;
  const std::vector<std::string> before = unchecked_of(std::string(kSmallTrace) + kGoodLaunch);
  for (const char* line : {"FREED_PAGE F", "WRONG_OWNER F", "UNINIT_READ F"}) {
    EXPECT_FALSE(contains(before, line)) << line;
    EXPECT_TRUE(contains(unchecked_of(head + kGoodLaunch), line)) << line;
  }
  const std::pair<const char*, const char*> cases[] = {
      {"FREELIST F", R"({"ev":"free","pool":"F","req":"A","pages":[1]})"},
      {"ALIASED_WRITE F", R"({"ev":"alloc","pool":"F","req":"B","pages":[1]})"},
      {"WRONG_OWNER F", R"({"ev":"fill","pool":"F","req":"A","pages":[1]})"},
      {"FREED_PAGE F", R"({"ev":"share","pool":"F","req":"B","pages":[1]})"},
  };
  for (const auto& [line, event] : cases) {
    EXPECT_TRUE(contains(unchecked_of(head + event + '\n'), line)) << line;
    // What nobody looked at behind the gap left no rule unjudged.
    EXPECT_EQ(contains(unchecked_of(head), line),
              contains(unchecked_of(std::string(kSmallTrace)), line))
        << line;
  }
  const std::string begun =
      R"({"ev":"async_begin","op":"x","kind":"read","pool":"F","pages":[],"by":"nic"})";
  EXPECT_FALSE(contains(unchecked_of(kSmallTrace + begun + '\n'), "INFLIGHT_HAZARD F"));
  EXPECT_TRUE(contains(unchecked_of(kSmallTrace + begun + '\n' + gap), "INFLIGHT_HAZARD F"));
  EXPECT_TRUE(contains(unchecked_of(gap + kSmallTrace + begun + '\n'), "INFLIGHT_HAZARD F"));
}

TEST(Coverage, SharesOfUnknownPagesLeaveWhatTheyDoNotUseChecked) {
  const std::string head = std::string(kSmallTrace) + "{\"ev\":\"gap\",\"why\":\"ring\"}\n" +
                           R"({"ev":"share","pool":"F","req":"B","pages":[1]})" + '\n';
  EXPECT_TRUE(contains(unchecked_of(head), "FREED_PAGE F"));
  EXPECT_FALSE(contains(unchecked_of(head), "UNINIT_READ F"));
}

// Two groups of one block pool: a page of the one is never the other's.
TEST(Coverage, WhetherAPageWasTakenIsKnownOfAllPoolsOfItsAllocatorOrNotAtAll) {
  const std::string pools = R"({"ev":"pool","pool":"G","pages":8,"page_size":4,"allocator":"a"}
{"ev":"pool","pool":"H","pages":8,"page_size":4,"allocator":"a"}
{"ev":"alloc","pool":"G","req":"A","pages":[1]}
)";
  const std::string gap = R"({"ev":"gap","why":"ring","pools":["G"]})"
                          "\n";
  const std::string given = R"({"ev":"alloc","pool":"H","req":"B","pages":[1]})"
                            "\n";
  const std::string again = R"({"ev":"alloc","pool":"G","req":"C","pages":[1]})"
                            "\n";
  EXPECT_EQ(count_of(verify_lines(pools + given), Rule::kAliasedWrite), 1u);
  EXPECT_FALSE(contains(unchecked_of(pools + given), "ALIASED_WRITE H"));
  EXPECT_TRUE(contains(unchecked_of(pools + gap + given), "ALIASED_WRITE H"));
  // G's is not known, H's is: that suffices.
  EXPECT_EQ(count_of(verify_lines(pools + gap + given + again), Rule::kAliasedWrite), 1u);
}

TEST(Coverage, WhetherTwoLivePagesAreMappedToOneIsNotKnownOfUnknownOnes) {
  const std::string pools = R"({"ev":"pool","pool":"G","pages":8,"page_size":4}
{"ev":"pool","pool":"H","pages":8,"page_size":4}
{"ev":"map","map":"m","from":"G","to":"H","unit":"page"}
)";
  const std::string gap = R"({"ev":"gap","why":"ring","pools":["G"]})"
                          "\n";
  const std::string set = R"({"ev":"map_set","map":"m","pairs":[[1,2]]})"
                          "\n";
  const std::string known = R"({"ev":"alloc","pool":"G","req":"A","pages":[1]})"
                            "\n";
  EXPECT_FALSE(contains(unchecked_of(pools + set), "FREELIST H"));
  EXPECT_TRUE(contains(unchecked_of(pools + gap + set), "FREELIST H"));
  EXPECT_FALSE(contains(unchecked_of(pools + gap + known + set), "FREELIST H"));
}

TEST(Coverage, SlotsThatNobodySaidAreNotChecked) {
  const auto stored = [](const char* slots) {
    return unchecked_of(std::string(kSmallTrace) + R"({"ev":"buffer","buffer":"s"})" + '\n' +
                        slots + R"({"ev":"store","backend":"t","layer":0,"slots":"s",)" +
                        R"("rows":[{"req":"A","row":0,"n":1}]})" + '\n');
  };
  const char* said = "{\"ev\":\"slots\",\"buffer\":\"s\",\"values\":[4]}\n";
  for (const char* line : {"OOB_PAGE t", "WRONG_OWNER F", "ALIASED_WRITE F"}) {
    EXPECT_FALSE(contains(stored(said), line)) << line;
    EXPECT_TRUE(contains(stored(""), line)) << line;
  }
}

TEST(Coverage, TheReportTellsWhatIsUnknownFromWhatIsNotRecorded) {
  const std::string text = report_text(
      verify_lines(std::string(kSmallTrace) + "{\"ev\":\"gap\",\"why\":\"ring\"}\n" + kGoodLaunch));
  EXPECT_NE(text.find("Not checked in part"), std::string::npos) << text;
  EXPECT_NE(text.find("WRONG_OWNER     F  (needs what a gap made unknown of its pages)"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("INFLIGHT_HAZARD F  (needs "), std::string::npos) << text;
}

TEST(Coverage, LiveCellsAndLengthsThatWereNeverSaidAreNotChecked) {
  const std::string buffer = std::string(kSmallTrace) + R"({"ev":"buffer","buffer":"b"}
{"ev":"buffer","buffer":"n"}
)";
  const auto launch = [&](const char* told, const char* row) {
    return unchecked_of(buffer + told +
                        R"({"ev":"attention","backend":"t","layer":0,"table":"b","lens":"n",)" +
                        R"("rows":[)" + row + "]}\n");
  };
  const char* cells = R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[1,2]}
)";
  const char* one = R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[1]}
)";
  EXPECT_FALSE(contains(launch(cells, R"({"req":"A","len":8,"row":0})"), "OOB_PAGE t"));
  EXPECT_TRUE(contains(launch(one, R"({"req":"A","len":8,"row":0})"), "OOB_PAGE t"));
  EXPECT_TRUE(contains(launch("", R"({"req":"A","len":8,"row":0})"), "OOB_PAGE t"));
  EXPECT_TRUE(contains(launch(cells, R"({"req":"A","row":0})"), "OOB_PAGE t"));
  EXPECT_TRUE(contains(launch(cells, R"({"req":"A","row":0})"), "SHORT_TABLE t"));
  for (const char* line : {"FREED_PAGE F", "WRONG_OWNER F", "UNINIT_READ F", "ALIASED_WRITE F"}) {
    EXPECT_FALSE(contains(launch(cells, R"({"req":"A","len":8,"row":0})"), line)) << line;
    EXPECT_TRUE(contains(launch(one, R"({"req":"A","len":8,"row":0})"), line)) << line;
  }
  // None of them is live; a list that stands with the launch is all there is.
  EXPECT_FALSE(contains(launch("", R"({"req":"A","len":0,"row":0})"), "OOB_PAGE t"));
  EXPECT_FALSE(contains(launch("", R"({"req":"A","len":8,"pages":[1]})"), "OOB_PAGE t"));
  // Of padding nobody need tell.
  EXPECT_FALSE(
      contains(launch(cells, R"({"req":"A","len":8,"row":0},{"req":null,"row":1})"), "OOB_PAGE t"));
}

TEST(Coverage, EveryRuleIsCheckedOrNotInTheOrderOfTheTable) {
  const Report report = verify_lines(std::string(kSmallTrace) + kGoodLaunch);
  EXPECT_TRUE(std::ranges::is_sorted(report.not_checked, {}, &NotChecked::rule));
  for (const NotChecked& n : report.not_checked) EXPECT_FALSE(n.needs.empty());
}

}  // namespace
}  // namespace pagetape
