// SPDX-License-Identifier: Apache-2.0
#include "verify/selfcheck.h"

#include <gtest/gtest.h>

#include "tests/verify/verify_fixture.h"

namespace pagetape {
namespace {

SelfcheckReport selfcheck_lines(const std::string& lines, const SelfcheckOptions& options = {}) {
  const ScratchFolder folder;
  return selfcheck(folder.write("trace.jsonl", lines), options);
}

TEST(Selfcheck, FindsWhatItPlantedAndLeavesOutWhatTheTraceCannotCheck) {
  const SelfcheckReport report = selfcheck_lines(std::string(kSmallTrace) + kGoodLaunch);
  EXPECT_TRUE(report.full()) << selfcheck_text(report);
  EXPECT_EQ(report.exit_code(), 0);
  EXPECT_GT(report.scores[static_cast<std::size_t>(Rule::kOobPage)].found, 0u);
  EXPECT_EQ(report.scores[static_cast<std::size_t>(Rule::kGraphStale)].made, 0u);
  EXPECT_NE(selfcheck_text(report).find("GRAPH_STALE"), std::string::npos);
}

TEST(Selfcheck, RefusesATraceWithFindings) {
  const SelfcheckReport report = selfcheck_lines(std::string(kSmallTrace) + kBadLaunch);
  EXPECT_EQ(report.exit_code(), 1);
  EXPECT_EQ(report.made(), 0u);
}

TEST(Selfcheck, IsTheSameForTheSameSeed) {
  const std::string lines = std::string(kSmallTrace) + kGoodLaunch;
  SelfcheckOptions options;
  options.seed = 7;
  const auto places = [&] { return selfcheck_lines(lines, options).made(); };
  EXPECT_EQ(places(), places());
}

TEST(Selfcheck, OfATraceWithoutAPlaceIsNoFullScore) {
  EXPECT_EQ(selfcheck_lines(kSmallTrace, {}).findings, 0u);
  SelfcheckOptions options;
  options.rules.fill(false);
  EXPECT_EQ(selfcheck_lines(kSmallTrace, options).exit_code(), 1);
}

}  // namespace
}  // namespace pagetape
