// SPDX-License-Identifier: Apache-2.0
// The scripted tour, drawn without a screen.
#include "gui/picture.h"

#include <cstdio>
#include <filesystem>

#include "tests/gui/gui_fixture.h"

namespace pagetape {
namespace {

using ::testing::HasSubstr;
using PictureTest = GuiTest;

TEST_F(PictureTest, TheTourNamesThePoolSwapAndTheStaleState) {
  synth("stale-swa");
  Viewer viewer(open());
  ASSERT_TRUE(viewer.run("next-finding"));
  ASSERT_TRUE(viewer.run("blame"));
  const Picture picture{.png = path_ + ".png"};
  std::string texts;
  const Status status = draw_picture(viewer, picture, texts);
  if (status.code() == Code::kSystem) GTEST_SKIP() << status.message();
  ASSERT_TRUE(status.ok()) << status.message();
  for (const char* pane : {"Timeline", "Pool map", "Table", "State", "Findings"}) {
    EXPECT_THAT(texts, HasSubstr("== " + std::string(pane) + " =="));
  }
  EXPECT_THAT(texts, HasSubstr("the pool swap"));
  EXPECT_THAT(texts, HasSubstr("STALE  swa_state: no window pool"));
  EXPECT_THAT(texts, HasSubstr("WRONG_SPACE"));
  // A picture of one colour takes some 10 KB.
  EXPECT_GT(std::filesystem::file_size(picture.png), 40'000U);
  std::remove(picture.png.c_str());
}

TEST_F(PictureTest, SmallLightAndScaledPicturesAreDrawnToo) {
  synth("none");
  Viewer viewer(open());
  viewer.run("theme");
  viewer.run("help");
  std::string texts;
  const Status status =
      draw_picture(viewer, {.png = "", .width = 640, .height = 400, .scale = 2}, texts);
  if (status.code() == Code::kSystem) GTEST_SKIP() << status.message();
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_THAT(texts, HasSubstr("next-finding"));
}

}  // namespace
}  // namespace pagetape
