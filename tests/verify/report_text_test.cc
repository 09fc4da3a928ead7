// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/verify/verify_fixture.h"

namespace pagetape {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::string text_of(const std::string& lines, const VerifyOptions& options = {}) {
  const ScratchFolder folder;
  return report_text(verify_trace(folder.write("trace.jsonl", lines), options));
}

TEST(ReportText, ACleanTraceSaysSoInItsFirstLine) {
  const std::string text = text_of(std::string(kSmallTrace) + kGoodLaunch);
  EXPECT_THAT(text, StartsWith("PASS  "));
  EXPECT_THAT(text, HasSubstr("no finding in 6 events, 1 launches"));
}

TEST(ReportText, AFindingIsSaidFirstAndExplainedEventByEvent) {
  const std::string text = report_text(verify_trace("traces/golden/corpus/S01.bug.jsonl", {}));
  EXPECT_THAT(text, StartsWith("FAIL  traces/golden/corpus/S01.bug.jsonl: "));
  EXPECT_THAT(text, HasSubstr("How it came about:"));
  EXPECT_THAT(text, HasSubstr("event 5: backend d derived from D that it uses no sliding-window"));
  EXPECT_THAT(text, HasSubstr("event 8: backend d: layer 22 bound to pool S"));
  EXPECT_THAT(text, HasSubstr("OOB_PAGE at event 9, backend d, layer 22, request A"));
}

TEST(ReportText, FindingsAreCountedByRule) {
  const std::string text = text_of(std::string(kSmallTrace) + kBadLaunch + kBadLaunch);
  EXPECT_THAT(text, HasSubstr("Findings by rule:"));
  EXPECT_THAT(text, HasSubstr("OOB_PAGE        2 of 4 judged; first at event 5"));
}

TEST(ReportText, WhatWasNotCheckedIsNamedWithWhatItNeeds) {
  const std::string text = text_of(std::string(kSmallTrace) + kGoodLaunch);
  EXPECT_THAT(text, HasSubstr("Not checked"));
  EXPECT_THAT(text, HasSubstr("STALE_CONTENT   F  (needs fill.digest)"));
  EXPECT_THAT(text, HasSubstr("Not applicable"));
}

TEST(ReportText, FindingsBeyondTheLimitAreSaidToBeThere) {
  VerifyOptions options;
  options.judge.max_findings = 1;
  const std::string lines = std::string(kSmallTrace) + kBadLaunch + kBadLaunch + kBadLaunch;
  EXPECT_THAT(text_of(lines, options), HasSubstr("2 more findings are counted and not listed"));
}

TEST(ReportText, AMissingRuleIsNamed) {
  VerifyOptions options;
  options.required[static_cast<std::size_t>(Rule::kWrongSpace)] = true;
  const std::string text = text_of(std::string(kSmallTrace) + kGoodLaunch, options);
  EXPECT_THAT(text, StartsWith("INCOMPLETE  "));
  EXPECT_THAT(text, HasSubstr("required, not checked: WRONG_SPACE of t"));
}

TEST(ReportText, AnErrorIsTheFirstLine) {
  const std::string text = text_of(std::string(kSmallTrace) + "{}\n");
  EXPECT_THAT(text.substr(0, text.find('\n')), HasSubstr("jsonl:6: "));
}

TEST(ReportText, WarningsAreAtTheEnd) {
  const std::string text = text_of("{\"ev\":\"note\",\"text\":\"n\",\"newer\":1}\n");
  EXPECT_THAT(text, HasSubstr("warning: "));
  EXPECT_THAT(text, HasSubstr("newer"));
}

TEST(ReportText, LargeNumbersAreGrouped) {
  std::string lines;
  for (int i = 0; i < 1234; ++i) lines += "{\"ev\":\"note\",\"text\":\"n\"}\n";
  EXPECT_THAT(text_of(lines), HasSubstr("no finding in 1,234 events"));
}

TEST(ReportText, TheLogicalLayerIsSaidWhereItIsAnother) {
  const std::string remap = R"({"ev":"layer_remap","backend":"t","layer":"a0","to":22}
{"ev":"attention","backend":"t","layer":"a0","rows":[{"req":"A","len":8,"pages":[1,9]}]}
)";
  EXPECT_THAT(text_of(std::string(kSmallTrace) + remap), HasSubstr("layer 22 (logical a0)"));
  EXPECT_THAT(text_of(std::string(kSmallTrace) + kBadLaunch), Not(HasSubstr("logical 0")));
}

}  // namespace
}  // namespace pagetape
