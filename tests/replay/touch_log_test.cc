// SPDX-License-Identifier: Apache-2.0
#include "replay/touch_log.h"

#include <gtest/gtest.h>

#include <vector>

namespace pagetape {
namespace {

// What was touched since, or "all".
std::vector<std::uint32_t> since(const TouchLog& log, std::uint64_t count) {
  std::vector<std::uint32_t> touched;
  if (!log.since(count, [&](std::uint32_t index) { touched.push_back(index); })) return {9999};
  return touched;
}

TEST(TouchLog, TellsWhatWasTouchedSince) {
  TouchLog log;
  log.touch(4);
  const std::uint64_t seen = log.count();
  EXPECT_EQ(since(log, seen), std::vector<std::uint32_t>());
  log.touch(7);
  log.touch(4);
  EXPECT_EQ(since(log, seen), (std::vector<std::uint32_t>{7, 4}));
  EXPECT_EQ(since(log, 0), (std::vector<std::uint32_t>{4, 7, 4}));
}

TEST(TouchLog, TouchesInARowAreToldOnceToEachWhoAsks) {
  TouchLog log;
  for (int i = 0; i < 1000; ++i) log.touch(3);
  EXPECT_EQ(since(log, 0), std::vector<std::uint32_t>{3});
  const std::uint64_t one = log.count();
  log.touch(3);  // One has heard of those before.
  EXPECT_EQ(since(log, one), std::vector<std::uint32_t>{3});
  const std::uint64_t other = log.count();
  log.touch(3);
  EXPECT_EQ(since(log, one), (std::vector<std::uint32_t>{3, 3}));
  EXPECT_EQ(since(log, other), std::vector<std::uint32_t>{3});
}

TEST(TouchLog, WhereSomeAreForgottenAllMayBeTouched) {
  TouchLog log;
  for (std::uint32_t i = 0; i < 256; ++i) log.touch(i);
  EXPECT_EQ(since(log, 0).size(), 256U);
  log.touch(256);
  EXPECT_EQ(since(log, 0), std::vector<std::uint32_t>{9999});
  const std::uint64_t seen = log.count();
  log.touch_all();
  EXPECT_EQ(since(log, seen), std::vector<std::uint32_t>{9999});
  EXPECT_EQ(since(TouchLog(), seen), std::vector<std::uint32_t>{9999}) << "another log's count";
}

}  // namespace
}  // namespace pagetape
