// SPDX-License-Identifier: Apache-2.0
#include "gui/app/palette.h"

#include <gtest/gtest.h>

namespace pagetape {
namespace {

TEST(Palette, LettersInOrderFitCaseAside) {
  EXPECT_GE(fuzzy_score("oob", "first OOB_PAGE at event 268"), 0);
  EXPECT_GE(fuzzy_score("nf", "next-finding"), 0);
  EXPECT_LT(fuzzy_score("boo", "OOB"), 0);
}

TEST(Palette, RunsAndBeginningsOfWordsComeFirst) {
  const std::vector<PaletteItem> items{{"step back", "a"}, {"the best", "b"}, {"bench", "c"}};
  const auto best = best_items("be", items, 2);
  ASSERT_EQ(best.size(), 2U);
  EXPECT_EQ(best[0].command, "b");
}

TEST(Palette, NothingTypedGivesThemInOrder) {
  const std::vector<PaletteItem> items{{"b", "1"}, {"a", "2"}};
  EXPECT_EQ(best_items("", items, 5)[0].command, "1");
}

}  // namespace
}  // namespace pagetape
