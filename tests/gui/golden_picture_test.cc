// SPDX-License-Identifier: Apache-2.0
// Pictures of runs of the simulated engine, compared with those in tests/gui/pictures. One that
// differs is left in bazel-testlogs/…/test.outputs/outputs.zip: look at it, and where it is right,
// put it there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stb_image.h>
#include <stb_image_write.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "capture/sim/synth.h"
#include "gui/picture.h"
#include "tests/gui/picture_blocks.h"

namespace pagetape {
namespace {

constexpr int kWidth = 960, kHeight = 540;

// A run of the simulated engine, under a name that pictures show.
std::string synth(const std::string& name, const char* bug) {
  const std::string path = ::testing::TempDir() + name;
  sim::Config config;
  config.model = sim::find_model("tiny");
  config.bug = sim::find_bug(bug)->bug;
  return sim::synthesize(config, path).error.empty() ? path : "";
}

std::unique_ptr<Viewer> open(const std::string& path) {
  Loading loading;
  Status status;
  auto trace = load_trace(path, loading, status);
  return trace == nullptr ? nullptr : std::make_unique<Viewer>(std::move(trace));
}

std::unique_ptr<Viewer> open_repaired() { return open(synth("repaired.ptape", "none")); }

// The crash as `--layout crash` shows it.
std::unique_ptr<Viewer> open_crash() {
  auto viewer = open(synth("crash.ptape", "stale-swa"));
  if (viewer != nullptr && viewer->run("next-finding") && viewer->run("blame")) return viewer;
  return nullptr;
}

class GoldenPictureTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")) {
      GTEST_SKIP() << "the pictures are drawn with DejaVu Sans, which is not here";
    }
    Status status;
    canvas_ = Canvas::open({.png = "", .width = kWidth, .height = kHeight, .scale = 0.8F}, status);
    if (canvas_ == nullptr) GTEST_SKIP() << status.message();
  }

  Rgba draw(Viewer& viewer) {
    for (int frame = 0; frame < 3; ++frame) (void)canvas_->draw(viewer);
    return {kWidth, kHeight, canvas_->pixels()};
  }
  static Rgba golden(const std::string& name) {
    Rgba out;
    int channels = 0;
    const std::string path = "tests/gui/pictures/" + name + ".png";
    if (stbi_uc* read = stbi_load(path.c_str(), &out.width, &out.height, &channels, 4)) {
      out.pixels.assign(read, read + static_cast<std::ptrdiff_t>(out.width) * out.height * 4);
      stbi_image_free(read);
    }
    return out;
  }
  void expect_golden(Viewer& viewer, const std::string& name) {
    const Rgba drawn = draw(viewer);
    const Rgba wanted = golden(name);
    const double differing = Blocks(drawn).differing(Blocks(wanted));
    if (differing <= Blocks::kMost) return;
    if (const char* folder = std::getenv("TEST_UNDECLARED_OUTPUTS_DIR")) {
      stbi_write_png((std::string(folder) + '/' + name + ".png").c_str(), kWidth, kHeight, 4,
                     drawn.pixels.data(), kWidth * 4);
    }
    ASSERT_FALSE(wanted.pixels.empty()) << "tests/gui/pictures/" << name << ".png is not there";
    ADD_FAILURE() << name << ": " << differing * 100 << "% of its blocks differ, drawn by "
                  << canvas_->renderer();
  }

  std::unique_ptr<Canvas> canvas_;
};

TEST_F(GoldenPictureTest, TheCrashIsBlamed) {
  const auto viewer = open_crash();
  ASSERT_NE(viewer, nullptr);
  expect_golden(*viewer, "crash");
}

TEST_F(GoldenPictureTest, TheCrashInLight) {
  const auto viewer = open_crash();
  ASSERT_NE(viewer, nullptr);
  viewer->run("theme");
  expect_golden(*viewer, "crash-light");
}

TEST_F(GoldenPictureTest, TheRepairedRunByAgeInARange) {
  const auto viewer = open_repaired();
  ASSERT_NE(viewer, nullptr);
  for (const char* command : {"colour age", "goto 100", "range 80 140", "bookmark here"}) {
    ASSERT_TRUE(viewer->run(command)) << viewer->message();
  }
  expect_golden(*viewer, "repaired");
}

TEST_F(GoldenPictureTest, TheCrashBesideTheRepairedRun) {
  const auto viewer = open_crash();
  ASSERT_NE(viewer, nullptr);
  viewer->compare_with(synth("repaired.ptape", "none"));
  viewer->run("wait");
  expect_golden(*viewer, "compare");
}

// What anyone would see must be found, by a margin.
TEST_F(GoldenPictureTest, PlantedChangesAreNoticed) {
  constexpr const char* kChanges[] = {"hide-lane draft swa_state",
                                      "hide-lane target launches",
                                      "theme",
                                      "colour space",
                                      "goto 5",
                                      "what-if"};
  const auto before = open_crash();
  ASSERT_NE(before, nullptr);
  const Blocks blocks(draw(*before));
  EXPECT_EQ(blocks.differing(Blocks(draw(*before))), 0);
  for (const char* change : kChanges) {
    const auto viewer = open_crash();
    ASSERT_TRUE(viewer->run(change)) << viewer->message();
    EXPECT_GT(blocks.differing(Blocks(draw(*viewer))), 2 * Blocks::kMost) << change;
  }
}

// Every pixel as another OpenGL might soften it: none is far off, and no block is.
TEST_F(GoldenPictureTest, NoiseOfAFewLevelsIsNone) {
  const auto viewer = open_crash();
  ASSERT_NE(viewer, nullptr);
  Rgba drawn = draw(*viewer);
  const Blocks before(drawn);
  std::uint32_t x = 1;
  for (std::uint8_t& part : drawn.pixels) {
    x = x * 1664525U + 1013904223U;
    const int moved = part + static_cast<int>(x >> 24) % 33 - 16;
    part = static_cast<std::uint8_t>(std::clamp(moved, 0, 255));
  }
  EXPECT_EQ(before.differing(Blocks(drawn)), 0);
}

}  // namespace
}  // namespace pagetape
