// SPDX-License-Identifier: Apache-2.0
#include "verify/chrome_file.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/verify/export_fixture.h"

namespace pagetape {
namespace {

// What `write` says to a file, parsed.
template <class F>
nlohmann::json written(F&& write) {
  const ScratchFolder folder;
  const std::string path = folder.file("x.json");
  OutputFile out;
  EXPECT_TRUE(out.open(path).ok());
  ChromeFile file(out);
  write(file);
  file.finish();
  EXPECT_TRUE(file.status().ok() && out.commit().ok());
  return nlohmann::json::parse(text_of(path)).at("traceEvents");
}

TEST(ChromeFile, IsJsonWhereNothingWasWritten) {
  EXPECT_EQ(written([](ChromeFile&) {}), nlohmann::json::array());
}

TEST(ChromeFile, CountsMicrosecondsWithExactDecimals) {
  ChromeLane lane{.pid = 1, .tid = 2};
  const auto events = written([&](ChromeFile& file) {
    file.instant(lane, -1500, {"a", "x"});
    file.instant(lane, 1'000'001, {"b", "x"});
  });
  EXPECT_EQ(events[0].at("ts"), -1.5);
  EXPECT_EQ(events[1].at("ts"), 1000.001);
}

TEST(ChromeFile, TimeDoesNotGoBackWithinALane) {
  ChromeLane lane, other;
  const auto events = written([&](ChromeFile& file) {
    file.begin(lane, 5000, {"a", "x"});
    file.end(lane, 3000);
    file.instant(other, 3000, {"b", "x"});
  });
  EXPECT_EQ(events[1].at("ts"), 5.0);
  EXPECT_EQ(events[2].at("ts"), 3.0);
  EXPECT_EQ(lane.depth, 0);
}

TEST(ChromeFile, QuotesWhateverANameHolds) {
  ChromeLane lane;
  const std::string name = "\"\\\n\xff";
  const auto events = written([&](ChromeFile& file) {
    file.instant(lane, 0, {name, "x", ChromeArgs().add(name, name).add("n", 7)});
  });
  EXPECT_EQ(events[0].at("name"), "\"\\\n\xef\xbf\xbd");
  EXPECT_EQ(events[0].at("args").at("n"), 7);
}

TEST(ChromeFile, SaysThatTheDiskIsFull) {
  OutputFile out;
  ASSERT_TRUE(out.open("/dev/full").ok());
  ChromeFile file(out);
  ChromeLane lane;
  for (int i = 0; i < 10'000; ++i) file.instant(lane, i, {"a", "x"});
  file.finish();
  EXPECT_THAT(file.status().message(), testing::HasSubstr("/dev/full: cannot be written"));
}

}  // namespace
}  // namespace pagetape
