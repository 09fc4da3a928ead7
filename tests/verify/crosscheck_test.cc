// SPDX-License-Identifier: Apache-2.0
// The judge's judge: it must see when machine and verifier differ.
#include "verify/crosscheck.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "capture/sim/synth.h"

namespace pagetape {
namespace {

class CrossCheckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    sim::Config config;
    config.model = sim::find_model("tiny");
    config.bug = sim::find_bug("stale-swa")->bug;
    ASSERT_EQ(sim::synthesize(config, path_).error, "");
    report_ = replay({});
    ASSERT_GT(report_.findings.size(), 10u);
  }
  ~CrossCheckTest() override { std::remove(path_.c_str()); }

  ReplayReport replay(const ReplayOptions& options) {
    const auto machine = make_cpu_machine(2);
    return replay_trace(path_, options, *machine);
  }

  std::string path_ = testing::TempDir() + "/crosscheck_test.trace";
  ReplayReport report_;
};

TEST_F(CrossCheckTest, BothFindTheSame) {
  const CrossCheck check = crosscheck(report_, {});
  EXPECT_EQ(check.differing, 0u);
  EXPECT_EQ(check.agreed, report_.findings.size());
}

TEST_F(CrossCheckTest, SoTheyDoInSomeOfTheLayers) {
  ReplayOptions options;
  options.layers = {2, 3};
  const ReplayReport some = replay(options);
  EXPECT_EQ(crosscheck(some, options).differing, 0u);
}

TEST_F(CrossCheckTest, AFindingThatTheMachineMissedIsSeen) {
  report_.findings.erase(report_.findings.begin() + 5);
  const CrossCheck check = crosscheck(report_, {});
  EXPECT_EQ(check.differing, 1u);
  EXPECT_THAT(check.differences.at(0), testing::HasSubstr("the machine found 0 outside"));
}

TEST_F(CrossCheckTest, AFindingThatItInventedIsSeen) {
  ReplayFinding invented = report_.findings.front();
  invented.column += 1;
  report_.findings.push_back(invented);
  EXPECT_EQ(crosscheck(report_, {}).differing, 1u);
}

TEST_F(CrossCheckTest, OneOfAnotherKindIsSeen) {
  report_.findings.front().outside = !report_.findings.front().outside;
  EXPECT_EQ(crosscheck(report_, {}).differing, 1u);
}

}  // namespace
}  // namespace pagetape
