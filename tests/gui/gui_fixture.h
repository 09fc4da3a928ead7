// SPDX-License-Identifier: Apache-2.0
// A trace of the simulated engine, opened as the viewer opens it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <string>

#include "capture/sim/synth.h"
#include "gui/app/viewer.h"

namespace pagetape {

class GuiTest : public ::testing::Test {
 protected:
  ~GuiTest() override {
    std::remove(path_.c_str());
    std::remove(other_.c_str());
  }

  void synth(const char* bug) { synth(bug, path_); }
  static void synth(const char* bug, const std::string& path) {
    sim::Config config;
    config.model = sim::find_model("tiny");
    config.bug = sim::find_bug(bug)->bug;
    ASSERT_EQ(sim::synthesize(config, path).error, "");
  }
  std::unique_ptr<OpenTrace> open() {
    Loading loading;
    return load_trace(path_, loading, status_);
  }

  const std::string path_ = ::testing::TempDir() + "gui_" +
                            ::testing::UnitTest::GetInstance()->current_test_info()->name() +
                            ".ptape";
  const std::string other_ = path_ + ".other";  // For a trace to compare with.
  Status status_;
};

}  // namespace pagetape
