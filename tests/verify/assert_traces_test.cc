// SPDX-License-Identifier: Apache-2.0
#include "verify/assert_traces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "verify/trace_matchers.h"

namespace pagetape {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kCorpus = "traces/golden/corpus/";
const std::vector<std::string> kTraces = {kCorpus + "S01.bug.jsonl", kCorpus + "S01.ok.jsonl",
                                          "no/such/trace"};

TEST(AssertTraces, GivesEachTraceItsResultInOrderWhateverTheJobs) {
  const auto one = assert_traces(kTraces, {}, 1), many = assert_traces(kTraces, {}, 8);
  ASSERT_EQ(one.size(), 3u);
  EXPECT_EQ(one[0].exit_code, 1);
  EXPECT_EQ(one[1].exit_code, 0);
  EXPECT_EQ(one[2].exit_code, 2);
  EXPECT_EQ(exit_code(one), 2);
  EXPECT_EQ(assert_lines(one), assert_lines(many));
  EXPECT_EQ(assert_junit(one), assert_junit(many));
  EXPECT_EQ(assert_sarif(one), assert_sarif(many));
}

TEST(AssertTraces, SaysTheLineOfATextTrace) {
  const auto results = assert_traces({kTraces[0]}, {}, 1);
  ASSERT_FALSE(results[0].problems.empty());
  const Problem& first = results[0].problems.front();
  EXPECT_EQ(first.event, 9u);
  EXPECT_GE(first.line, 10u);
  EXPECT_THAT(assert_github(results), HasSubstr("line=" + std::to_string(first.line)));
}

TEST(AssertTraces, EscapesWhatEachFormCannotTakeAsItIs) {
  TraceResult r;
  r.trace = "a<b>&\"c\x01,d:e|f.ptape";
  r.exit_code = 2;
  Problem p;
  p.kind = Problem::Kind::kUnreadable;
  p.message = "50%\nof | it \xff";
  r.firsts = r.problems = {p};
  EXPECT_THAT(assert_junit({r}), HasSubstr("a&lt;b&gt;&amp;&quot;c\xEF\xBF\xBD,d:e|f.ptape"));
  EXPECT_THAT(assert_github({r}), HasSubstr("%2Cd%3Ae|f.ptape,title=UNREADABLE::50%25%0Aof"));
  EXPECT_THAT(assert_markdown({r}), HasSubstr("50% of \\| it"));
  EXPECT_THAT(assert_sarif({r}), HasSubstr("a%3Cb%3E&%22c%01,d%3Ae%7Cf.ptape"));
}

TEST(TraceMatchers, TellTheDefectFromItsRepair) {
  EXPECT_THAT(kTraces[1], HasNoFindings());
  EXPECT_THAT(kTraces[0], Not(HasNoFindings()));
  EXPECT_THAT(kTraces[0], HasFinding("OOB_PAGE"));
  EXPECT_THAT(kTraces[0], Not(HasFinding("GRAPH_STALE")));
  EXPECT_THAT("traces/golden/sglang-0.5.20-fixed.ptape", HasNoFindings());
}

}  // namespace
}  // namespace pagetape
