// SPDX-License-Identifier: Apache-2.0
// The scripted tour, drawn without a screen.
#include "gui/picture.h"

#include <cstdio>
#include <filesystem>
#include <vector>

#include "gui/measure.h"
#include "tests/gui/gui_fixture.h"
#include "verify/report.h"

namespace pagetape {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using PictureTest = GuiTest;

TEST_F(PictureTest, TheTourNamesThePoolSwapAndTheStaleState) {
  synth("stale-swa");
  Viewer viewer(open());
  ASSERT_TRUE(viewer.run("next-finding"));
  ASSERT_TRUE(viewer.run("blame"));
  ASSERT_TRUE(viewer.run("what-if"));
  ASSERT_TRUE(viewer.run("wait"));
  const Picture picture{.png = path_ + ".png"};
  std::string texts;
  const Status status = draw_picture(viewer, picture, texts);
  if (status.code() == Code::kSystem) GTEST_SKIP() << status.message();
  ASSERT_TRUE(status.ok()) << status.message();
  for (const char* pane : {"Timeline", "Pool map", "What if", "State", "Findings"}) {
    EXPECT_THAT(texts, HasSubstr("== " + std::string(pane) + " =="));
  }
  EXPECT_THAT(texts, HasSubstr("the pool swap"));
  EXPECT_THAT(texts, HasSubstr("STALE  swa_state: no window pool"));
  EXPECT_THAT(texts, HasSubstr("WRONG_SPACE"));
  EXPECT_THAT(texts, HasSubstr("== Findings ==\nat " + grouped(viewer.events_shown()) + " events"));
  // The clamp leaves wrong reads from the same event on; the repair leaves none.
  EXPECT_THAT(texts, ContainsRegex("first wrong read at event [0-9]+: none, clamp"));
  EXPECT_THAT(texts, ContainsRegex("clamp  0  192 .*from event"));
  EXPECT_THAT(texts, ContainsRegex("swap-swa-state  0  0 .*reads the right pages"));
  // A picture of one colour takes some 10 KB.
  EXPECT_GT(std::filesystem::file_size(picture.png), 40'000U);
  std::remove(picture.png.c_str());
}

TEST_F(PictureTest, ATourIsMeasured) {
  synth("stale-swa");
  std::string figures;
  const Status status = measure_viewer(path_, {.png = "", .width = 640, .height = 400}, figures);
  if (status.code() == Code::kSystem) GTEST_SKIP() << status.message();
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_THAT(figures, ContainsRegex("frames of the tour +p50 .* of 230\n"));
  EXPECT_THAT(figures, ContainsRegex("seeks +p50 .* of 300\n"));
  EXPECT_THAT(figures, ContainsRegex("frames while seeking +p50 .* of 100\n"));
  for (const char* part : {"drawn by", "queries and images", "panes", "draw lists", "OpenGL"}) {
    EXPECT_THAT(figures, HasSubstr(part));
  }
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
  EXPECT_THAT(texts, HasSubstr("the wheel zooms"));
}

// What a window does as it comes to another monitor, and here a command.
TEST_F(PictureTest, AtAnotherScaleAllIsDrawnAsIfItHadBeenSoFromTheBeginning) {
  synth("stale-swa");
  Viewer viewer(open());
  viewer.run("next-finding");
  viewer.run("blame");
  Status status;
  const auto drawn = [&](Canvas& canvas) {
    for (int frame = 0; frame < 3; ++frame) (void)canvas.draw(viewer);
    return canvas.pixels();
  };
  std::vector<std::uint8_t> once, twice;
  {
    const auto canvas = Canvas::open({.png = "", .width = 1280, .height = 720}, status);
    if (canvas == nullptr) GTEST_SKIP() << status.message();
    once = drawn(*canvas);
    ASSERT_TRUE(viewer.run("scale 2")) << viewer.message();
    twice = drawn(*canvas);
    ASSERT_TRUE(viewer.run("scale"));
    EXPECT_TRUE(drawn(*canvas) == once) << "back to what the screen wants";
  }
  const auto canvas = Canvas::open({.png = "", .width = 1280, .height = 720, .scale = 2}, status);
  ASSERT_NE(canvas, nullptr) << status.message();
  EXPECT_TRUE(drawn(*canvas) == twice);
  EXPECT_FALSE(once == twice);
  for (const char* wrong : {"scale 0.1", "scale 5", "scale large", "scale nan", "scale 1 2"}) {
    EXPECT_FALSE(viewer.run(wrong)) << wrong;
  }
}

}  // namespace
}  // namespace pagetape
