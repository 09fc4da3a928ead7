// SPDX-License-Identifier: Apache-2.0
#include "replay/space.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/replay/replay_fixture.h"

namespace pagetape {
namespace {

constexpr Name kA{1}, kB{2}, kC{3};
constexpr PageId kPage{5};

void give(Space& space, Name owner, PageId page = kPage, std::int64_t column = -1) {
  space.give(page, owner, column, 1, true);
}

TEST(Space, TheFirstOwnerIsFirst) {
  Space space;
  for (Name owner : {kA, kB, kC}) give(space, owner);
  EXPECT_EQ(space.owners(kPage), (std::vector<Name>{kA, kB, kC}));
  EXPECT_EQ(space.owned_pages(), 1u);
}

TEST(Space, WhenTheFirstOwnerLeavesTheNextIsFirst) {
  Space space;
  for (Name owner : {kA, kB, kC}) give(space, owner);
  EXPECT_TRUE(space.take(kPage, kA, 2));
  EXPECT_EQ(space.owners(kPage), (std::vector<Name>{kB, kC}));
  EXPECT_TRUE(space.take(kPage, kC, 3));
  EXPECT_TRUE(space.take(kPage, kB, 4));
  EXPECT_FALSE(space.owned(kPage));
  EXPECT_EQ(space.owned_pages(), 0u);
  EXPECT_EQ(space.info(kPage).by, 4u);
}

TEST(Space, OneWhoDoesNotOwnAPageCannotGiveItUp) {
  Space space;
  give(space, kA);
  EXPECT_FALSE(space.take(kPage, kB, 2));
  EXPECT_FALSE(space.take(PageId{6}, kA, 2));
  EXPECT_EQ(space.info(kPage).by, 1u);
}

TEST(Space, NobodyOwnsAsNone) {
  Space space;
  EXPECT_FALSE(space.owns(kPage, kNone));
  give(space, kA);
  EXPECT_FALSE(space.owns(kPage, kNone));
}

TEST(Space, AColumnNamesTheLastPageGivenForIt) {
  Space space;
  give(space, kA, PageId{5}, 2);
  give(space, kA, PageId{6}, 2);
  EXPECT_EQ(space.holder(kA)->columns.find(2)->page, PageId{6});
}

TEST(Space, AnEvictionEndsWithTheNextPageOfThatColumn) {
  Space space;
  give(space, kA, kPage, 2);
  space.evict_column(kA, 2, 7);
  EXPECT_TRUE(space.holder(kA)->columns.find(2)->evicted);
  EXPECT_EQ(space.holder(kA)->columns.find(2)->by, 7u);
  give(space, kA, PageId{6}, 3);
  EXPECT_TRUE(space.holder(kA)->columns.find(2)->evicted);
  give(space, kA, PageId{7}, 2);
  EXPECT_FALSE(space.holder(kA)->columns.find(2)->evicted);
}

TEST(Space, AHolderIsForgottenWhenItsRequestAndItsPagesAreGone) {
  Space space;
  give(space, kA, kPage, 2);
  space.end_request(kA);
  ASSERT_NE(space.holder(kA), nullptr);
  EXPECT_EQ(space.holder(kA)->columns.find(2), nullptr);
  EXPECT_TRUE(space.take(kPage, kA, 2));
  EXPECT_EQ(space.holder(kA), nullptr);
}

TEST(Space, ANewHolderOfAnOldNameHasAnotherBirth) {
  Space space;
  give(space, kA);
  const std::uint64_t birth = space.holder(kA)->birth;
  EXPECT_TRUE(space.take(kPage, kA, 2));
  space.end_request(kA);
  give(space, kA);
  EXPECT_NE(space.holder(kA)->birth, birth);
}

TEST(Space, EveryPageIsUnknownAfterForgettingUntilItIsGivenOut) {
  Space space;
  give(space, kA);
  space.forget();
  EXPECT_FALSE(space.known(kPage));
  EXPECT_FALSE(space.known(PageId{100000}));
  EXPECT_EQ(space.owned_pages(), 0u);
  const std::uint32_t epoch = space.epoch();
  give(space, kB);
  EXPECT_TRUE(space.known(kPage));
  EXPECT_FALSE(space.known(PageId{6}));
  EXPECT_NE(space.epoch(), epoch);
}

TEST(Space, AShareMakesAnUnknownPageNoBetterKnown) {
  Space space;
  space.forget();
  space.give(kPage, kA, -1, 1, false);
  EXPECT_FALSE(space.known(kPage));
}

TEST(Space, WhoeverJudgedAPageHearsWhenItChanges) {
  Space space;
  give(space, kA, kPage, 3);
  const std::uint32_t seen = space.holder(kA)->changes.version();
  space.touch(kPage);  // A table may list the page at any column.
  EXPECT_EQ(space.holder(kA)->changes.low_since(seen), 0);
  space.touch(PageId{99});
  EXPECT_EQ(space.holder(kA)->changes.version(), seen + 1);
}

void touch_map(Space& space, std::initializer_list<PageId> pages) {
  Space::MapTouches touches(space);
  for (const PageId page : pages) touches.touch(page);
}

TEST(Space, AMapsEntryIsNoneOfItsPagesOtherColumns) {
  Space space;
  give(space, kA, kPage, 3);
  const Holder& holder = *space.holder(kA);
  const std::uint32_t seen = holder.changes.version();
  touch_map(space, {kPage});
  EXPECT_EQ(holder.changes.version(), seen);
  EXPECT_EQ(holder.mapped.low_since(0), 3);
  EXPECT_EQ(holder.mapped.low_since(0, 4), INT32_MAX);
  give(space, kA, kPage, 9);  // It stands at two.
  touch_map(space, {kPage});
  EXPECT_EQ(holder.mapped.low_since(0, 4), 0);
}

TEST(Space, EntriesOfSeveralPagesAreToldOnceOfEachOwner) {
  Space space;
  give(space, kA, kPage, 3);
  give(space, kA, PageId{8}, 5);
  give(space, kB, PageId{9}, 1);
  touch_map(space, {PageId{8}, kPage, PageId{9}, PageId{77}});
  EXPECT_EQ(space.holder(kA)->mapped.version(), 1U);
  EXPECT_EQ(space.holder(kA)->mapped.low_since(0), 3);
  EXPECT_EQ(space.holder(kA)->mapped.low_since(0, 5), 3);
  EXPECT_EQ(space.holder(kA)->mapped.low_since(0, 6), INT32_MAX);
  EXPECT_EQ(space.holder(kB)->mapped.low_since(0), 1);
}

TEST(Space, PagesHandedOverAreAsIfGivenAndTakenOneByOne) {
  Space one, other;
  for (Space* space : {&one, &other}) give(*space, kB, PageId{4}, 0);
  {
    Space::Handover handover(one, kA, 7);
    for (int i = 0; i < 3; ++i) {
      const PageId page{5 + i};
      PageInfo* info = handover.to_give(page);
      ASSERT_NE(info, nullptr);
      handover.give(*info, page, 2 + i);
      EXPECT_EQ(handover.to_give(page), nullptr);  // It has an owner now.
      other.give(page, kA, 2 + i, 7, true);
    }
    EXPECT_EQ(handover.to_give(PageId{4}), nullptr);
    EXPECT_EQ(handover.to_take(PageId{4}), nullptr);  // Another's.
    EXPECT_EQ(one.holder(kA)->changes.version(), 0U);
  }
  EXPECT_EQ(one.holder(kA)->changes.version(), 1U);
  EXPECT_EQ(one.holder(kA)->changes.low_since(0), 2);
  {
    Space::Handover handover(one, kA, 8);
    PageInfo* info = handover.to_take(PageId{6});
    ASSERT_NE(info, nullptr);
    handover.take(*info);
    EXPECT_TRUE(other.take(PageId{6}, kA, 8));
  }
  EXPECT_EQ(one.holder(kA)->changes.low_since(1, 3), 3);
  EXPECT_EQ(one.holder(kA)->changes.low_since(1, 4), INT32_MAX);
  for (int i = 0; i < 9; ++i) EXPECT_EQ(one.info(PageId{i}), other.info(PageId{i})) << i;
  EXPECT_EQ(one.owned_pages(), other.owned_pages());
  EXPECT_EQ(one.holder(kA)->pages, other.holder(kA)->pages);
  EXPECT_EQ(one.holder(kA)->last_column, other.holder(kA)->last_column);
}

TEST(Space, AnEndedRequestsLastPageTakesItsHolderAlong) {
  Space space;
  give(space, kA, kPage, 3);
  space.end_request(kA);
  Space::Handover handover(space, kA, 9);
  handover.take(*handover.to_take(kPage));
  EXPECT_NE(space.holder(kA), nullptr);
  handover.end();
  EXPECT_EQ(space.holder(kA), nullptr);
}

TEST(Space, WhereAPageIsTakenOrEvictedTheOtherColumnsStand) {
  Space space;
  give(space, kA, kPage, 3);
  give(space, kA, PageId{8}, 4);
  const Holder& holder = *space.holder(kA);
  const std::uint32_t seen = holder.changes.version();
  space.evict_column(kA, 3, 7);
  EXPECT_EQ(holder.changes.low_since(seen), 3);
  EXPECT_EQ(holder.changes.low_since(seen, 4), INT32_MAX);
  ASSERT_TRUE(space.take(kPage, kA, 8));
  EXPECT_EQ(holder.changes.low_since(seen, 3), 3);
  EXPECT_EQ(holder.changes.low_since(seen, 4), INT32_MAX);
}

TEST(Space, EveryOwnerHearsWhenASharedPageChanges) {
  Space space;
  give(space, kA, kPage, 3);
  give(space, kB, kPage, 4);
  const std::uint32_t a = space.holder(kA)->changes.version();
  const std::uint32_t b = space.holder(kB)->changes.version();
  space.touch(kPage);
  EXPECT_LE(space.holder(kA)->changes.low_since(a), 3);
  EXPECT_LE(space.holder(kB)->changes.low_since(b), 4);
}

TEST(Space, WhatIsOwnedIsVisitedInAscendingOrder) {
  Space space;
  for (int page : {900, 3, 40}) give(space, kA, PageId{page});
  EXPECT_TRUE(space.take(PageId{40}, kA, 2));
  std::vector<int> seen;
  space.for_each_owned([&](PageId page, const PageInfo&) { seen.push_back(raw(page)); });
  EXPECT_EQ(seen, (std::vector<int>{3, 900}));
}

// Owners by page in plain sets, and what must be conserved.
TEST(Space, HoldsWhatSetsOfOwnersHold) {
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    Dice dice(seed);
    Space space;
    std::map<int, std::set<Name>> naive;
    for (int i = 0; i < 400; ++i) {
      const int page = static_cast<int>(dice.below(12));
      const Name owner{static_cast<std::uint32_t>(1 + dice.below(5))};
      if (dice.one_in(20)) {
        space.end_request(owner);
      } else if (dice.one_in(2)) {
        give(space, owner, PageId{page}, dice.below(6) - 1);
        naive[page].insert(owner);
      } else {
        EXPECT_EQ(space.take(PageId{page}, owner, 1), naive[page].erase(owner) > 0);
      }
      std::map<Name, std::uint64_t> pages;
      std::uint64_t owned = 0;
      for (const auto& [p, owners] : naive) {
        const std::vector<Name> have = space.owners(PageId{p});
        ASSERT_EQ(std::set<Name>(have.begin(), have.end()), owners) << "seed " << seed;
        ASSERT_EQ(have.size(), owners.size()) << "seed " << seed;
        owned += !owners.empty();
        for (Name name : owners) ++pages[name];
      }
      ASSERT_EQ(space.owned_pages(), owned) << "seed " << seed;
      for (const auto& [name, n] : pages) ASSERT_EQ(space.holder(name)->pages, n);
      ASSERT_TRUE(space.consistent());
    }
  }
}

}  // namespace
}  // namespace pagetape
