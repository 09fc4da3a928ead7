// SPDX-License-Identifier: Apache-2.0
#include "gui/app/raster.h"

#include <gtest/gtest.h>

namespace pagetape {
namespace {

constexpr Colour kBack = 0xff000000U, kRed = 0xff0000ffU;

int count(const Raster& raster, Colour colour) {
  int n = 0;
  for (const Colour pixel : raster.pixels()) n += pixel == colour;
  return n;
}

TEST(RasterTest, ARectangleCoversItsPixelsAndNoOthers) {
  Raster raster;
  raster.reset(10, 8, kBack);
  raster.fill(2, 3, 5, 6, kRed);
  EXPECT_EQ(count(raster, kRed), 9);
  EXPECT_EQ(raster.at(2, 3), kRed);
  EXPECT_EQ(raster.at(4, 5), kRed);
  EXPECT_EQ(raster.at(5, 5), kBack);
}

TEST(RasterTest, WhatIsNarrowerThanAPixelIsSeenAndWhatIsOutsideIsCut) {
  Raster raster;
  raster.reset(10, 8, kBack);
  raster.fill(4.1, 2, 4.2, 3, kRed);
  EXPECT_EQ(count(raster, kRed), 1);
  raster.fill(9.7, 7.8, 9.9, 20, kRed);  // At the last pixel of all.
  EXPECT_EQ(count(raster, kRed), 2);
  raster.fill(-5, -5, 0, 0, kRed);
  raster.fill(10, 0, 12, 8, kRed);
  raster.fill(3, 3, 3, 3, kRed);
  EXPECT_EQ(count(raster, kRed), 2);
}

TEST(RasterTest, ATranslucentColourLetsWhatIsUnderItThrough) {
  Raster raster;
  raster.reset(1, 1, 0xff000000U);
  raster.fill(0, 0, 1, 1, 0x800000ffU);
  EXPECT_EQ(raster.at(0, 0), 0xff000080U);
  EXPECT_EQ(over(0x00ffffffU, kRed), kRed);
  EXPECT_EQ(over(0xffffffffU, kRed), 0xffffffffU);
}

TEST(RasterTest, ARowIsRepeated) {
  Raster raster;
  raster.reset(3, 2, kBack);
  raster.set(1, 0, kRed);
  raster.repeat(1);
  EXPECT_EQ(raster.at(1, 1), kRed);
  EXPECT_EQ(count(raster, kRed), 2);
}

}  // namespace
}  // namespace pagetape
