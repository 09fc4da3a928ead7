// SPDX-License-Identifier: Apache-2.0
#include "capture/holders.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

namespace pagetape {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr Name kA{1}, kB{2}, kCache{3};

class HoldersTest : public testing::Test {
 protected:
  HoldersTest() : holders_(8) {
    for (std::uint32_t page = 1; page <= 3; ++page) {
      holders_.hold(page, {kA, static_cast<std::int32_t>(page) - 1}, true);
    }
  }
  std::vector<Name> let_go(std::uint32_t page) {
    std::vector<Holders::Holder> holders;
    holders_.let_go(page, holders);
    std::vector<Name> names;
    for (const auto& holder : holders) names.push_back(holder.who);
    return names;
  }
  // What `to` gained, as "column:page".
  std::vector<std::string> move(Name from, Name to, bool keeps) {
    std::vector<PlacedPage> gained;
    holders_.move(from, to, keeps, moved_, gained);
    std::vector<std::string> texts;
    for (const PlacedPage& one : gained) {
      texts.push_back(std::to_string(one.column) + ":" + std::to_string(one.page));
    }
    return texts;
  }

  Holders holders_;
  std::vector<std::uint32_t> moved_;
};

TEST_F(HoldersTest, APageIsHeldByAllThatCameToIt) {
  EXPECT_TRUE(holders_.holds(1, kA));
  EXPECT_FALSE(holders_.holds(1, kB));
  EXPECT_FALSE(holders_.held(0));
  holders_.hold(1, {kB, 0}, true);
  holders_.hold(1, {kCache, -1}, false);
  EXPECT_TRUE(holders_.holds(1, kCache));
  EXPECT_THAT(let_go(1), ElementsAre(kA, kB, kCache));
  EXPECT_FALSE(holders_.held(1));
  EXPECT_THAT(let_go(1), IsEmpty());
}

TEST_F(HoldersTest, WhatARequestLeavesIsTheCachesAtNoPlace) {
  let_go(3);
  EXPECT_THAT(move(kA, kCache, false), ElementsAre("-1:1", "-1:2"));
  EXPECT_THAT(moved_, ElementsAre(1, 2));
  EXPECT_THAT(let_go(2), ElementsAre(kCache));
  EXPECT_THAT(move(kA, kCache, false), IsEmpty());
  EXPECT_THAT(moved_, IsEmpty());
  // It is not remembered what the cache came to hold: it holds most of what there is, for long.
  move(kCache, kA, false);
  EXPECT_THAT(moved_, IsEmpty());
}

TEST_F(HoldersTest, WhatAnotherHasAlreadyIsNotGained) {
  holders_.hold(2, {kB, 5}, true);
  EXPECT_THAT(move(kA, kB, true), ElementsAre("0:1", "2:3"));
  EXPECT_THAT(moved_, ElementsAre(1, 2, 3));
  EXPECT_THAT(let_go(2), ElementsAre(kB));
  EXPECT_THAT(move(kB, kA, true), ElementsAre("0:1", "2:3")) << "it may move again";
}

TEST_F(HoldersTest, AmongSeveralEachIsTakenByItself) {
  for (const Name who : {kB, kCache}) holders_.hold(1, {who, 7}, who == kB);
  move(kB, kCache, false);
  EXPECT_THAT(let_go(1), ElementsAre(kA, kCache));
  holders_.hold(2, {kB, 1}, true);
  move(kA, kCache, false);
  EXPECT_THAT(let_go(2), ElementsAre(kB, kCache));
}

TEST_F(HoldersTest, APageThatCameTwiceMovesOnce) {
  let_go(1);
  holders_.hold(1, {kA, 9}, true);
  EXPECT_THAT(move(kA, kB, true), ElementsAre("9:1", "1:2", "2:3"));
  EXPECT_THAT(moved_, ElementsAre(1, 2, 3));
}

TEST_F(HoldersTest, WhoHoldsItAlreadyHoldsItOnce) {
  holders_.hold(1, {kB, 3}, true);
  holders_.hold(1, {kB, 6}, true);
  EXPECT_THAT(let_go(1), ElementsAre(kA, kB));
  holders_.hold(2, {kA, 8}, true);
  EXPECT_THAT(move(kA, kB, true), ElementsAre("8:2", "2:3"));
}

TEST_F(HoldersTest, AllIsForgotten) {
  holders_.hold(1, {kB, 0}, true);
  holders_.forget();
  EXPECT_FALSE(holders_.held(1));
  EXPECT_FALSE(holders_.holds(1, kB));
  move(kA, kB, true);
  EXPECT_THAT(moved_, IsEmpty());
}

}  // namespace
}  // namespace pagetape
