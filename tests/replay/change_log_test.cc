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

TEST(ChangeLog, NeverAnswersMoreThanTheLeastIndexTouched) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Dice dice(seed);
    ChangeLog log;
    std::vector<std::int64_t> touched;
    for (int i = 0; i < 60; ++i) {
      touched.push_back(dice.below(100));
      log.touch(touched.back());
      const std::int64_t ago = dice.below(std::ssize(touched) + 1);
      std::int64_t low = INT32_MAX;
      for (std::int64_t k = std::ssize(touched) - ago; k < std::ssize(touched); ++k) {
        low = std::min(low, touched[static_cast<std::size_t>(k)]);
      }
      const auto version = static_cast<std::uint32_t>(log.version() - ago);
      ASSERT_LE(log.low_since(version), low) << "seed " << seed;
      if (ago <= 8) {
        ASSERT_EQ(log.low_since(version), low) << "seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace pagetape
