// SPDX-License-Identifier: Apache-2.0
// Traces with keyframes, good ones and one that lies, for what goes through them in parts.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "capture/sim/synth.h"
#include "replay/compact.h"
#include "tests/replay/replay_fixture.h"
#include "traces/reader.h"
#include "traces/writer.h"

namespace pagetape {

class TracesInParts : public testing::Test {
 protected:
  // The tiny model's, with that defect and at least five keyframes.
  void synth(std::string_view bug, const std::string& path) {
    sim::Config config;
    config.model = sim::find_model("tiny");
    config.bug = sim::find_bug(bug)->bug;
    ASSERT_EQ(sim::synthesize(config, folder_.file("s")).error, "");
    std::uint64_t keyframes = 0;
    const WriterOptions small{.segment_events = 50};
    ASSERT_TRUE(compact_trace(folder_.file("s"), path, small, 300, keyframes).ok());
    ASSERT_GT(keyframes, 4u);
  }

  // The clean trace with a keyframe that is whole, and of another run.
  void synth_with_a_lie(const std::string& path) {
    synth("none", path_);
    synth("stale-swa", folder_.file("other"));
    Names names;
    Status status;
    const auto good = Reader::open(path_, names, status);
    const auto other = Reader::open(folder_.file("other"), names, status);
    ASSERT_FALSE(other->keyframes().empty());
    const KeyframeInfo from = other->keyframes().back();
    std::string state;
    ASSERT_TRUE(other->keyframe_state(from, state).ok());
    const auto writer = create_trace(path, names, {}, status);
    ASSERT_NE(writer, nullptr);
    Event event;
    while (good->next(event)) {
      if (good->position() == from.event + 1) {
        ASSERT_TRUE(writer->add_keyframe(state, from.digest).ok());
      }
      ASSERT_TRUE(writer->add(event).ok());
    }
    ASSERT_TRUE(writer->close().ok());
  }

  ScratchFolder folder_;
  const std::string path_ = folder_.file("x.ptape");
};

}  // namespace pagetape
