// SPDX-License-Identifier: Apache-2.0
#include "replay/layer_sets.h"

#include <gtest/gtest.h>

#include <bitset>

#include "replay/archive.h"
#include "tests/replay/replay_fixture.h"

namespace pagetape {
namespace {

Layers numbered(std::initializer_list<int> numbers) {
  Layers out;
  for (int n : numbers) out.push_back(Layer::number(n));
  return out;
}

TEST(LayerSets, TheSameLayersInAnyOrderAreTheSameSet) {
  LayerSets sets;
  EXPECT_EQ(sets.of(numbered({1, 2, 70})), sets.of(numbered({70, 2, 1, 2})));
  EXPECT_NE(sets.of(numbered({1})), sets.of(numbered({2})));
}

TEST(LayerSets, AnEmptyListIsTheEmptySet) {
  LayerSets sets;
  EXPECT_EQ(sets.of(Layers{}), kNoLayers);
}

TEST(LayerSets, ALayerOfANameIsNotThatOfANumber) {
  LayerSets sets;
  EXPECT_NE(sets.of(Layer::named(Name{1})), sets.of(Layer::number(1)));
}

TEST(LayerSets, AllLayersContainThoseNotYetSeen) {
  LayerSets sets;
  EXPECT_TRUE(sets.contains(kAllLayers, sets.of(numbered({12345}))));
  EXPECT_FALSE(sets.contains(sets.of(numbered({0, 1, 2})), kAllLayers));
}

TEST(LayerSets, AllButOneLacksJustThatOne) {
  LayerSets sets;
  const LayerSet but = sets.subtract(kAllLayers, sets.of(Layer::number(3)));
  EXPECT_EQ(sets.intersect(but, sets.of(Layer::number(3))), kNoLayers);
  EXPECT_TRUE(sets.contains(but, sets.of(numbered({0, 99}))));
  EXPECT_EQ(sets.unite(but, sets.of(Layer::number(3))), kAllLayers);
}

TEST(LayerSets, OperationsDoNotGrowTheTableForever) {
  LayerSets sets;
  const LayerSet a = sets.of(numbered({0, 1})), b = sets.of(numbered({1, 2}));
  (void)sets.unite(a, b);
  const std::size_t size = sets.size();
  for (int i = 0; i < 100; ++i) (void)sets.unite(b, a), (void)sets.unite(a, b);
  EXPECT_LE(sets.size(), size);
}

TEST(LayerSets, AreTheSameAfterSavingAndLoading) {
  Names names;
  LayerSets sets;
  const LayerSet a = sets.of(numbered({0, 65})), named = sets.of(Layer::named(names.intern("x")));
  const LayerSet but = sets.subtract(kAllLayers, a);
  SaveArchive save(names);
  save.use(sets);
  save(kNoLayers, but, named, a, but, kAllLayers);
  const std::string bytes = save.take();
  LayerSets loaded;
  LoadArchive load(bytes, names);
  load.use(loaded);
  LayerSet none, but_a, of_x, of_a, again, all;
  load(none, but_a, of_x, of_a, again, all);
  ASSERT_TRUE(load.ok() && load.at_end());
  EXPECT_EQ(none, kNoLayers);
  EXPECT_EQ(all, kAllLayers);
  EXPECT_EQ(loaded.of(numbered({65, 0})), of_a);
  EXPECT_EQ(loaded.of(Layer::named(names.intern("x"))), of_x);
  EXPECT_EQ(loaded.subtract(kAllLayers, of_a), but_a);
  EXPECT_EQ(again, but_a);
}

TEST(LayerSets, BytesDoNotHangOnOtherSetsOfTheTable) {
  const Names names;
  LayerSets few, many;
  (void)many.of(numbered({9, 3}));
  const auto bytes_of = [&](LayerSets& sets) {
    SaveArchive save(names);
    save.use(sets);
    save(sets.of(numbered({3, 5})), sets.of(numbered({9})));
    return save.take();
  };
  EXPECT_EQ(bytes_of(few), bytes_of(many));
}

// Sets over 70 layers and one for all those never named.
using Bits = std::bitset<71>;

class LayerSetsProperty : public testing::TestWithParam<int> {};

TEST_P(LayerSetsProperty, BehaveAsSetsDo) {
  Dice dice(static_cast<std::uint64_t>(GetParam()));
  LayerSets sets;
  std::vector<std::pair<LayerSet, Bits>> have{{kNoLayers, {}}, {kAllLayers, Bits().set()}};
  const auto any = [&] { return have[static_cast<std::size_t>(dice.below(std::ssize(have)))]; };
  for (int i = 0; i < 200; ++i) {
    const auto [a, x] = any();
    const auto [b, y] = any();
    switch (dice.below(4)) {
      case 0: {
        const int n = static_cast<int>(dice.below(70));
        have.emplace_back(sets.of(Layer::number(n)), Bits().set(static_cast<std::size_t>(n)));
        break;
      }
      case 1:
        have.emplace_back(sets.unite(a, b), x | y);
        break;
      case 2:
        have.emplace_back(sets.intersect(a, b), x & y);
        break;
      default:
        have.emplace_back(sets.subtract(a, b), x & ~y);
    }
    EXPECT_EQ(sets.contains(a, b), (y & ~x).none());
  }
  for (const auto& [a, x] : have) {
    for (const auto& [b, y] : have) ASSERT_EQ(a == b, x == y) << "seed " << GetParam();
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, LayerSetsProperty, testing::Range(0, 20));

}  // namespace
}  // namespace pagetape
