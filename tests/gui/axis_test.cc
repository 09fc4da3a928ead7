// SPDX-License-Identifier: Apache-2.0
#include "gui/app/axis.h"

#include <gtest/gtest.h>

namespace pagetape {
namespace {

TEST(Axis, ZoomingLeavesTheEventUnderTheCursorWhereItIs) {
  Axis axis(10'000);
  const double before = axis.x_of(2'500, 1'000);
  axis.zoom(0.1, 2'500);
  EXPECT_NEAR(axis.x_of(2'500, 1'000), before, 1e-6);
  EXPECT_NEAR(axis.span(), 1'000, 1e-6);
}

TEST(Axis, StaysWithinTheTrace) {
  Axis axis(1'000);
  axis.show(900, 1'000);
  axis.pan(500);
  EXPECT_EQ(axis.end(), 1'000);
  EXPECT_EQ(axis.span(), 100);
  axis.zoom(1e9, 950);
  EXPECT_EQ(axis.begin(), 0);
  EXPECT_EQ(axis.end(), 1'000);
  axis.zoom(1e-9, 500);
  EXPECT_EQ(axis.span(), Axis::kLeast);
}

TEST(Axis, RevealsAnEventByMovingAsLittleAsItMay) {
  Axis axis(1'000);
  axis.show(100, 200);
  axis.reveal(150);
  EXPECT_EQ(axis.begin(), 100);
  axis.reveal(199);
  EXPECT_EQ(axis.end(), 209);
  axis.reveal(700);
  EXPECT_EQ(axis.begin(), 650);
}

TEST(Axis, GrowsWithItsTraceAndStaysWhereSomeoneLooks) {
  Axis whole(1'000), part(1'000);
  part.show(100, 200);
  whole.grow(2'000);
  part.grow(2'000);
  EXPECT_EQ(whole.end(), 2'000);
  EXPECT_EQ(part.begin(), 100);
  EXPECT_EQ(part.end(), 200);
}

TEST(Axis, AnEmptyTraceHasAnAxis) {
  const Axis axis(0);
  EXPECT_EQ(axis.span(), Axis::kLeast);
}

TEST(Axis, TicksAreRoundAndFewEnough) {
  EXPECT_EQ(ticks_of(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8}));
  EXPECT_LE(ticks_of(123, 45'678, 7).size(), 8U);
  EXPECT_TRUE(ticks_of(5, 5, 7).empty());
}

}  // namespace
}  // namespace pagetape
