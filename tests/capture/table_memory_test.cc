// SPDX-License-Identifier: Apache-2.0
#include "capture/table_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/capture/table_fixture.h"
#include "tests/replay/replay_fixture.h"

namespace pagetape {
namespace {

TEST(TableMemoryTest, WhatIsWrittenIsTheTableWhateverItsShape) {
  for (const TableLayout& shape : table_shapes()) {
    for (const std::uint32_t seed : {1u, 2u, 3u}) {
      SCOPED_TRACE(shape.name + " of seed " + std::to_string(seed));
      RandomTable table(shape, seed);
      auto memory = make_memory(table.view());
      HostCompare compare(table.view(), *memory);
      TableReader reader(memory);
      TableModel model;
      std::vector<CellWord> cells;
      for (std::uint64_t step = 1; step <= 20; ++step) {
        compare.compare();
        cells.clear();
        const auto taken = reader.take(step, cells);
        ASSERT_TRUE(taken.all && !taken.lost);
        model.apply(cells);
        ASSERT_EQ(model.differences(table), "");
        reader.release(reader.place());
        table.change();
      }
    }
  }
}

class OneTable : public testing::Test {
 protected:
  void SetUp() override {
    view_.cells = table_.data();
    view_.row_stride = 16;
    view_.rows = 4;
    view_.cols = 16;
    memory_ = make_memory(view_);
  }

  std::vector<std::int32_t> table_ = std::vector<std::int32_t>(64);
  TableView view_;
  std::shared_ptr<TableMemory> memory_;
};

TEST_F(OneTable, AnUnchangedOneWritesNothingAndAChangeJustItself) {
  HostCompare compare(view_, *memory_);
  TableReader reader(memory_);
  std::vector<CellWord> cells;
  compare.compare();
  ASSERT_TRUE(reader.take(1, cells).all);
  EXPECT_EQ(cells.size(), 64u);
  cells.clear();
  compare.compare();
  ASSERT_TRUE(reader.take(2, cells).all);
  EXPECT_TRUE(cells.empty());
  EXPECT_EQ(compare.state().cursor, 64u);
  table_[17] = -1;
  compare.compare();
  ASSERT_TRUE(reader.take(3, cells).all);
  ASSERT_EQ(cells.size(), 1u);
  EXPECT_EQ(index_of(cells[0]), 17u);
  EXPECT_EQ(value_of(cells[0]), -1);
}

TEST_F(OneTable, AStepThatDidNotRunIsWaitedFor) {
  HostCompare compare(view_, *memory_);
  TableReader reader(memory_);
  std::vector<CellWord> cells;
  EXPECT_FALSE(reader.take(1, cells).all);
  compare.compare();
  EXPECT_FALSE(reader.take(2, cells).all);
  EXPECT_EQ(reader.place().steps, 1u);
  compare.compare();
  EXPECT_TRUE(reader.take(2, cells).all);
}

TEST_F(OneTable, TheReaderIsCrowdedFromAQuarterOnUntilItGivesBack) {
  HostCompare compare(view_, *memory_);
  TableReader reader(memory_);
  std::vector<CellWord> cells;
  const std::uint64_t quarter = memory_->header().cells_held / 4 / 64;
  for (std::uint64_t step = 1; step <= quarter; ++step) {
    for (std::int32_t& cell : table_) ++cell;
    compare.compare();
    EXPECT_TRUE(reader.take(step, cells).all);
  }
  EXPECT_FALSE(reader.crowded());
  ++table_[0];
  compare.compare();
  EXPECT_TRUE(reader.take(quarter + 1, cells).all);
  EXPECT_TRUE(reader.crowded());
  reader.release(reader.place());
  EXPECT_FALSE(reader.crowded());
}

TEST_F(OneTable, WhatFindsNoRoomIsLostAndTheNextStepIsTheWholeTable) {
  HostCompare compare(view_, *memory_);
  TableReader reader(memory_);
  std::uint64_t steps = 0;
  const std::uint64_t fit = memory_->header().cells_held / 64;
  for (; steps <= fit; ++steps) {  // The last of them is lost.
    for (std::int32_t& cell : table_) ++cell;
    compare.compare();
  }
  std::vector<CellWord> cells;
  auto taken = reader.take(steps, cells);
  EXPECT_TRUE(taken.all && taken.lost);
  EXPECT_TRUE(cells.empty());
  reader.release(reader.place());
  compare.compare();
  taken = reader.take(steps + 1, cells);
  EXPECT_TRUE(taken.all && !taken.lost);
  TableModel model;
  model.apply(cells);
  EXPECT_EQ(cells.size(), 64u);
  EXPECT_EQ(model.cells[63], table_[63]);
}

TEST_F(OneTable, WithoutAReaderStepsAreLostTooAndNoneIsWrittenOver) {
  HostCompare compare(view_, *memory_);
  TableReader reader(memory_);
  for (std::uint64_t step = 0; step <= kStepsHeld; ++step) compare.compare();
  std::vector<CellWord> cells;
  auto taken = reader.take(kStepsHeld, cells);
  EXPECT_TRUE(taken.all && !taken.lost);
  EXPECT_EQ(cells.size(), 64u);
  taken = reader.take(kStepsHeld + 1, cells);
  EXPECT_TRUE(taken.all && taken.lost);
}

TEST(TableMemoryFileTest, IsReadByAnotherWhoBelievesNoLength) {
  ScratchFolder folder;
  const std::string ring = folder.file("a.ring"), path = table_path(ring, 0);
  std::vector<std::int32_t> table(64, 7);
  TableView view;
  view.cells = table.data();
  view.row_stride = view.rows = view.cols = 8;
  Status status;
  const auto memory = TableMemory::create(path, TableKind::kPages, view, status);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(TableMemory::create(path, TableKind::kPages, view, status), nullptr);
  HostCompare(view, *memory).compare();

  std::shared_ptr<TableMemory> other = TableMemory::open(path, MAP_SHARED, status);
  ASSERT_NE(other, nullptr) << status.message();
  TableReader reader(other);
  std::vector<CellWord> cells;
  EXPECT_TRUE(reader.take(1, cells).all);
  EXPECT_EQ(cells.size(), 64u);
  memory->steps()[2] = step_word(2, 1);
  EXPECT_FALSE(reader.take(2, cells).all);  // Its cell has not come.
  EXPECT_EQ(cells.size(), 64u);
  memory->cells()[64] = cell_word(1000, 1) | round_of(64, memory->header().cells_held);
  memory->steps()[3] = step_word(3, 0xffff'ffff);  // More than there is memory.
  cells.clear();
  EXPECT_TRUE(reader.take(2, cells).all);
  EXPECT_TRUE(cells.empty());
  EXPECT_TRUE(reader.take(3, cells).lost);

  const std::uint32_t cols = memory->header().cols;
  memory->header().cols = 1u << 29;  // Room for so many would be taken, and is not in the file.
  EXPECT_EQ(TableMemory::open(path, MAP_SHARED, status), nullptr);
  EXPECT_EQ(status.code(), Code::kDamaged);
  memory->header().cols = cols;
  memory->header().cells_held = 12345;
  EXPECT_EQ(TableMemory::open(path, MAP_SHARED, status), nullptr);
  EXPECT_EQ(status.code(), Code::kDamaged);
  remove_tables(ring);
  EXPECT_EQ(TableMemory::open(path, MAP_SHARED, status), nullptr);
}

TEST(TableViewTest, AnIdBeyond32BitsIsTheNearestWithin) {
  EXPECT_EQ(value_of(cell_word(3, std::int64_t{1} << 40)), INT32_MAX);
  EXPECT_EQ(value_of(cell_word(3, -(std::int64_t{1} << 40))), INT32_MIN + 1);
  EXPECT_EQ(value_of(cell_word(3, -1)), -1);
}

TEST(TableViewTest, StartsAreNotBelievedBeyondTheCellsThatThereAre) {
  const std::int32_t starts[] = {-5, 3, 90, 80, 200, 100};
  TableView view;
  view.starts = starts;
  view.capacity = 100;
  view.rows = 5;
  view.cols = 50;
  EXPECT_EQ(row_span(view, 0).cells, 0u);   // Before the beginning.
  EXPECT_EQ(row_span(view, 1).cells, 50u);  // 87, up to the columns.
  EXPECT_EQ(row_span(view, 2).cells, 0u);   // Backwards.
  EXPECT_EQ(row_span(view, 3).cells, 20u);  // Up to the end.
  EXPECT_EQ(row_span(view, 3).length, 120);
  EXPECT_EQ(row_span(view, 4).cells, 0u);
}

}  // namespace
}  // namespace pagetape
