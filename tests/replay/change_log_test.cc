// SPDX-License-Identifier: Apache-2.0
#include "replay/change_log.h"

#include <gtest/gtest.h>

#include "tests/replay/replay_fixture.h"

namespace pagetape {
namespace {

TEST(ChangeLog, NothingTouchedNothingToJudgeAgain) {
  const ChangeLog log;
  EXPECT_EQ(log.low_since(log.version()), INT32_MAX);
}

TEST(ChangeLog, TheLeastIndexTouchedSinceIsRemembered) {
  ChangeLog log;
  log.touch(9);
  const std::uint32_t seen = log.version();
  log.touch(5);
  log.touch(7);
  EXPECT_EQ(log.low_since(seen), 5);
  EXPECT_EQ(log.low_since(seen + 1), 7);
}

TEST(ChangeLog, WhatIsForgottenIsJudgedFromTheStart) {
  ChangeLog log;
  const std::uint32_t seen = log.version();
  for (int i = 0; i < 20; ++i) log.touch(50);
  EXPECT_EQ(log.low_since(seen), 0);
  EXPECT_EQ(log.low_since(log.version() - 1), 50);
}

TEST(ChangeLog, IndicesAreKeptWithinTheirRange) {
  ChangeLog log;
  const std::uint32_t seen = log.version();
  log.touch(std::int64_t{1} << 40);
  EXPECT_EQ(log.low_since(seen), INT32_MAX);
  log.touch(-5);
  EXPECT_EQ(log.low_since(seen), 0);
}

TEST(ChangeLog, TouchesBeforeWhatIsLookedAtAreNone) {
  ChangeLog log;
  const std::uint32_t seen = log.version();
  log.touch(3, 5);
  EXPECT_EQ(log.low_since(seen), 3);
  EXPECT_EQ(log.low_since(seen, 4), 3);
  EXPECT_EQ(log.low_since(seen, 5), INT32_MAX);
  log.touch(2);  // From there on.
  EXPECT_EQ(log.low_since(seen, 5), 2);
}

// A touch that reaches what is looked at is told of, and no other of the last few.
TEST(ChangeLog, AnswersTheLeastIndexTouchedThatMatters) {
  struct Touch {
    std::int64_t index, end;
  };
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Dice dice(seed);
    ChangeLog log;
    std::vector<Touch> touched;
    for (int i = 0; i < 60; ++i) {
      const std::int64_t index = dice.below(100);
      touched.push_back({index, dice.below(2) == 0 ? INT32_MAX : index + 1 + dice.below(9)});
      log.touch(index, touched.back().end);
      const std::int64_t ago = dice.below(std::ssize(touched) + 1), from = dice.below(120);
      std::int64_t low = INT32_MAX;
      for (std::int64_t k = std::ssize(touched) - ago; k < std::ssize(touched); ++k) {
        const Touch& touch = touched[static_cast<std::size_t>(k)];
        if (touch.end > from) low = std::min(low, touch.index);
      }
      const auto version = static_cast<std::uint32_t>(log.version() - ago);
      ASSERT_LE(log.low_since(version, from), low) << "seed " << seed;
      if (ago <= 8) {
        ASSERT_EQ(log.low_since(version, from), low) << "seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace pagetape
