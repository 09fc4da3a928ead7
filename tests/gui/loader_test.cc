// SPDX-License-Identifier: Apache-2.0
#include "gui/app/loader.h"

#include <chrono>
#include <fstream>

#include "tests/gui/gui_fixture.h"

namespace pagetape {
namespace {

class LoaderTest : public GuiTest {
 protected:
  // The next that is told and is wanted; null where the loader ended without it, or after a time
  // in which it would have come many times over.
  static std::unique_ptr<OpenTrace> wait_for(Loader& loader, EventIndex read_to) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(100);
    while (std::chrono::steady_clock::now() < end) {
      const bool over = loader.over();
      std::unique_ptr<OpenTrace> trace = loader.take();
      if (trace != nullptr && trace->index.read_to >= read_to) return trace;
      if (over && trace == nullptr) return nullptr;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return nullptr;
  }
  void append(const std::string& lines) { std::ofstream(path_, std::ios::app) << lines; }
};

TEST_F(LoaderTest, EndsWithWhatTheWholePassFinds) {
  synth("stale-swa");
  const auto whole = open();
  Loader loader(path_, false);
  const auto trace = wait_for(loader, whole->index.events);
  ASSERT_NE(trace, nullptr);
  EXPECT_TRUE(trace->index.whole());
  EXPECT_EQ(trace->index.total, whole->index.total);
}

TEST_F(LoaderTest, TheFirstThatIsToldSaysWhatTheFilesIndexSays) {
  synth("stale-swa");
  const auto whole = open();
  std::unique_ptr<OpenTrace> first;
  Loading loading;
  loading.tell = [&](std::unique_ptr<OpenTrace> trace) {
    if (first == nullptr) first = std::move(trace);
  };
  ASSERT_NE(load_trace(path_, loading, status_), nullptr);
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->index.read_to, 0U);
  EXPECT_EQ(first->index.events, whole->index.events);
  EXPECT_GT(first->index.summary.total(), 0U);
  Viewer viewer(std::move(first));
  EXPECT_TRUE(viewer.run("goto 60"));
  EXPECT_EQ(viewer.moment().at, 60U);
}

TEST_F(LoaderTest, FollowsAFileThatGrowsToItsEnd) {
  append("{\"ev\":\"pool\",\"pool\":\"F\",\"pages\":8,\"page_size\":4}\n");
  Loader loader(path_, true);
  const auto begun = wait_for(loader, 1);
  ASSERT_NE(begun, nullptr) << loader.status().message();
  EXPECT_EQ(begun->index.events, 1U);
  append(
      "{\"ev\":\"alloc\",\"pool\":\"F\",\"req\":\"A\",\"pages\":[8]}\n"
      "{\"ev\":\"end\"}\n");
  const auto grown = wait_for(loader, 3);
  ASSERT_NE(grown, nullptr);
  EXPECT_EQ(grown->index.events, 3U);
  EXPECT_EQ(grown->index.total, 1U);
  while (!loader.over()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

TEST_F(LoaderTest, SaysWhyAFileCannotBeOpened) {
  Loader loader(path_, false);
  EXPECT_EQ(wait_for(loader, 1), nullptr);
  EXPECT_THAT(loader.status().message(), ::testing::HasSubstr("gui_"));
}

}  // namespace
}  // namespace pagetape
