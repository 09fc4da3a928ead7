// SPDX-License-Identifier: Apache-2.0
#include "gui/app/pool_image.h"

#include <gtest/gtest.h>

namespace pagetape {
namespace {

constexpr Colour kBack = 0xff000000U, kRed = 0xff0000ffU;

// 4 pages and 100 events, each a bin; page 1 has an owner in events 20 to 29.
class PoolImageTest : public ::testing::Test {
 protected:
  PoolImageTest() : history(0, kNone, pool(), 100), colours(history.rows * history.bins, 0) {
    for (std::uint32_t bin = 20; bin < 30; ++bin) colours[bin * history.rows + 1] = kRed;
  }
  static Pool pool() {
    Pool out;
    out.pages = 4;
    return out;
  }
  Raster draw(const Axis& axis, int width, int height) {
    Raster out;
    out.reset(width, height, kBack);
    draw_pool(history, colours, history.rows, axis, height, out);
    return out;
  }
  PoolHistory history;
  std::vector<Colour> colours;
};

TEST_F(PoolImageTest, AStretchIsWhereItsEventsAndPagesAre) {
  const Raster image = draw(Axis(100), 200, 16);
  EXPECT_EQ(image.at(39, 5), kBack);
  EXPECT_EQ(image.at(40, 5), kRed);
  EXPECT_EQ(image.at(59, 5), kRed);
  EXPECT_EQ(image.at(60, 5), kBack);
  EXPECT_EQ(image.at(50, 3), kBack);
  EXPECT_EQ(image.at(50, 8), kBack);
}

TEST_F(PoolImageTest, AZoomedAxisShowsThePartInView) {
  Axis axis(100);
  axis.show(25, 35);
  const Raster image = draw(axis, 100, 4);
  EXPECT_EQ(image.at(0, 1), kRed);
  EXPECT_EQ(image.at(49, 1), kRed);
  EXPECT_EQ(image.at(50, 1), kBack);
}

TEST_F(PoolImageTest, WhatIsSmallerThanAPixelIsNotLost) {
  colours.assign(colours.size(), 0);
  colours[33 * history.rows + 2] = kRed;
  const Raster image = draw(Axis(100), 10, 1);
  EXPECT_EQ(image.at(3, 0), kRed);
  EXPECT_EQ(image.at(4, 0), kBack);
}

TEST_F(PoolImageTest, RowsWithRoomHaveAGapBetweenThem) {
  const Raster image = draw(Axis(100), 100, 40);
  EXPECT_EQ(image.at(25, 18), kRed);
  EXPECT_EQ(image.at(25, 19), kBack);
}

}  // namespace
}  // namespace pagetape
