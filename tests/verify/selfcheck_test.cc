// SPDX-License-Identifier: Apache-2.0
#include "verify/selfcheck.h"

#include <gtest/gtest.h>

#include "tests/verify/parts_fixture.h"
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

// Where there is nothing to plant with, nothing is planted.
TEST(Selfcheck, OfATraceWithoutPoolsOrPagesFindsAllThatIsPlanted) {
  const SelfcheckReport report = selfcheck_lines(R"({"ev":"backend","backend":"b"}
{"ev":"attention","backend":"b","layers":[0],"rows":[]}
{"ev":"pool","pool":"F","pages":0,"page_size":4}
{"ev":"fill","pool":"F","req":"A","pages":[]}
{"ev":"arena","arena":"a","bytes":9223372036854775807}
{"ev":"extent","arena":"a","owner":"F","begin":0,"end":1}
)");
  EXPECT_EQ(report.findings, 0u) << selfcheck_text(report);
  EXPECT_EQ(report.found(), report.made()) << selfcheck_text(report);
}

using SelfcheckInParts = TracesInParts;

std::string json_of(const std::string& path, unsigned jobs, std::uint64_t seed = 1) {
  SelfcheckOptions options;
  options.jobs = jobs;
  options.seed = seed;
  return selfcheck_json(selfcheck(path, options));
}

TEST_F(SelfcheckInParts, GivesTheSameReportOnAnyNumberOfThreads) {
  synth("none", path_);
  SelfcheckOptions options;
  options.jobs = 4;
  const SelfcheckReport report = selfcheck(path_, options);
  EXPECT_TRUE(report.full()) << selfcheck_text(report);
  EXPECT_GT(report.made(), 50u);
  for (const std::uint64_t seed : {1, 2, 3}) {
    EXPECT_EQ(json_of(path_, 1, seed), json_of(path_, 4, seed));
  }
  EXPECT_NE(json_of(path_, 4, 1), json_of(path_, 4, 2));
}

TEST_F(SelfcheckInParts, PlantsNoMoreFaultsThanWereAskedFor) {
  synth("none", path_);
  const auto made = [&](const std::string& path) {
    SelfcheckOptions options;
    options.count = 3;
    options.rules.fill(false);
    options.rules[static_cast<std::size_t>(Rule::kOobPage)] = true;
    return selfcheck(path, options).made();
  };
  EXPECT_GT(made(path_), 0u);
  EXPECT_EQ(made(path_), made(folder_.file("s"))) << "the same trace without keyframes";
}

TEST_F(SelfcheckInParts, WhereAKeyframeLiesGoesThroughTheWhole) {
  const std::string lying = folder_.file("lying");
  synth_with_a_lie(lying);
  SelfcheckOptions options;
  options.jobs = 2;
  EXPECT_TRUE(selfcheck(lying, options).full()) << selfcheck_text(selfcheck(lying, options));
  EXPECT_EQ(json_of(lying, 1), json_of(lying, 2));
}

}  // namespace
}  // namespace pagetape
