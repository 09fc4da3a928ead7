// SPDX-License-Identifier: Apache-2.0
#include "capture/guard.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "tests/capture/table_fixture.h"

namespace pagetape {
namespace {

using testing::ElementsAre;

// Two rows of four pages of 16 tokens, in a pool of ten.
class GuardTest : public testing::Test {
 protected:
  GuardTest() : guard_(Guard::on_host()) {
    view_.cells = cells_.data();
    view_.row_stride = 4;
    view_.rows = 2;
    view_.cols = 4;
    launch_.lens = lens_.data();
    launch_.layer = 22;
    launch_.bound = 10;
    launch_.page_size = 16;
  }
  std::unique_ptr<GuardedTable> add(bool copies = true) {
    Status status;
    return guard_->add(view_, copies, 0, status);
  }
  static std::vector<std::int32_t> copy_of(GuardedTable& table, std::size_t n = 8) {
    const auto* cells = static_cast<const std::int32_t*>(table.copy());
    return {cells, cells + n};
  }
  bool next(GuardReport& report) { return next_report(guard_->reports(), next_, report); }

  std::vector<std::int32_t> cells_{1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<std::int32_t> lens_{64, 64};
  TableView view_;
  GuardedLaunch launch_;
  std::unique_ptr<Guard> guard_;
  std::uint64_t next_ = 1;
};

TEST_F(GuardTest, AGoodTableIsCopiedAndNotSpokenOf) {
  const auto table = add();
  ASSERT_TRUE(table->check(view_, launch_, nullptr).ok());
  EXPECT_THAT(copy_of(*table), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  GuardReport report;
  EXPECT_FALSE(next(report));
}

TEST_F(GuardTest, BadEntriesAreTheReservedPageAndTheFirstIsReported) {
  const auto table = add();
  cells_[6] = 10;
  cells_[7] = -1;
  cells_[2] = 1 << 30;
  ASSERT_TRUE(table->check(view_, launch_, nullptr).ok());
  EXPECT_THAT(copy_of(*table), ElementsAre(1, 2, 0, 4, 5, 6, 0, 0));
  GuardReport report;
  ASSERT_TRUE(next(report));
  EXPECT_EQ(report.layer, 22);
  EXPECT_EQ(report.row, 0u);
  EXPECT_EQ(report.col, 2u);
  EXPECT_EQ(report.id, 1 << 30);
  EXPECT_EQ(report.bound, 10);
  EXPECT_EQ(report.bad, 3u);
  EXPECT_FALSE(next(report));
}

TEST_F(GuardTest, WhatTheLaunchDoesNotReadMayHoldAnything) {
  const auto table = add();
  cells_ = {99, 2, 3, 99, 5, 6, 7, 99};
  lens_ = {48, 33};
  launch_.window = 20;  // Of 48 tokens 28 have left: page 0 and part of 1.
  ASSERT_TRUE(table->check(view_, launch_, nullptr).ok());
  GuardReport report;
  EXPECT_FALSE(next(report));
  EXPECT_THAT(copy_of(*table), ElementsAre(0, 2, 3, 0, 5, 6, 7, 0));
}

TEST_F(GuardTest, WhatItDoesNotLookAtIsInBoundsOfEveryLaunch) {
  const auto table = add();
  ASSERT_TRUE(table->check(view_, launch_, nullptr).ok());
  lens_ = {16, 64};
  launch_.window = 16;  // Page 3 of the second row alone.
  ASSERT_TRUE(table->check(view_, launch_, nullptr).ok());
  EXPECT_THAT(copy_of(*table), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));  // Of the launch before.
  launch_.bound = 6;
  ASSERT_TRUE(table->check(view_, launch_, nullptr).ok());
  EXPECT_THAT(copy_of(*table), ElementsAre(1, 2, 3, 4, 5, 0, 0, 0));
  GuardReport report;
  ASSERT_TRUE(next(report));
  EXPECT_EQ(report.bad, 1u);
  EXPECT_EQ(report.col, 3u);
}

TEST_F(GuardTest, WithoutACopyItOnlyReports) {
  const auto table = add(false);
  cells_[0] = 10;
  ASSERT_TRUE(table->check(view_, launch_, nullptr).ok());
  EXPECT_EQ(table->copy(), nullptr);
  GuardReport report;
  EXPECT_TRUE(next(report));
}

TEST_F(GuardTest, IndexListsKeepTheirPlaces) {
  const std::int32_t starts[] = {0, 3, 5};
  view_.starts = starts;
  view_.capacity = 8;
  launch_.lens = nullptr;
  cells_[4] = 77;
  cells_[6] = 77;  // Of no row.
  const auto table = add();
  ASSERT_TRUE(table->check(view_, launch_, nullptr).ok());
  EXPECT_THAT(copy_of(*table), ElementsAre(1, 2, 3, 4, 0, 0, 0, 0));
  GuardReport report;
  ASSERT_TRUE(next(report));
  EXPECT_EQ(report.row, 1u);
  EXPECT_EQ(report.col, 1u);
  EXPECT_EQ(report.bad, 1u);
}

TEST_F(GuardTest, TablesOfOtherPlacesAndShapesTakeTurns) {
  const auto table = add();
  ASSERT_TRUE(table->check(view_, launch_, nullptr).ok());
  const std::vector<std::int32_t> other{9, 8, 77, 6, 5, 4};
  TableView view;
  view.cells = other.data();
  view.row_stride = view.cols = 3;
  view.rows = 2;
  EXPECT_TRUE(copy_holds(view_, view));
  ASSERT_TRUE(table->check(view, launch_, nullptr).ok());
  EXPECT_THAT(copy_of(*table, 6), ElementsAre(9, 8, 0, 6, 5, 4));
  GuardReport report;
  ASSERT_TRUE(next(report));
  EXPECT_EQ(report.id, 77);
  view.rows = 3;
  EXPECT_FALSE(copy_holds(view_, view));
  view.rows = 1;
  view.cell_bytes = 8;
  EXPECT_FALSE(copy_holds(view_, view));
}

TEST_F(GuardTest, OfManyReportsTheLatestAreHeld) {
  const auto table = add();
  cells_[0] = -7;
  for (std::uint64_t i = 0; i < kReportsHeld + 5; ++i) {
    ASSERT_TRUE(table->check(view_, launch_, nullptr).ok());
  }
  GuardReport report;
  std::uint64_t seen = 0, last = 0;
  for (; next(report); ++seen) last = report.number;
  EXPECT_EQ(last, kReportsHeld + 5);
  EXPECT_GE(seen, kReportsHeld - 1);
}

TEST(GuardShapesTest, EveryShapeIsCopiedAndJudgedAsItsCellsAre) {
  for (const TableLayout& shape : table_shapes()) {
    SCOPED_TRACE(shape.name);
    const RandomTable table(shape, 5);
    const TableView view = table.view();
    GuardedLaunch launch;
    launch.bound = 9'000;
    launch.reserved = 7;
    const auto guard = Guard::on_host();
    Status status;
    const auto guarded = guard->add(view, true, 7, status);
    ASSERT_TRUE(guarded->check(view, launch, nullptr).ok());
    std::uint64_t bad = 0;
    for (std::uint32_t row = 0; row < view.rows; ++row) {
      const RowSpan span = row_span(view, row);
      for (std::uint32_t col = 0; col < span.cells; ++col) {
        const std::int64_t id =
            integer_at(view.cells, view.cell_bytes, span.begin + col * view.col_stride);
        const bool good = id >= 0 && id < launch.bound;
        bad += !good;
        const std::int64_t at = view.starts != nullptr ? span.begin + col : row * view.cols + col;
        ASSERT_EQ(integer_at(guarded->copy(), view.cell_bytes, at), good ? id : 7);
      }
    }
    GuardReport report{};
    std::uint64_t next = 1;
    EXPECT_EQ(next_report(guard->reports(), next, report), bad > 0);
    EXPECT_EQ(report.bad, bad);
  }
}

}  // namespace
}  // namespace pagetape
