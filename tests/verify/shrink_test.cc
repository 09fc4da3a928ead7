// SPDX-License-Identifier: Apache-2.0
#include "verify/shrink.h"

#include <gtest/gtest.h>

#include "tests/verify/verify_fixture.h"
#include "verify/regression.h"

namespace pagetape {
namespace {

const char* const kNoise = R"({"ev":"alloc","pool":"F","req":"B","pages":[4,5]}
{"ev":"fill","pool":"F","req":"B","pages":[4,5]}
)";

ShrinkReport shrink_lines(const std::string& lines, Rule rule) {
  const ScratchFolder folder;
  ShrinkOptions options;
  options.rule = rule;
  return shrink(folder.write("trace.jsonl", lines), options);
}

TEST(Shrink, LeavesWhatTheFindingNeedsAndItIsStillFound) {
  const std::string lines = std::string(kSmallTrace) + kNoise + kGoodLaunch + kBadLaunch;
  const ShrinkReport report = shrink_lines(lines, Rule::kOobPage);
  ASSERT_TRUE(report.status.ok()) << report.status.message();
  EXPECT_LT(report.events.size(), report.events_before);
  const std::string text = regression_text(report.events, *report.names);
  EXPECT_EQ(text.find("\"B\""), std::string::npos);
  const Report again = verify_lines(text);
  EXPECT_EQ(again.total, 1u) << text;
  EXPECT_EQ(count_of(again, Rule::kOobPage), 1u);
}

TEST(Shrink, OfATraceWithoutTheFindingSaysSo) {
  const ShrinkReport report = shrink_lines(std::string(kSmallTrace) + kGoodLaunch, Rule::kOobPage);
  EXPECT_EQ(report.status.code(), Code::kUsage);
  EXPECT_NE(report.status.message().find("no finding of OOB_PAGE"), std::string::npos);
  EXPECT_TRUE(report.events.empty());
}

TEST(Shrink, MakesNamesAnonymousAndIdsSmall) {
  std::string lines = std::string(kSmallTrace) + kBadLaunch;
  for (std::size_t at; (at = lines.find("\"A\"")) != std::string::npos;) {
    lines.replace(at, 3, "\"customer-17\"");
  }
  const ShrinkReport report = shrink_lines(lines, Rule::kOobPage);
  ASSERT_TRUE(report.status.ok()) << report.status.message();
  EXPECT_EQ(regression_text(report.events, *report.names).find("customer"), std::string::npos);
  EXPECT_EQ(report.names->text(report.is.req), "r0");
  EXPECT_LT(report.is.page, 9);
  EXPECT_GE(report.is.page, report.is.bound);
}

TEST(Regression, HoldsTheTraceAndTheRule) {
  const ShrinkReport report = shrink_lines(std::string(kSmallTrace) + kBadLaunch, Rule::kOobPage);
  const std::string test = regression_gtest("a-b", report.is.rule, report.events, *report.names);
  EXPECT_NE(test.find("HasFinding(\"OOB_PAGE\")"), std::string::npos);
  EXPECT_NE(test.find("TEST(PagetapeRegression, a_b)"), std::string::npos);
  EXPECT_NE(test.find(regression_text(report.events, *report.names)), std::string::npos);
  EXPECT_NE(regression_bazel("r", report.is.rule, "r.ptape").find("finds = \"OOB_PAGE\""),
            std::string::npos);
}

}  // namespace
}  // namespace pagetape
