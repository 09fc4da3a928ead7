// SPDX-License-Identifier: Apache-2.0
#include "replay/extents.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/replay/replay_fixture.h"

namespace pagetape {
namespace {

class ExtentsTest : public testing::Test {
 protected:
  LayerSet of(std::initializer_list<int> layers) {
    Layers list;
    for (int n : layers) list.push_back(Layer::number(n));
    return sets_.of(list);
  }
  void write(LayerSet layers, std::uint32_t begin, std::uint32_t end) {
    extents_.write(sets_, 7, layers, begin, end, by_++);
  }
  bool covers(LayerSet layers, std::uint32_t begin, std::uint32_t end) {
    return extents_.covers(sets_, 7, layers, begin, end);
  }

  LayerSets sets_;
  Extents extents_;
  EventIndex by_ = 100;
};

TEST_F(ExtentsTest, APageNeverWrittenCoversNothingButTheEmptyRange) {
  EXPECT_FALSE(covers(of({0}), 0, 1));
  EXPECT_TRUE(covers(of({0}), 3, 3));
  EXPECT_EQ(extents_.covered(sets_, 7, 0, 1), kNoLayers);
  EXPECT_EQ(extents_.written_by(7), kNever);
}

TEST_F(ExtentsTest, APrefixGrowsTokenByToken) {
  for (std::uint32_t i = 0; i < 5; ++i) write(of({0}), i, i + 1);
  EXPECT_TRUE(covers(of({0}), 0, 5));
  EXPECT_FALSE(covers(of({0}), 0, 6));
  EXPECT_FALSE(covers(of({1}), 0, 1));
  EXPECT_EQ(extents_.written_by(7), 104u);
}

TEST_F(ExtentsTest, AHoleIsNotCoveredUntilItIsFilled) {
  write(of({0}), 0, 2);
  write(of({0}), 3, 5);
  EXPECT_FALSE(covers(of({0}), 0, 5));
  EXPECT_TRUE(covers(of({0}), 3, 5));
  write(of({0}), 2, 3);
  EXPECT_TRUE(covers(of({0}), 0, 5));
}

TEST_F(ExtentsTest, LayersWrittenOneByOneAreCoveredTogether) {
  write(of({0}), 0, 4);
  EXPECT_FALSE(covers(of({0, 1}), 0, 4));
  write(of({1}), 0, 4);
  EXPECT_TRUE(covers(of({0, 1}), 0, 4));
  EXPECT_EQ(extents_.covered(sets_, 7, 0, 4), of({0, 1}));
}

// --- fronts

TEST_F(ExtentsTest, AFrontIsWhatWritesALayerAfterAnotherWouldBe) {
  Extents one_by_one;
  for (Extents* extents : {&one_by_one, &extents_}) {
    extents->write(sets_, 7, of({0, 1, 2}), 0, 5, 1);
  }
  const std::uint64_t front = extents_.begin_front(of({0}), 10);
  ASSERT_TRUE(extents_.join_front(sets_, 7, 5, 6));
  ASSERT_TRUE(extents_.join_front(sets_, 8, 0, 3));
  for (int layer = 0; layer < 3; ++layer) {
    const auto by = static_cast<EventIndex>(10 + layer);
    one_by_one.write(sets_, 7, of({layer}), 5, 6, by);
    one_by_one.write(sets_, 8, of({layer}), 0, 3, by);
    ASSERT_TRUE(layer == 0 || extents_.widen_front(sets_, front, of({layer}), by));
    for (int other = 0; other < 3; ++other) {
      EXPECT_EQ(extents_.front_in(sets_, of({other})), other <= layer);
      for (const std::uint32_t page : {7u, 8u}) {
        for (std::uint32_t end = 1; end < 8; ++end) {
          EXPECT_EQ(extents_.covers(sets_, page, of({other}), 0, end),
                    one_by_one.covers(sets_, page, of({other}), 0, end));
          EXPECT_EQ(extents_.covered(sets_, page, 0, end), one_by_one.covered(sets_, page, 0, end));
        }
        EXPECT_EQ(extents_.written_by(page), by);
      }
    }
    Extents settled = extents_;
    settled.settle(sets_);
    for (const std::uint32_t page : {7u, 8u}) {
      EXPECT_EQ(*settled.pages().find(page), *one_by_one.pages().find(page));
      const Extents::Groups a = settled.written(page), b = one_by_one.written(page);
      ASSERT_EQ(a.size(), b.size());
      for (std::size_t i = 0; i < a.size(); ++i) {
        EXPECT_EQ(a[i].layers, b[i].layers);
        EXPECT_EQ(a[i].offsets, b[i].offsets);
      }
    }
  }
}

TEST_F(ExtentsTest, AFrontTakesNoPageThatIsNotWrittenAlike) {
  write(of({0, 1}), 0, 4);
  extents_.begin_front(of({2}), by_);
  EXPECT_FALSE(extents_.join_front(sets_, 7, 4, 5)) << "another layer than the page has";
  extents_.begin_front(of({0}), by_);
  EXPECT_FALSE(extents_.join_front(sets_, 7, 5, 6)) << "a hole before it";
  EXPECT_TRUE(extents_.join_front(sets_, 7, 2, 3));
  EXPECT_FALSE(extents_.join_front(sets_, 7, 4, 5)) << "twice";
  extents_.drop_front();
  EXPECT_FALSE(extents_.front_in(sets_, of({0})));
  EXPECT_FALSE(covers(of({0}), 0, 5));
  write(of({0}), 4, 5);
  extents_.begin_front(of({1}), by_);
  EXPECT_FALSE(extents_.join_front(sets_, 7, 4, 5)) << "some layers are ahead";
}

TEST_F(ExtentsTest, AFrontWidensByLayersThatAllItsPagesHave) {
  write(of({0, 1}), 0, 4);
  extents_.write(sets_, 8, of({0, 1, 2}), 0, 4, by_);
  const std::uint64_t front = extents_.begin_front(of({0}), by_);
  ASSERT_TRUE(extents_.join_front(sets_, 7, 4, 5));
  ASSERT_TRUE(extents_.join_front(sets_, 8, 4, 5));
  EXPECT_FALSE(extents_.widen_front(sets_, front, of({2}), by_));
  EXPECT_FALSE(extents_.widen_front(sets_, front - 1, of({1}), by_));
  EXPECT_TRUE(extents_.widen_front(sets_, front, of({1}), by_));
  extents_.settle(sets_);
  EXPECT_FALSE(extents_.widen_front(sets_, front, of({1}), by_)) << "it is none any more";
  EXPECT_TRUE(covers(of({0, 1}), 0, 5));
  EXPECT_FALSE(extents_.covers(sets_, 8, of({2}), 4, 5));
}

TEST_F(ExtentsTest, AWriteInNoLayerWritesNothing) {
  write(of({0, 1}), 0, 4);
  write(kNoLayers, 0, 8);
  EXPECT_EQ(extents_.alike(7), of({0, 1}));
  EXPECT_EQ(extents_.written(7).size(), 1u);
  write(of({1}), 4, 5);
  write(kNoLayers, 0, 5);
  EXPECT_EQ(extents_.written(7).size(), 2u);
}

TEST_F(ExtentsTest, AWriteOfAllLayersCoversThoseNotYetSeen) {
  write(kAllLayers, 0, 4);
  EXPECT_TRUE(covers(of({12345}), 0, 4));
  EXPECT_TRUE(covers(kAllLayers, 0, 4));
}

TEST_F(ExtentsTest, CutForgetsOffsetsInEveryLayer) {
  write(of({0}), 0, 4);
  write(of({1}), 0, 6);
  extents_.cut(7, 3);
  EXPECT_TRUE(covers(of({0, 1}), 0, 3));
  EXPECT_EQ(extents_.covered(sets_, 7, 3, 4), kNoLayers);
  extents_.cut(7, 0);
  EXPECT_FALSE(covers(of({0}), 0, 1));
}

TEST_F(ExtentsTest, ResetForgetsThePageAndWhoWroteIt) {
  write(of({0}), 0, 1);
  write(of({1}), 2, 3);
  extents_.reset(7);
  EXPECT_EQ(extents_.covered(sets_, 7, 0, 1), kNoLayers);
  EXPECT_EQ(extents_.written_by(7), kNever);
  write(of({1}), 0, 1);
  EXPECT_FALSE(covers(of({1}), 2, 3));
}

TEST_F(ExtentsTest, ACopyTakesWhatTheSourceHasAndLacks) {
  Extents source;
  source.write(sets_, 2, of({0}), 0, 3, 1);
  write(of({0, 1}), 0, 4);
  extents_.copy(sets_, 7, source, 2, kAllLayers, 4, 9);
  EXPECT_TRUE(covers(of({0}), 0, 3));
  EXPECT_FALSE(covers(of({0}), 3, 4));
  EXPECT_EQ(extents_.covered(sets_, 7, 0, 1), of({0}));
}

TEST_F(ExtentsTest, ACopyInPartLeavesWhatLiesBeyondIt) {
  Extents source;
  source.write(sets_, 2, of({0}), 0, 4, 1);
  write(of({0}), 2, 6);
  extents_.copy(sets_, 7, source, 2, of({0}), 3, 9);
  EXPECT_TRUE(covers(of({0}), 0, 6));
}

TEST_F(ExtentsTest, APageIsCopiedOntoItself) {
  write(of({0}), 1, 3);
  extents_.copy(sets_, 7, extents_, 7, kAllLayers, 4, 9);
  EXPECT_TRUE(covers(of({0}), 1, 3));
  EXPECT_FALSE(covers(of({0}), 0, 1));
}

TEST_F(ExtentsTest, AnyPageIdIsHeldInLittleMemory) {
  extents_.write(sets_, 0xffffffff, of({0}), 0, 1, 1);
  EXPECT_TRUE(extents_.covers(sets_, 0xffffffff, of({0}), 0, 1));
  EXPECT_FALSE(extents_.covers(sets_, 0xfffffffe, of({0}), 0, 1));
}

// Every (page, layer, offset) that is written, in a set.
class NaiveExtents {
 public:
  using Key = std::tuple<std::uint32_t, int, std::uint32_t>;
  void write(std::uint32_t page, const std::vector<int>& layers, std::uint32_t begin,
             std::uint32_t end) {
    for (int layer : layers) {
      for (std::uint32_t i = begin; i < end; ++i) all_.insert({page, layer, i});
    }
  }
  void cut(std::uint32_t page, std::uint32_t length) {
    std::erase_if(all_,
                  [&](const Key& k) { return std::get<0>(k) == page && std::get<2>(k) >= length; });
  }
  void copy(std::uint32_t page, std::uint32_t from, const std::vector<int>& layers,
            std::uint32_t end) {
    const std::set<Key> old = all_;
    for (int layer : layers) {
      for (std::uint32_t i = 0; i < end; ++i) {
        all_.erase({page, layer, i});
        if (old.contains({from, layer, i})) all_.insert({page, layer, i});
      }
    }
  }
  bool covers(std::uint32_t page, int layer, std::uint32_t begin, std::uint32_t end) const {
    for (std::uint32_t i = begin; i < end; ++i) {
      if (!all_.contains({page, layer, i})) return false;
    }
    return true;
  }

 private:
  std::set<Key> all_;
};

constexpr int kLayers = 5;
constexpr std::uint32_t kPages = 3;

class ExtentsProperty : public testing::TestWithParam<int> {
 protected:
  explicit ExtentsProperty() : dice_(static_cast<std::uint64_t>(GetParam())) {}

  void step(std::uint32_t page_size) {
    const auto page = static_cast<std::uint32_t>(dice_.below(kPages));
    std::vector<int> layers;
    Layers list;
    for (int i = 0; i < kLayers; ++i) {
      if (!dice_.one_in(2)) continue;
      layers.push_back(i);
      list.push_back(Layer::number(i));
    }
    const LayerSet set = sets_.of(list);
    const auto a = static_cast<std::uint32_t>(dice_.below(page_size + 1));
    const auto b = static_cast<std::uint32_t>(dice_.below(page_size + 1));
    switch (dice_.below(10)) {
      case 0:
        extents_.cut(page, a);
        return naive_.cut(page, a);
      case 1:
        extents_.reset(page);
        return naive_.cut(page, 0);
      case 2: {
        const auto from = static_cast<std::uint32_t>(dice_.below(kPages));
        extents_.copy(sets_, page, extents_, from, set, a, 1);
        return naive_.copy(page, from, layers, a);
      }
      default:
        extents_.write(sets_, page, set, std::min(a, b), std::max(a, b), 1);
        return naive_.write(page, layers, std::min(a, b), std::max(a, b));
    }
  }

  void compare(std::uint32_t page_size) {
    for (std::uint32_t page = 0; page < kPages; ++page) {
      const auto begin = static_cast<std::uint32_t>(dice_.below(page_size));
      const auto end = begin + 1 + static_cast<std::uint32_t>(dice_.below(page_size - begin));
      Layers all;
      for (int layer = 0; layer < kLayers; ++layer) {
        const LayerSet one = sets_.of(Layer::number(layer));
        const bool expected = naive_.covers(page, layer, begin, end);
        EXPECT_EQ(extents_.covers(sets_, page, one, begin, end), expected)
            << "page " << page << ", layer " << layer << ", offsets " << begin << " to " << end;
        if (expected) all.push_back(Layer::number(layer));
      }
      LayerSet five = kNoLayers;
      for (int i = 0; i < kLayers; ++i) five = sets_.unite(five, sets_.of(Layer::number(i)));
      EXPECT_EQ(sets_.intersect(extents_.covered(sets_, page, begin, end), five), sets_.of(all));
    }
    EXPECT_TRUE(extents_.consistent(sets_.size(), 1u << 16));
  }

  Dice dice_;
  LayerSets sets_;
  Extents extents_;
  NaiveExtents naive_;
};

TEST_P(ExtentsProperty, HoldWhatASetOfOffsetsHolds) {
  for (const std::uint32_t page_size : {4u, 64u, 130u}) {
    extents_.clear();
    naive_ = {};
    for (int i = 0; i < 120 && !HasFailure(); ++i) {
      step(page_size);
      compare(page_size);
    }
    ASSERT_FALSE(HasFailure()) << "seed " << GetParam() << ", pages of " << page_size;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ExtentsProperty, testing::Range(0, 40));

}  // namespace
}  // namespace pagetape
