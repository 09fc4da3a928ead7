// SPDX-License-Identifier: Apache-2.0
#include "capture/sim/allocator.h"

#include <gtest/gtest.h>

namespace pagetape::sim {
namespace {

TEST(PageAllocator, HandsOutAscendingIdsFromOne) {
  PageAllocator allocator(5);
  PageList pages;
  EXPECT_EQ(allocator.available(), 4);
  EXPECT_TRUE(allocator.alloc(4, pages));
  EXPECT_EQ(pages, (PageList{1, 2, 3, 4}));
}

TEST(PageAllocator, WhatWasFreedLastGoesOutFirstInOrder) {
  PageAllocator allocator(9);
  PageList pages;
  ASSERT_TRUE(allocator.alloc(6, pages));
  allocator.free(PageList{2});
  allocator.free(PageList{6, 4});
  PageList again;
  ASSERT_TRUE(allocator.alloc(5, again));
  EXPECT_EQ(again, (PageList{4, 6, 2, 7, 8}));
}

TEST(PageAllocator, TakesNothingWhereTooFewAreFree) {
  PageAllocator allocator(4);
  PageList pages;
  EXPECT_FALSE(allocator.alloc(4, pages));
  EXPECT_TRUE(pages.empty());
  EXPECT_EQ(allocator.available(), 3);
}

TEST(ExtendSlots, FillTheLastPageBeforeTheNew) {
  EXPECT_EQ(extend_slots(PageList{3, 7}, 2, 6, 4), (SlotNumbers{14, 15, 28, 29}));
}

TEST(HybridAllocator, BothSidesHaveTheSameIdsWhileTheyAreFreedTogether) {
  HybridAllocator allocator(33, 17);
  PageList full, swa, more_full, more_swa;
  ASSERT_TRUE(allocator.alloc(8, full, swa));
  allocator.free(PageList{3, 5});
  ASSERT_TRUE(allocator.alloc(4, more_full, more_swa));
  EXPECT_EQ(more_full, more_swa);
  EXPECT_EQ(more_full, (PageList{3, 5, 9, 10}));
}

TEST(HybridAllocator, OneRecycledSwaPageEndsTheIdentity) {
  HybridAllocator allocator(33, 9);
  PageList full, swa;
  ASSERT_TRUE(allocator.alloc(8, full, swa));
  EXPECT_FALSE(allocator.alloc(1, full, swa));
  EXPECT_EQ(allocator.full().available(), 24);
  allocator.free_swa(2);
  ASSERT_TRUE(allocator.alloc(1, full, swa));
  EXPECT_EQ(full.back(), 9);
  EXPECT_EQ(swa.back(), 2);
  EXPECT_EQ(allocator.swa_page(9), 2);
  EXPECT_EQ(allocator.swa_page(2), 0);
}

TEST(HybridAllocator, FreesTheFullSideAloneWhereTheSwaPageIsGone) {
  HybridAllocator allocator(9, 9);
  PageList full, swa;
  ASSERT_TRUE(allocator.alloc(2, full, swa));
  allocator.free_swa(1);
  allocator.free_swa(1);  // Nothing is there any more.
  allocator.free(full);
  EXPECT_EQ(allocator.full().available(), 8);
  EXPECT_EQ(allocator.swa().available(), 8);
}

}  // namespace
}  // namespace pagetape::sim
