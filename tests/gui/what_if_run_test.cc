// SPDX-License-Identifier: Apache-2.0
#include "gui/app/what_if_run.h"

#include "tests/gui/gui_fixture.h"

namespace pagetape {
namespace {

using WhatIfRunTest = GuiTest;

TEST_F(WhatIfRunTest, TheWholeRepairIsCleanAndTheDefectIsNot) {
  synth("stale-swa");
  const auto run = run_what_if(path_);
  run->wait();
  const WhatIfTold told = run->told();
  EXPECT_EQ(told.failed, "");
  ASSERT_EQ(told.lines.size(), known_variants().size());
  for (const VariantLine& line : told.lines) {
    EXPECT_EQ(line.clean, line.words[0] == "swap-swa-state" || line.words[0] == "resolve-per-call")
        << line.words[0];
    EXPECT_NE(line.words[5], "-") << line.words[0];
  }
}

TEST_F(WhatIfRunTest, IsStopped) {
  synth("stale-swa");
  const auto run = run_what_if(path_);
  run->stop();
  run->wait();
  EXPECT_TRUE(run->over());
  EXPECT_EQ(run->told().doing, "");
}

TEST_F(WhatIfRunTest, SaysWhyATraceCannotBeGoneOver) {
  const auto run = run_what_if(path_);
  run->wait();
  EXPECT_THAT(run->told().failed, ::testing::HasSubstr("gui_"));
}

}  // namespace
}  // namespace pagetape
