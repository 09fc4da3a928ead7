// SPDX-License-Identifier: Apache-2.0
// What was judged before is not judged again; these tests hold that this loses no finding: random
// small engines are judged with and without reuse, and a difference is shrunk to a few events.
#include <gtest/gtest.h>

#include "tests/verify/reuse_fixture.h"

namespace pagetape {
namespace {

bool differ(const Lines& lines, std::size_t load_at) {
  const JudgedLines with = judge(lines, true, load_at), without = judge(lines, false, load_at);
  return with.findings != without.findings || with.covered != without.covered ||
         with.digest != without.digest;
}

// Leaves out whatever is not needed for the two to differ.
Lines shrink(Lines lines, std::size_t load_at) {
  for (std::size_t step = lines.size() / 2; step > 0; step /= 2) {
    for (std::size_t i = 0; i < lines.size();) {
      Lines less(lines.begin(), lines.begin() + static_cast<long>(i));
      less.insert(less.end(), lines.begin() + static_cast<long>(std::min(lines.size(), i + step)),
                  lines.end());
      if (differ(less, load_at)) {
        lines = std::move(less);
      } else {
        i += step;
      }
    }
  }
  return lines;
}

std::string shown(const Lines& lines, std::size_t load_at) {
  std::string out;
  for (const std::string& line : lines) out += line + '\n';
  for (const bool reuse : {true, false}) {
    const JudgedLines judged = judge(lines, reuse, load_at);
    out += (reuse ? "with reuse:\n" : "without:\n") + judged.text + judged.covered + "digest " +
           std::to_string(judged.digest) + '\n';
  }
  return out;
}

class Reuse : public testing::TestWithParam<int> {};

TEST_P(Reuse, LosesNoFinding) {
  constexpr int kSeeds = 20;
  for (int i = 0; i < kSeeds; ++i) {
    const std::uint64_t seed = static_cast<std::uint64_t>(GetParam()) * kSeeds + i;
    const Lines lines = Engine(seed).run(80);
    const std::size_t load_at = i % 2 == 0 ? SIZE_MAX : lines.size() / 2;
    if (!differ(lines, load_at)) continue;
    FAIL() << "seed " << seed << ":\n" << shown(shrink(lines, load_at), load_at);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, Reuse, testing::Range(0, 16));

constexpr const char* kHead[] = {
    R"({"ev":"pool","pool":"F","pages":8,"page_size":4,"reserved":[{"page":0,"role":"pad"}]})",
    R"({"ev":"backend","backend":"t"})",
    R"({"ev":"pool_swap","backend":"t","layers":"*","pool":"F"})",
    R"({"ev":"buffer","buffer":"b"})",
    R"({"ev":"alloc","pool":"F","req":"A","pages":[1,2,3],"first":0})",
    R"({"ev":"fill","pool":"F","req":"A","pages":[1,2,3]})",
    R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[1,2,3]})",
    R"({"ev":"attention","backend":"t","layer":0,"table":"b",
        "rows":[{"req":"A","len":12,"row":0}]})",
};

// The same launch again after these lines: what is found then.
std::string found_after(const std::vector<const char*>& between) {
  Lines lines(std::begin(kHead), std::end(kHead));
  lines.insert(lines.end(), between.begin(), between.end());
  lines.push_back(kHead[std::size(kHead) - 1]);
  const JudgedLines reused = judge(lines, true);
  const JudgedLines anew = judge(lines, false);
  EXPECT_EQ(reused.text, anew.text);
  EXPECT_EQ(reused.covered, anew.covered);
  std::string out;
  for (const Finding& f : reused.findings) {
    out +=
        (out.empty() ? "" : " ") + std::string(info(f.rule).name) + '@' + std::to_string(f.column);
  }
  return out;
}

TEST(JudgeLaunch, ALaunchThatNothingChangedForIsAsCleanAsBefore) { EXPECT_EQ(found_after({}), ""); }

TEST(JudgeLaunch, AFreedPageIsFoundInTheNextLaunch) {
  EXPECT_EQ(found_after({R"({"ev":"free","pool":"F","req":"A","pages":[2]})"}), "FREED_PAGE@1");
}

TEST(JudgeLaunch, ARewrittenCellIsFoundInTheNextLaunch) {
  EXPECT_EQ(found_after({R"({"ev":"table","buffer":"b","row":0,"col":1,"pages":[9]})"}),
            "OOB_PAGE@1");
}

TEST(JudgeLaunch, ACellThatIsRewrittenByAnEarlierOnesPageStandsTwice) {
  EXPECT_EQ(found_after({R"({"ev":"table","buffer":"b","row":0,"col":2,"pages":[1]})"}),
            "ALIASED_WRITE@2");
}

TEST(JudgeLaunch, AnEvictionIsFoundInTheNextLaunch) {
  EXPECT_EQ(found_after({R"({"ev":"evict","pool":"F","req":"A","logical":0,"page":1})"}),
            "WINDOW_EVICTED@0");
}

TEST(JudgeLaunch, ARewindIsFoundInTheNextLaunch) {
  EXPECT_EQ(found_after({R"({"ev":"rewind","pool":"F","req":"A","len":6})"}),
            "UNINIT_READ@1 UNINIT_READ@2");
}

TEST(JudgeLaunch, ARewindByAnotherOwnerIsFoundInTheNextLaunch) {
  EXPECT_EQ(found_after({R"({"ev":"share","pool":"F","req":"B","pages":[1],"first":0})",
                         R"({"ev":"rewind","pool":"F","req":"B","len":2})"}),
            "UNINIT_READ@0");
}

TEST(JudgeLaunch, ASmallerPoolIsFoundInTheNextLaunch) {
  EXPECT_EQ(found_after({R"({"ev":"pool","pool":"F","pages":3,"page_size":4})"}), "OOB_PAGE@2");
}

TEST(JudgeLaunch, ACopyOfWhatTheSourceLacksIsFoundInTheNextLaunch) {
  EXPECT_EQ(found_after({R"({"ev":"alloc","pool":"F","req":"A","pages":[4]})",
                         R"({"ev":"copy","from_pool":"F","to_pool":"F","req":"A","from":[4],
                            "to":[2]})"}),
            "UNINIT_READ@1");
}

TEST(JudgeLaunch, APageGivenOutForALaterColumnIsFoundWhenFreedAtTheOldOneToo) {
  EXPECT_EQ(
      found_after({R"({"ev":"free","pool":"F","req":"A","pages":[1]})",
                   R"({"ev":"alloc","pool":"F","req":"A","pages":[1],"first":5})",
                   R"({"ev":"fill","pool":"F","req":"A","pages":[1]})", kHead[std::size(kHead) - 1],
                   R"({"ev":"free","pool":"F","req":"A","pages":[1]})"}),
      "FREED_PAGE@0");
}

TEST(JudgeLaunch, ARewindAtALaterColumnIsFoundAtTheFirstOfThePage) {
  EXPECT_EQ(found_after({R"({"ev":"share","pool":"F","req":"A","pages":[1],"first":5})",
                         kHead[std::size(kHead) - 1],
                         R"({"ev":"rewind","pool":"F","req":"A","len":16})"}),
            "UNINIT_READ@0");
}

TEST(JudgeLaunch, AnAllocThroughAPoolThatReservesThePageEmptiesItInTheOthers) {
  EXPECT_EQ(found_after({R"({"ev":"pool","pool":"E","pages":8,"page_size":4,"space":"F",
                             "reserved":[{"page":2,"role":"pad"}]})",
                         kHead[std::size(kHead) - 1],
                         R"({"ev":"alloc","pool":"E","req":"B","pages":[2]})"}),
            "PAD_LANE@0 UNINIT_READ@1");
}

TEST(JudgeLaunch, APoolNamedLikeASpaceChangesWhatACellsSpaceMeans) {
  EXPECT_EQ(
      found_after({R"({"ev":"pool","pool":"Y","pages":8,"page_size":4,"space":"Z"})",
                   R"({"ev":"pool","pool":"K","pages":8,"page_size":4,"space":"Q"})",
                   R"({"ev":"pool_swap","backend":"t","layers":"*","pool":"K"})",
                   R"({"ev":"alloc","pool":"K","req":"A","pages":[1,2,3],"first":0})",
                   R"({"ev":"fill","pool":"K","req":"A","pages":[1,2,3]})",
                   R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[1,2,3],"space":"Q"})",
                   kHead[std::size(kHead) - 1],
                   R"({"ev":"pool","pool":"Q","pages":8,"page_size":4,"space":"Z"})"}),
      "WRONG_SPACE@0 WRONG_SPACE@1 WRONG_SPACE@2");
}

// Pool S behind a map from F: its lane of A is judged by value against A's pages of F.
constexpr const char* kMapped[] = {
    R"({"ev":"pool","pool":"S","pages":8,"page_size":4,"reserved":[{"page":0,"role":"pad"}]})",
    R"({"ev":"map","map":"m","from":"F","to":"S","unit":"page"})",
    R"({"ev":"map_set","map":"m","pairs":[[1,4],[2,5],[3,6]]})",
    R"({"ev":"alloc","pool":"S","req":"A","pages":[4,5,6],"first":0})",
    R"({"ev":"fill","pool":"S","req":"A","pages":[4,5,6]})",
    R"({"ev":"pool_swap","backend":"t","layers":"*","pool":"S"})",
    R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[4,5,6]})",
};

std::string found_mapped(std::initializer_list<const char*> between) {
  std::vector<const char*> lines(std::begin(kMapped), std::end(kMapped));
  lines.insert(lines.end(), between.begin(), between.end());
  return found_after(lines);
}

TEST(JudgeLaunch, AMapEntryOfAPageThatNobodyOwnsIsComparedAllTheSame) {
  EXPECT_EQ(
      found_mapped({R"({"ev":"free","pool":"F","req":"A","pages":[2]})",
                    kHead[std::size(kHead) - 1], R"({"ev":"map_set","map":"m","pairs":[[2,7]]})"}),
      "WRONG_SPACE@1");
}

TEST(JudgeLaunch, AMapEntryOfAPageThatAnotherOwnsNowIsComparedAllTheSame) {
  EXPECT_EQ(
      found_mapped({R"({"ev":"free","pool":"F","req":"A","pages":[2]})",
                    R"({"ev":"alloc","pool":"F","req":"B","pages":[2],"first":0})",
                    kHead[std::size(kHead) - 1], R"({"ev":"map_set","map":"m","pairs":[[2,7]]})"}),
      "WRONG_SPACE@1");
}

TEST(JudgeLaunch, AMapThatLeadsFromAnotherPoolIsComparedAnew) {
  EXPECT_EQ(found_mapped({R"({"ev":"pool","pool":"G","pages":8,"page_size":4})",
                          R"({"ev":"alloc","pool":"G","req":"A","pages":[1,2,3],"first":0})",
                          kHead[std::size(kHead) - 1],
                          R"({"ev":"map","map":"m","from":"G","to":"S","unit":"page"})",
                          R"({"ev":"map_set","map":"m","pairs":[[2,7]]})"}),
            "WRONG_SPACE@1");
}

TEST(JudgeLaunch, ALongerWindowReadsPositionsThatWereNotJudged) {
  Lines lines(std::begin(kHead), std::begin(kHead) + 5);
  lines.insert(
      lines.end(),
      {R"({"ev":"store","backend":"t","layer":0,"rows":[{"req":"A","slots":[7,8,9,10,11]}]})",
       R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[1,2,3]})",
       R"({"ev":"attention","backend":"t","layer":0,"table":"b","window":5,
           "rows":[{"req":"A","len":8,"row":0}]})",
       R"({"ev":"attention","backend":"t","layer":0,"table":"b","window":6,
           "rows":[{"req":"A","len":8,"row":0}]})"});
  const JudgedLines reused = judge(lines, true);
  ASSERT_EQ(reused.findings.size(), 1u) << reused.text;
  EXPECT_EQ(reused.findings[0].rule, Rule::kUninitRead);
  EXPECT_EQ(reused.findings[0].event, 8u);
}

TEST(JudgeLaunch, ACopyWithinAGraphLaunchIsSeenByTheLaunchBehindIt) {
  Lines lines(std::begin(kHead), std::begin(kHead) + 7);
  const std::string attention = R"({"ev":"attention","backend":"t","layer":0,"table":"b",)"
                                R"("rows":[{"req":"A","row":0,"len":12}]})";
  lines.push_back(R"({"ev":"alloc","pool":"F","req":"A","pages":[4]})");
  lines.push_back(R"({"ev":"graph_capture","graph":"G","launches":[)" + attention +
                  R"(,{"ev":"copy","from_pool":"F","to_pool":"F","req":"A","from":[4],"to":[2]},)" +
                  attention + "]}");
  lines.push_back(R"({"ev":"graph_launch","graph":"G"})");
  const JudgedLines reused = judge(lines, true);
  EXPECT_EQ(reused.text, judge(lines, false).text);
  ASSERT_EQ(reused.findings.size(), 1u) << reused.text;
  EXPECT_EQ(reused.findings[0].rule, Rule::kUninitRead);
  EXPECT_EQ(reused.findings[0].launch, 2);
}

// A window that begins within the last page leaves what is before it to be judged.
TEST(JudgeLaunch, AWiderWindowMeetsWhatANarrowOneLeftOut) {
  const std::string head = R"({"ev":"attention","backend":"t","layer":0,"table":"b","lens":"l",)";
  const std::string rows = R"("rows":[{"req":"A","row":0}]})";
  const Lines lines = {
      R"({"ev":"pool","pool":"F","pages":8,"page_size":8})",
      R"({"ev":"backend","backend":"t"})",
      R"({"ev":"pool_swap","backend":"t","layers":"*","pool":"F"})",
      R"({"ev":"buffer","buffer":"b"})",
      R"({"ev":"buffer","buffer":"l"})",
      R"({"ev":"alloc","pool":"F","req":"A","pages":[2,3],"first":0})",
      R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[2,3]})",
      R"({"ev":"fill","pool":"F","req":"A","pages":[2,3],"slots":[8,4]})",
      R"({"ev":"lens","buffer":"l","values":[12]})",
      head + rows,
      R"({"ev":"store","backend":"t","layer":0,"rows":[{"req":"A","slots":[29,30,31]}]})",
      R"({"ev":"lens","buffer":"l","values":[16]})",
      head + R"("window":2,)" + rows,
      head + rows};
  const JudgedLines reused = judge(lines, true);
  EXPECT_EQ(reused.text, judge(lines, false).text);
  ASSERT_EQ(reused.findings.size(), 1u) << reused.text;
  EXPECT_EQ(reused.findings[0].rule, Rule::kUninitRead);
  EXPECT_EQ(reused.findings[0].event, lines.size() - 1);
}

// Pages of a store count for OFFSET_OVERFLOW where their pool says what an offset can express.
TEST(JudgeLaunch, PoolsOfOneStoreCountEachForItself) {
  for (const bool first : {true, false}) {
    const std::string bytes = R"(,"page_bytes":64,"offset_bits":32)";
    Lines lines = {
        R"({"ev":"pool","pool":"P","pages":8,"page_size":8)" + (first ? bytes : "") + '}',
        R"({"ev":"pool","pool":"Q","pages":8,"page_size":8)" + (first ? "" : bytes) + '}',
        R"({"ev":"backend","backend":"t"})",
        R"({"ev":"pool_swap","backend":"t","layers":[0],"pool":"P"})",
        R"({"ev":"pool_swap","backend":"t","layers":[1],"pool":"Q"})",
        R"({"ev":"alloc","pool":"P","req":"A","pages":[3],"first":0})",
        R"({"ev":"alloc","pool":"Q","req":"A","pages":[3],"first":0})"};
    for (const char* slot : {"24", "25", "26"}) {
      lines.push_back(R"({"ev":"store","backend":"t","layers":[0,1],"unit":"slot",)"
                      R"("rows":[{"req":"A","slots":[)" +
                      std::string(slot) + "]}]}");
    }
    const std::string covered = judge(lines, true).covered;
    EXPECT_NE(covered.find("OFFSET_OVERFLOW 3\n"), std::string::npos) << covered;
    EXPECT_NE(covered.find("OOB_PAGE 6\n"), std::string::npos) << covered;
  }
}

TEST(JudgeLaunch, EveryFindingIsReportedAgainByEveryLaunch) {
  Lines lines(std::begin(kHead), std::end(kHead));
  lines.push_back(R"({"ev":"free","pool":"F","req":"A","pages":[3]})");
  for (int i = 0; i < 3; ++i) lines.push_back(kHead[std::size(kHead) - 1]);
  EXPECT_EQ(judge(lines, true).findings.size(), 3u);
}

// Two lanes that stand at ten tokens, of pages that were filled so far, and of which the second is
// then of another length: what is found, and how many lanes stood.
std::pair<std::string, std::uint64_t> found_at(const std::string& filled, const char* window,
                                               int len) {
  const std::string launch =
      R"({"ev":"attention","backend":"t","layers":[0],"table":"w","lens":"n",)" +
      std::string(window) + R"("rows":[{"req":"B","row":1},{"req":"A","row":0}]})";
  const std::string fill = R"({"ev":"fill","pool":"F","layers":[0,1],)";
  Lines lines(std::begin(kHead), std::begin(kHead) + 5);
  lines.insert(
      lines.end(),
      {R"({"ev":"alloc","pool":"F","req":"B","pages":[4,5,6],"first":0})",
       fill + R"("req":"B","pages":[4,5,6]})", fill + filled,
       R"({"ev":"buffer","buffer":"w","rows":2,"cols":4})",
       R"({"ev":"table","buffer":"w","row":0,"col":0,"pages":[1,2,3],"space":"F"})",
       R"({"ev":"table","buffer":"w","row":1,"col":0,"pages":[4,5,6],"space":"F"})",
       R"({"ev":"buffer","buffer":"n"})", R"({"ev":"lens","buffer":"n","values":[10,10]})", launch,
       launch, R"({"ev":"lens","buffer":"n","values":[)" + std::to_string(len) + "]}", launch});
  const JudgedLines reused = judge(lines, true);
  EXPECT_EQ(reused.text, judge(lines, false).text);
  EXPECT_EQ(reused.covered, judge(lines, false).covered);
  return {reused.text.substr(0, reused.text.find(' ')), reused.stood};
}

TEST(JudgeLaunch, ALaneStandsAsFarAsItsLastPageIsWritten) {
  const char* filled = R"("req":"A","pages":[1,2,3],"slots":[4,4,2]})";
  EXPECT_EQ(found_at(filled, "", 9).second, 4U);
  const auto [found, stood] = found_at(filled, "", 11);
  EXPECT_NE(found.find("UNINIT_READ"), std::string::npos) << found;
  EXPECT_EQ(stood, 3U);
}

TEST(JudgeLaunch, ALaneStandsAsFarBackAsItWasJudged) {
  const char* filled = R"("req":"A","pages":[3],"slots":[3]})";
  EXPECT_EQ(found_at(filled, R"("window":2,)", 11).second, 4U);
  const auto [found, stood] = found_at(filled, R"("window":2,)", 9);
  EXPECT_NE(found.find("UNINIT_READ"), std::string::npos) << found;
  EXPECT_EQ(stood, 3U);
}

// Otherwise nothing here would be a test of what stands.
TEST(JudgeLaunch, ALaneStandsWithinOnePageWhereThePoolsWereLargerOnce) {
  const char* launch =
      R"({"ev":"attention","backend":"t","layers":[0],"table":"w","lens":"n","space":"F",
          "rows":[{"req":"B","row":1},{"req":"A","row":0}]})";
  const Lines lines{R"({"ev":"pool","pool":"F","pages":16,"page_size":16})",
                    R"({"ev":"backend","backend":"t"})",
                    R"({"ev":"pool_swap","backend":"t","layers":"*","pool":"F"})",
                    R"({"ev":"buffer","buffer":"w","rows":2,"cols":4})",
                    R"({"ev":"buffer","buffer":"n"})",
                    R"({"ev":"alloc","pool":"F","req":"B","pages":[4],"first":0})",
                    R"({"ev":"alloc","pool":"F","req":"A","pages":[1],"first":0})",
                    R"({"ev":"fill","pool":"F","req":"B","pages":[4],"layers":[0]})",
                    R"({"ev":"fill","pool":"F","req":"A","pages":[1],"layers":[0]})",
                    R"({"ev":"pool","pool":"F","pages":32,"page_size":8})",
                    R"({"ev":"table","buffer":"w","row":1,"col":0,"pages":[4],"space":"F"})",
                    R"({"ev":"table","buffer":"w","row":0,"col":0,"pages":[1,9],"space":"F"})",
                    R"({"ev":"lens","buffer":"n","values":[8,8]})",
                    launch,
                    launch,
                    R"({"ev":"lens","buffer":"n","values":[12,8]})",
                    launch};
  const JudgedLines reused = judge(lines, true), anew = judge(lines, false);
  EXPECT_NE(anew.text.find("FREED_PAGE"), std::string::npos) << anew.text;
  EXPECT_EQ(reused.text, anew.text);
  EXPECT_EQ(reused.covered, anew.covered);
}

TEST(JudgeLaunch, LanesStandWhileNothingOfTheirsIsTouched) {
  Lines lines(std::begin(kHead), std::end(kHead));
  lines.insert(lines.end() - 1, R"({"ev":"buffer","buffer":"w","rows":1,"cols":4})");
  lines.insert(lines.end() - 1, R"({"ev":"buffer","buffer":"n"})");
  lines.insert(lines.end() - 1, R"({"ev":"table","buffer":"w","row":0,"col":0,"pages":[1,2,3]})");
  lines.insert(lines.end() - 1, R"({"ev":"lens","buffer":"n","values":[12]})");
  const std::string launch =
      R"({"ev":"attention","backend":"t","layers":[0],"table":"w","lens":"n",)"
      R"("rows":[{"req":"A","row":0}]})";
  for (int i = 0; i < 5; ++i) lines.push_back(launch);
  const JudgedLines stands = judge(lines, true);
  EXPECT_EQ(stands.text, "");
  EXPECT_EQ(stands.stood, 4U);
  EXPECT_EQ(judge(lines, false).stood, 0U);
  lines.insert(lines.end() - 2, R"({"ev":"table","buffer":"w","row":0,"col":1,"pages":[5]})");
  lines.insert(lines.end() - 2, R"({"ev":"table","buffer":"w","row":0,"col":1,"pages":[2]})");
  EXPECT_EQ(judge(lines, true).stood, 3U);
  EXPECT_EQ(judge(lines, true).covered, judge(lines, false).covered);
}

TEST(JudgeLaunch, WhatIsJudgedCountsAlikeWithReuseAndWithout) {
  Lines lines(std::begin(kHead), std::end(kHead));
  for (int i = 0; i < 3; ++i) lines.push_back(kHead[std::size(kHead) - 1]);
  EXPECT_EQ(judge(lines, true).covered, judge(lines, false).covered);
}

TEST(JudgeLaunch, EntriesThatAreMissingCountForNothingWithReuseEither) {
  EXPECT_EQ(found_after({R"({"ev":"buffer","buffer":"b"})",
                         R"({"ev":"table","buffer":"b","row":0,"col":1,"pages":[2,3]})",
                         kHead[std::size(kHead) - 1], kHead[std::size(kHead) - 1]}),
            "");
  EXPECT_EQ(found_after({R"({"ev":"buffer","buffer":"b"})",
                         R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[1]})",
                         R"({"ev":"table","buffer":"b","row":0,"col":2,"pages":[3]})",
                         kHead[std::size(kHead) - 1], kHead[std::size(kHead) - 1]}),
            "");
}

TEST(JudgeLaunch, EntriesOfUnknownPagesCountAsSuchWithReuseToo) {
  EXPECT_EQ(found_after({R"({"ev":"gap","why":"lost"})",
                         R"({"ev":"share","pool":"F","req":"A","pages":[1],"first":0})",
                         R"({"ev":"alloc","pool":"F","req":"A","pages":[2,3],"first":1})",
                         R"({"ev":"fill","pool":"F","req":"A","pages":[2,3]})",
                         R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[1,2,3]})",
                         kHead[std::size(kHead) - 1], kHead[std::size(kHead) - 1]}),
            "");
}

TEST(JudgeLaunch, EntriesWhoseSpaceIsSaidCountApartFromTheOthers) {
  EXPECT_EQ(found_after({R"({"ev":"table","buffer":"b","row":0,"col":2,"pages":[3],"space":"F"})",
                         kHead[std::size(kHead) - 1], kHead[std::size(kHead) - 1]}),
            "");
}

TEST(JudgeLaunch, ASharedPageThatComesToStandTwiceIsFound) {
  const std::string attention = R"({"ev":"attention","backend":"t","layer":0,"table":"b",)"
                                R"("rows":[{"req":"B","len":12,"row":1}]})";
  const char* share = R"({"ev":"share","pool":"F","req":"B","pages":[1,2],"first":0})";
  const char* alloc = R"({"ev":"alloc","pool":"F","req":"B","pages":[4],"first":2})";
  const char* fill = R"({"ev":"fill","pool":"F","req":"B","pages":[4]})";
  const char* row = R"({"ev":"table","buffer":"b","row":1,"col":0,"pages":[1,2,4]})";
  const char* again = R"({"ev":"share","pool":"F","req":"B","pages":[1],"first":2})";
  const char* cell = R"({"ev":"table","buffer":"b","row":1,"col":2,"pages":[1]})";
  const char* attends = attention.c_str();
  EXPECT_EQ(found_after({share, alloc, fill, row, attends, attends}), "");
  EXPECT_EQ(found_after({share, alloc, fill, row, attends, attends, again, cell, attends}),
            "ALIASED_WRITE@2");
}

// Nothing of the space that the map leads from was the request's when its lane was judged.
TEST(JudgeLaunch, AMapThatComesToLeadToALanesPagesIsCompared) {
  const std::string attention = R"({"ev":"attention","backend":"t","layer":0,"table":"b",)"
                                R"("rows":[{"req":"A","len":8,"row":0}]})";
  const Lines lines = {R"({"ev":"pool","pool":"F","pages":8,"page_size":4})",
                       R"({"ev":"pool","pool":"S","pages":8,"page_size":4})",
                       R"({"ev":"map","map":"m","from":"F","to":"S","unit":"page"})",
                       R"({"ev":"backend","backend":"t"})",
                       R"({"ev":"pool_swap","backend":"t","layers":"*","pool":"S"})",
                       R"({"ev":"buffer","buffer":"b"})",
                       R"({"ev":"alloc","pool":"S","req":"A","pages":[1,2],"first":0})",
                       R"({"ev":"fill","pool":"S","req":"A","pages":[1,2]})",
                       R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[1,2]})",
                       attention,
                       attention,
                       R"({"ev":"alloc","pool":"F","req":"A","pages":[3],"first":0})",
                       R"({"ev":"map_set","map":"m","pairs":[[3,5]]})",
                       attention};
  const JudgedLines reused = judge(lines, true), anew = judge(lines, false);
  EXPECT_EQ(reused.text, anew.text);
  EXPECT_EQ(reused.covered, anew.covered);
  ASSERT_EQ(reused.findings.size(), 1U);
  EXPECT_EQ(reused.findings[0].rule, Rule::kWrongSpace);
}

// Its window begins behind all that the pool holds of it.
TEST(JudgeLaunch, AQueryFarBehindReadsNothing) {
  const std::string attention =
      R"({"ev":"attention","backend":"t","layer":0,"table":"b","window":4,)"
      R"("rows":[{"req":"A","len":12,"row":0,"q_pos":)";
  const std::string at = attention + "12}]}", far = attention + "90}]}";
  EXPECT_EQ(found_after({at.c_str(), at.c_str(), far.c_str(), far.c_str(), at.c_str()}), "");
}

// How far they are is a number in a file: looking at all between would take hours.
TEST(JudgeLaunch, CellsFarBeyondTheOthersAreJudgedAndNothingBetween) {
  std::vector<std::string> launches;
  for (std::int64_t len = 8'200'000'000; len < 8'200'000'064; ++len) {
    launches.push_back(R"({"ev":"attention","backend":"t","layer":0,"table":"b",)"
                       R"("rows":[{"req":"A","row":0,"len":)" +
                       std::to_string(len) + "}]}");
  }
  std::vector<const char*> lines = {
      R"({"ev":"table","buffer":"b","row":0,"col":1900000000,"pages":[1]})",
      R"({"ev":"table","buffer":"b","row":0,"col":2000000000,"pages":[99]})"};
  for (const std::string& launch : launches) lines.push_back(launch.c_str());
  EXPECT_TRUE(found_after(lines).starts_with("ALIASED_WRITE@1900000000 OOB_PAGE@2000000000"))
      << found_after(lines);
}

}  // namespace
}  // namespace pagetape
