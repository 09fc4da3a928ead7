// SPDX-License-Identifier: Apache-2.0
// Judged in parts or in one go, a trace gives the same report to the byte.
#include "verify/parts.h"

#include <gtest/gtest.h>

#include "tests/verify/parts_fixture.h"
#include "verify/report.h"

namespace pagetape {
namespace {

std::string json(const std::string& path, unsigned jobs, std::size_t max_findings = 100) {
  VerifyOptions options;
  options.jobs = jobs;
  options.judge.max_findings = max_findings;
  return report_json(verify_trace(path, options));
}

class PartsOfGolden : public testing::TestWithParam<std::string> {};

TEST_P(PartsOfGolden, GiveTheReportOfTheWhole) {
  const ScratchFolder folder;
  const std::string path = folder.file("x.ptape");
  std::uint64_t keyframes = 0;
  (void)compact_trace(GetParam(), path, {.segment_events = 4}, 2, keyframes);
  for (const std::size_t most : {0, 1, 100}) EXPECT_EQ(json(path, 1, most), json(path, 3, most));
}

INSTANTIATE_TEST_SUITE_P(All, PartsOfGolden, testing::ValuesIn(golden_traces()),
                         [](const auto& info) { return case_name(info.param); });

using Parts = TracesInParts;

TEST_F(Parts, OfSyntheticTracesGiveTheReportOfTheWhole) {
  for (const sim::BugInfo& bug : sim::bugs()) {
    synth(bug.name, path_);
    EXPECT_EQ(json(path_, 1), json(path_, 4)) << bug.name;
  }
}

TEST_F(Parts, AreJudgedWhereThereAreKeyframes) {
  synth("none", path_);
  const VerifyOptions options;
  const std::unique_ptr<Judged> judged = judge_in_parts(path_, options, 2);
  ASSERT_NE(judged, nullptr);
  EXPECT_EQ(judged->events, verify_trace(path_, options).events);
  EXPECT_EQ(judge_in_parts(folder_.file("s"), options, 2), nullptr) << "no keyframes";
  EXPECT_EQ(judge_in_parts(path_, options, 1), nullptr) << "one thread";
}

TEST_F(Parts, AKeyframeOfAnotherStateIsNotBelieved) {
  const std::string lying = folder_.file("lying");
  synth_with_a_lie(lying);
  EXPECT_EQ(judge_in_parts(lying, {}, 2), nullptr);
  EXPECT_EQ(json(lying, 1), json(lying, 2));
}

}  // namespace
}  // namespace pagetape
