// SPDX-License-Identifier: Apache-2.0
#include "replay/sparse_array.h"

#include <gtest/gtest.h>

#include "tests/replay/replay_fixture.h"

namespace pagetape {
namespace {

TEST(SparseArray, NothingIsFoundWhereNothingWasMade) {
  const SparseArray<int> array;
  EXPECT_EQ(array.find(0), nullptr);
  EXPECT_EQ(array.find(UINT64_MAX), nullptr);
}

TEST(SparseArray, ANeighbourOfAnElementIsFoundAsItBegan) {
  SparseArray<int, 4> array;
  array.at(5) = 7;
  ASSERT_NE(array.find(4), nullptr);
  EXPECT_EQ(*array.find(4), 0);
  EXPECT_EQ(array.find(8), nullptr);
}

TEST(SparseArray, AnyIndexCostsAChunk) {
  SparseArray<int> array;
  for (const std::uint64_t index :
       {std::uint64_t{0}, std::uint64_t{1} << 24, std::uint64_t{1} << 47, UINT64_MAX}) {
    array.at(index) = 1;
    EXPECT_EQ(*array.find(index), 1);
  }
}

TEST(SparseArray, ElementsAreVisitedInAscendingOrder) {
  SparseArray<int, 2> array;
  const std::vector<std::uint64_t> indices{UINT64_MAX - 1, 3, std::uint64_t{1} << 40, 200000};
  for (std::uint64_t i : indices) array.at(i) = 1;
  std::vector<std::uint64_t> seen;
  array.for_each([&](std::uint64_t i, int v) {
    if (v != 0) seen.push_back(i);
  });
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{3, 200000, std::uint64_t{1} << 40, UINT64_MAX - 1}));
}

TEST(SparseArray, ACopyIsItsOwn) {
  SparseArray<int, 2> array;
  array.at(3) = 1;
  array.at(std::uint64_t{1} << 40) = 2;
  SparseArray<int, 2> copy = array;
  array.at(3) = 9;
  EXPECT_EQ(*copy.find(3), 1);
  EXPECT_EQ(*copy.find(std::uint64_t{1} << 40), 2);
  const SparseArray<int, 2>& itself = copy;
  copy = itself;
  EXPECT_EQ(*copy.find(3), 1);
}

TEST(SparseArray, ClearingLeavesNothing) {
  SparseArray<int, 2> array;
  array.at(3) = 1;
  array.at(std::uint64_t{1} << 40) = 1;
  array.clear();
  EXPECT_EQ(array.find(3), nullptr);
  EXPECT_EQ(array.find(std::uint64_t{1} << 40), nullptr);
}

TEST(SparseArray, HoldsWhatAMapHolds) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Dice dice(seed);
    SparseArray<std::uint64_t, 8> array;
    std::map<std::uint64_t, std::uint64_t> naive;
    for (int i = 0; i < 300; ++i) {
      const std::uint64_t index = dice.next() >> dice.below(64);
      naive[index] = array.at(index) = dice.next() | 1;
    }
    for (const auto& [index, value] : naive) ASSERT_EQ(*array.find(index), value) << seed;
    std::size_t n = 0;
    array.for_each([&](std::uint64_t, std::uint64_t v) { n += v != 0; });
    EXPECT_EQ(n, naive.size());
  }
}

}  // namespace
}  // namespace pagetape
