// SPDX-License-Identifier: Apache-2.0
#include "gui/app/scale.h"

#include <gtest/gtest.h>

namespace pagetape {
namespace {

TEST(ScaleTest, AWindowIsAsLargeAsItsMonitorWantsIt) {
  EXPECT_FLOAT_EQ(scale_of_window(1, 1600, 1600), 1);
  EXPECT_FLOAT_EQ(scale_of_window(2, 3200, 3200), 2);
  EXPECT_FLOAT_EQ(scale_of_window(1.5F, 0, 0), 1.5F) << "it is minimised";
  EXPECT_FLOAT_EQ(scale_of_window(40, 1600, 1600), kMostScale);
  EXPECT_FLOAT_EQ(scale_of_window(0.1F, 1600, 1600), kLeastScale);
}

TEST(ScaleTest, WhatTheSystemEnlargesIsNotEnlargedTwice) {
  EXPECT_FLOAT_EQ(scale_of_window(2, 1600, 3200), 1);
}

TEST(ScaleTest, APictureOf4KIsTwiceAsLargeAndASmallOneNoSmaller) {
  EXPECT_FLOAT_EQ(scale_of_picture(3840, 2160), 2);
  EXPECT_FLOAT_EQ(scale_of_picture(3840, 1080), 1);
  EXPECT_FLOAT_EQ(scale_of_picture(1280, 720), 1);
}

}  // namespace
}  // namespace pagetape
