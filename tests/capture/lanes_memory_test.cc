// SPDX-License-Identifier: Apache-2.0
#include "capture/lanes_memory.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace pagetape {
namespace {

struct Lanes {
  explicit Lanes(std::size_t n) : req(n, 1), row(n), len(n, 100), other(n, 100) {
    std::iota(row.begin(), row.end(), 0);
    lanes.size = sizeof(lanes);
    lanes.n_lanes = n;
    lanes.req = req.data();
    lanes.row = row.data();
    lanes.len = len.data();
  }
  std::vector<ptape_name> req;
  std::vector<std::int64_t> row, len, other;
  ptape_lanes lanes{};
};

// As a caller does it; kNoPlace: the lanes stand in the record.
std::uint64_t recorded(LanesMemory& memory, const Lanes& one, std::uint64_t position,
                       std::uint32_t recorder = 1) {
  const std::uint64_t earlier = memory.find(recorder, one.lanes);
  if (earlier == kNoPlace) memory.keep(one.lanes, position);
  return earlier;
}

TEST(LanesMemory, LanesThatCameTwiceAreFound) {
  LanesMemory memory;
  Lanes one(16);
  EXPECT_EQ(recorded(memory, one, 8), kNoPlace);
  EXPECT_EQ(recorded(memory, one, 16), kNoPlace);
  EXPECT_EQ(recorded(memory, one, 24), 16u);
  EXPECT_EQ(recorded(memory, one, 32), 16u);
  const Lanes same(16);  // Arrays elsewhere that hold as much.
  EXPECT_EQ(recorded(memory, same, 40), 16u);
  // What it refers to is too far back by now.
  memory.keep(one.lanes, 48);
  EXPECT_EQ(recorded(memory, one, 56), 48u);
}

TEST(LanesMemory, LanesThatDifferInAnythingAreOthers) {
  LanesMemory memory;
  Lanes one(16);
  recorded(memory, one, 8);
  recorded(memory, one, 16);
  ASSERT_EQ(recorded(memory, one, 24), 16u);
  for (std::size_t i = 0; i < 16; ++i) {  // Also where the ends are alike.
    one.len[i] += 1;
    EXPECT_EQ(memory.find(1, one.lanes), kNoPlace) << i;
    one.len[i] -= 1;
    one.req[i] = 7;
    EXPECT_EQ(memory.find(1, one.lanes), kNoPlace) << i;
    one.req[i] = 1;
  }
  EXPECT_EQ(memory.find(2, one.lanes), kNoPlace);  // Another recorder's.
  one.lanes.n = one.len.data();
  EXPECT_EQ(memory.find(1, one.lanes), kNoPlace);
  one.lanes.n = one.other.data();
  EXPECT_EQ(memory.find(1, one.lanes), kNoPlace);
  one.lanes.n = nullptr;
  one.lanes.req = nullptr;
  EXPECT_EQ(memory.find(1, one.lanes), kNoPlace);
  one.lanes.req = one.req.data();
  // The same numbers in another column.
  std::swap(one.lanes.row, one.lanes.first);
  EXPECT_EQ(memory.find(1, one.lanes), kNoPlace);
  std::swap(one.lanes.row, one.lanes.first);
  one.lanes.n_lanes = 15;
  EXPECT_EQ(memory.find(1, one.lanes), kNoPlace);
  one.lanes.n_lanes = 16;
  EXPECT_EQ(memory.find(1, one.lanes), 16u);
}

TEST(LanesMemory, SomeAreRememberedAndTheOldestForgotten) {
  LanesMemory memory;
  std::vector<Lanes> all;
  for (std::size_t i = 0; i <= kLanesRemembered; ++i) {
    all.emplace_back(16).len[0] = static_cast<std::int64_t>(i);
  }
  for (std::size_t i = 0; i < kLanesRemembered; ++i) {
    recorded(memory, all[i], 16 * i);
    recorded(memory, all[i], 16 * i + 8);
  }
  for (std::size_t i = 0; i < kLanesRemembered; ++i) {
    EXPECT_EQ(memory.find(1, all[i].lanes), 16 * i + 8);
  }
  recorded(memory, all.back(), 800);
  EXPECT_EQ(memory.find(1, all[0].lanes), kNoPlace);
  EXPECT_EQ(memory.find(1, all[1].lanes), 24u);
}

}  // namespace
}  // namespace pagetape
