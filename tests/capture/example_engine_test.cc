// SPDX-License-Identifier: Apache-2.0
#include "capture/example/example_engine.h"

#include <gmock/gmock.h>

#include "tests/replay/replay_fixture.h"
#include "verify/trace_matchers.h"

namespace pagetape {
namespace {

class ExampleEngineTest : public testing::Test {
 protected:
  ExampleResult run(bool bad_id, bool guarded) {
    ExampleOptions options;
    options.trace = trace_;
    options.bad_id = bad_id;
    options.guarded = guarded;
    return run_example(options);
  }

  ScratchFolder folder_;
  const std::string trace_ = folder_.file("example.ptape");
};

TEST_F(ExampleEngineTest, RecordsItselfAndIsClean) {
  const ExampleResult result = run(false, true);
  EXPECT_EQ(result.error, "");
  EXPECT_EQ(result.launches, 40);
  EXPECT_EQ(result.findings, 0);
  EXPECT_THAT(trace_, HasNoFindings());
  const Report report = verify_trace(trace_, {});
  EXPECT_GE(report.judged[static_cast<std::size_t>(Rule::kOobPage)], 160u);
}

TEST_F(ExampleEngineTest, ABadIdIsFoundByTheGuardAndInTheTrace) {
  const ExampleResult result = run(true, false);
  EXPECT_EQ(result.error, "");
  EXPECT_GT(result.outside, 0);
  EXPECT_EQ(result.findings, result.outside);
  EXPECT_EQ(result.first, "row 0, column 0: page 4000 of 40");
  EXPECT_THAT(trace_, HasFinding("OOB_PAGE"));
}

TEST_F(ExampleEngineTest, UnderTheGuardNoLaunchIsGivenIt) {
  const ExampleResult result = run(true, true);
  EXPECT_EQ(result.outside, 0);
  EXPECT_GT(result.findings, 0);
  EXPECT_THAT(trace_, HasFinding("OOB_PAGE"));  // The table that the engine made.
}

TEST_F(ExampleEngineTest, AFileThatCannotBeWrittenIsSaid) {
  ExampleOptions options;
  options.trace = folder_.file("no/such/folder.ptape");
  EXPECT_NE(run_example(options).error, "");
}

}  // namespace
}  // namespace pagetape
