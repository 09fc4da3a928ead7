// SPDX-License-Identifier: Apache-2.0
// The C interface to device tables, with tables of this process's memory: what runs on a GPU is
// compared with it by table_delta_cuda_test.
#include <gmock/gmock.h>

#include <fstream>
#include <string>
#include <vector>

#include "capture/pagetape_capture.h"
#include "tests/replay/replay_fixture.h"

namespace pagetape {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;

class DeviceTablesTest : public testing::Test {
 protected:
  DeviceTablesTest() : path_(folder_.file("x.jsonl")) {
    ptape_options options{};
    options.size = sizeof(options);
    options.path = path_.c_str();
    options.rank = -1;
    options.block = 1;
    recorder_ = ptape_open(&options);
    line(R"({"ev": "buffer", "buffer": "t"})");
    line(R"({"ev": "buffer", "buffer": "n"})");
    view_.size = sizeof(view_);
    view_.cell_bytes = 4;
    view_.cells = cells_.data();
    view_.rows = 2;
    view_.cols = 4;
    view_.row_stride = 4;
    view_.col_stride = 1;
    view_.on_host = 1;
  }
  void line(const std::string& text) {
    ASSERT_EQ(ptape_json(recorder_, text.data(), text.size()), PTAPE_OK);
  }
  ptape_name name(const char* text) { return ptape_intern(recorder_, text); }
  ptape_device_table* open(ptape_table_kind kind = PTAPE_PAGES, ptape_name lens = 0) {
    auto* table = ptape_table_open(recorder_, &view_, kind, name("t"), lens, 0, 0);
    EXPECT_NE(table, nullptr) << ptape_last_error(nullptr);
    return table;
  }
  // The lines behind the buffers'.
  std::vector<std::string> close() {
    EXPECT_EQ(ptape_close(recorder_), PTAPE_OK);
    std::vector<std::string> lines;
    std::ifstream text(path_);
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    lines.erase(lines.begin(), lines.begin() + 2);
    lines.pop_back();  // `end`
    return lines;
  }

  ScratchFolder folder_;
  const std::string path_;
  std::vector<std::int32_t> cells_{0, 1, 2, 3, 4, 5, 6, 7};
  ptape_table_view view_{};
  ptape_recorder* recorder_ = nullptr;
};

// Lists of 2 and 3 entries, and of the first one an entry more.
constexpr const char* kListsOfWhichTheFirstGrows[] = {
    R"({"ev": "table", "buffer": "t", "row": 0, "col": 0, "pages": [0, 1]})",
    R"({"ev": "table", "buffer": "t", "row": 1, "col": 0, "pages": [2, 3, 4]})",
    R"({"ev": "lens", "buffer": "n", "values": [2, 3], "row": 0})",
    R"({"ev": "table", "buffer": "t", "row": 0, "col": 2, "pages": [9]})",
    R"({"ev": "lens", "buffer": "n", "values": [3], "row": 0})"};

TEST_F(DeviceTablesTest, ChangesStandWhereTheCompareWasCalled) {
  ptape_device_table* table = open();
  ptape_table_compare(table, nullptr, nullptr);
  ptape_step(recorder_, nullptr, 1, 0, 1);
  ptape_table_compare(table, nullptr, nullptr);  // Nothing changed.
  ptape_step(recorder_, nullptr, 2, 0, 1);
  cells_[1] = cells_[2] = cells_[7] = 9;
  ptape_table_compare(table, nullptr, nullptr);
  ptape_step(recorder_, nullptr, 3, 0, 1);
  EXPECT_EQ(ptape_table_close(table), PTAPE_OK);
  EXPECT_THAT(
      close(),
      ElementsAre(R"({"ev": "table", "buffer": "t", "row": 0, "col": 0, "pages": [0, 1, 2, 3]})",
                  R"({"ev": "table", "buffer": "t", "row": 1, "col": 0, "pages": [4, 5, 6, 7]})",
                  R"({"ev": "step", "step": 1, "batch": 1})",
                  R"({"ev": "step", "step": 2, "batch": 1})",
                  R"({"ev": "table", "buffer": "t", "row": 0, "col": 1, "pages": [9, 9]})",
                  R"({"ev": "table", "buffer": "t", "row": 1, "col": 3, "pages": [9]})",
                  R"({"ev": "step", "step": 3, "batch": 1})"));
}

TEST_F(DeviceTablesTest, LengthsAndSlotsAreOneRow) {
  view_.rows = 1;
  ptape_device_table* table = open(PTAPE_LENS);
  ptape_table_compare(table, nullptr, nullptr);
  cells_[3] = 8;
  ptape_table_compare(table, nullptr, nullptr);
  ptape_table_close(table);
  table = open(PTAPE_SLOTS);
  ptape_table_compare(table, nullptr, nullptr);
  ptape_table_close(table);
  EXPECT_THAT(close(),
              ElementsAre(R"({"ev": "lens", "buffer": "t", "values": [0, 1, 2, 3], "row": 0})",
                          R"({"ev": "lens", "buffer": "t", "values": [8], "row": 3})",
                          R"({"ev": "slots", "buffer": "t", "values": [0, 1, 2, 8], "row": 0})"));
}

TEST_F(DeviceTablesTest, IndexListsAreRowsAndTheirLengths) {
  std::int32_t starts[] = {0, 2, 5};
  view_.starts = starts;
  view_.start_bytes = 4;
  view_.capacity = 8;
  ptape_device_table* table = open(PTAPE_PAGES, name("n"));
  ptape_table_compare(table, nullptr, nullptr);
  // A token more in row 0 moves what is behind it: row 1 stays as it was.
  cells_ = {0, 1, 9, 2, 3, 4, 0, 0};
  starts[1] = 3;
  starts[2] = 6;
  ptape_table_compare(table, nullptr, nullptr);
  ptape_table_close(table);
  EXPECT_THAT(close(), ElementsAreArray(kListsOfWhichTheFirstGrows));
}

TEST_F(DeviceTablesTest, AMapTellsWhatItMapsFromNowOn) {
  view_.rows = 1;
  view_.cols = 4;
  cells_ = {0, 7, -1, 5};
  ptape_device_table* table = open(PTAPE_MAP);
  ptape_table_compare(table, nullptr, nullptr);
  cells_ = {0, 0, 0, 6};
  ptape_table_compare(table, nullptr, nullptr);
  ptape_table_compare(table, nullptr, nullptr);
  ptape_table_close(table);
  EXPECT_THAT(close(), ElementsAre(R"({"ev": "map_set", "map": "t", "pairs": [[1, 7], [3, 5]]})",
                                   R"({"ev": "map_clear", "map": "t", "from": [1]})",
                                   R"({"ev": "map_set", "map": "t", "pairs": [[3, 6]]})"));
}

TEST_F(DeviceTablesTest, OwnersTellWhatIsTakenAndGivenBack) {
  const auto a = static_cast<std::int32_t>(name("A")), b = static_cast<std::int32_t>(name("B"));
  cells_ = {0, a, b, a, a, /* columns */ 0, 1, 0, 0, -1};
  view_.cells = cells_.data();
  view_.cols = 5;
  view_.row_stride = 5;
  ptape_device_table* table = open(PTAPE_OWNERS, name("#nobody"));
  ptape_table_compare(table, nullptr, nullptr);
  cells_ = {-1, -2, b, -1, -2, /* columns */ 0, 1, 0, 0, -1};  // Of page 0 nothing is known.
  ptape_table_compare(table, nullptr, nullptr);
  cells_ = {-1, b, -1, b, 999, /* columns */ 0, 2, 0, 1, 0};
  ptape_table_compare(table, nullptr, nullptr);
  ptape_table_compare(table, nullptr, nullptr);
  ptape_table_close(table);
  EXPECT_THAT(
      close(),
      ElementsAre(R"({"ev": "alloc", "pool": "t", "req": "A", "pages": [4]})",
                  R"({"ev": "alloc", "pool": "t", "req": "A", "pages": [3, 1], "first": 0})",
                  R"({"ev": "alloc", "pool": "t", "req": "B", "pages": [2], "first": 0})",
                  R"({"ev": "evict", "pool": "t", "req": "A", "logical": 1, "page": 1})",
                  R"({"ev": "free", "pool": "t", "req": "#nobody", "pages": [0]})",
                  R"({"ev": "free", "pool": "t", "req": "A", "pages": [3, 4]})",
                  R"({"ev": "free", "pool": "t", "req": "B", "pages": [2]})",
                  R"({"ev": "alloc", "pool": "t", "req": "B", "pages": [3, 1], "first": 1})",
                  R"({"ev": "alloc", "pool": "t", "req": "#nobody", "pages": [4], "first": 0})"));
}

// What an allocator should not do is told as it did it, and is for the rules to judge.
TEST_F(DeviceTablesTest, OwnersTellOfPagesGivenOutOrBackTwice) {
  const auto a = static_cast<std::int32_t>(name("A")), b = static_cast<std::int32_t>(name("B"));
  cells_ = {0, a, a, 0, 0, /* columns */ 0, 0, 1, 0, 0};
  view_.cells = cells_.data();
  view_.cols = 5;
  view_.row_stride = 5;
  ptape_device_table* table = open(PTAPE_OWNERS, name("#nobody"));
  ptape_table_compare(table, nullptr, nullptr);
  cells_ = {0, b, -1, 0, 0, /* columns */ 0, 7, 1, 0, 0};
  ptape_table_compare(table, nullptr, nullptr);
  for (const std::int32_t again : {-3, -1}) {
    cells_[2] = again;
    ptape_table_compare(table, nullptr, nullptr);
  }
  ptape_table_close(table);
  EXPECT_THAT(
      close(),
      ElementsAre(R"({"ev": "alloc", "pool": "t", "req": "A", "pages": [1, 2], "first": 0})",
                  R"({"ev": "free", "pool": "t", "req": "A", "pages": [2]})",
                  R"({"ev": "alloc", "pool": "t", "req": "B", "pages": [1], "first": 7})",
                  R"({"ev": "free", "pool": "t", "req": "#nobody", "pages": [2]})",
                  R"({"ev": "free", "pool": "t", "req": "#nobody", "pages": [2]})"));
}

// A cache of prefixes: B is found A's pages, A leaves, C takes B's place.
TEST_F(DeviceTablesTest, PagesHaveOtherHoldersByRowsThatNameThem) {
  const auto a = static_cast<std::int32_t>(name("A"));
  const ptape_name b = name("B"), c = name("C"), cache = name("#cache");
  cells_ = {0, a, a, a, 0, /* columns */ 0, 0, 1, 2, 0};
  view_.cells = cells_.data();
  view_.cols = 5;
  view_.row_stride = 5;
  ptape_device_table* table = open(PTAPE_OWNERS, name("#nobody"));
  std::vector<std::int32_t> found{2, 1, 0, 9, 3};
  view_.cells = found.data();
  view_.rows = 1;
  ptape_device_table* names = open(PTAPE_NAMES);
  EXPECT_EQ(ptape_pages_moved(table, b, c, 1, nullptr), PTAPE_OK);  // No one holds a page yet.
  ptape_table_compare(table, nullptr, nullptr);
  EXPECT_EQ(ptape_pages_named(names, &view_, b, 4, nullptr, nullptr), PTAPE_OK);
  view_.cols = 2;  // The same pages at other places, which it holds.
  EXPECT_EQ(ptape_pages_named(names, &view_, b, 0, nullptr, nullptr), PTAPE_OK);
  EXPECT_EQ(ptape_pages_moved(table, static_cast<ptape_name>(a), cache, 0, nullptr), PTAPE_OK);
  EXPECT_EQ(ptape_pages_moved(table, b, c, 1, nullptr), PTAPE_OK);
  cells_[1] = -1;
  cells_[2] = -2;
  ptape_table_compare(table, nullptr, nullptr);
  EXPECT_EQ(ptape_pages_named(names, &view_, 0, 0, nullptr, nullptr), PTAPE_E_ARGUMENT);
  for (const std::int64_t first : {std::int64_t{-1}, std::int64_t{INT32_MAX}}) {
    EXPECT_EQ(ptape_pages_named(names, &view_, b, first, nullptr, nullptr), PTAPE_E_ARGUMENT);
  }
  EXPECT_EQ(ptape_pages_named(table, &view_, b, 0, nullptr, nullptr), PTAPE_E_ARGUMENT);
  EXPECT_EQ(ptape_pages_moved(names, b, c, 0, nullptr), PTAPE_E_ARGUMENT);
  EXPECT_EQ(ptape_pages_moved(table, b, 0, 0, nullptr), PTAPE_E_ARGUMENT);
  ptape_table_close(table);
  ptape_table_close(names);
  EXPECT_THAT(
      close(),
      ElementsAre(R"({"ev": "alloc", "pool": "t", "req": "A", "pages": [1, 2, 3], "first": 0})",
                  R"({"ev": "share", "pool": "t", "req": "B", "pages": [2, 1], "first": 4})",
                  R"({"ev": "share", "pool": "t", "req": "B", "pages": [3], "first": 8})",
                  R"({"ev": "share", "pool": "t", "req": "#cache", "pages": [1, 2, 3]})",
                  R"({"ev": "free", "pool": "t", "req": "A", "pages": [1, 2, 3]})",
                  R"({"ev": "share", "pool": "t", "req": "C", "pages": [2, 1], "first": 4})",
                  R"({"ev": "share", "pool": "t", "req": "C", "pages": [3], "first": 8})",
                  R"({"ev": "free", "pool": "t", "req": "B", "pages": [2, 1, 3]})",
                  R"({"ev": "evict", "pool": "t", "req": "C", "logical": 4, "page": 2})",
                  R"({"ev": "free", "pool": "t", "req": "#cache", "pages": [1, 2]})",
                  R"({"ev": "free", "pool": "t", "req": "C", "pages": [1]})"));
}

TEST_F(DeviceTablesTest, ACopyOntoItRefreshesABufferAndNothingElse) {
  view_.rows = 1;
  const auto copied = [this] {
    return ptape_copied(recorder_, nullptr, reinterpret_cast<std::uint64_t>(cells_.data()), 8);
  };
  for (const auto kind : {PTAPE_MAP, PTAPE_NAMES}) {
    ptape_device_table* table = open(kind);
    EXPECT_EQ(copied(), PTAPE_OK);
    ptape_table_close(table);
  }
  ptape_device_table* table = open(PTAPE_SLOTS);
  EXPECT_EQ(copied(), PTAPE_OK);
  ptape_table_close(table);
  EXPECT_THAT(close(), ElementsAre(R"({"ev": "refresh", "buffer": "t"})"));
}

TEST_F(DeviceTablesTest, ATensorOfEachStepIsTheSameTable) {
  ptape_device_table* table = open();
  ptape_table_view view = view_;
  std::vector<std::int32_t> step{0, 1, 9, 9, 4, 8, 9, 9, 9}, lens{5, 0};
  view.cells = step.data();
  view.cols = 3;
  view.row_stride = 4;
  view.lens = lens.data();
  view.len_bytes = 4;
  view.len_unit = 3;
  EXPECT_EQ(ptape_table_compare_at(table, &view, nullptr, nullptr), PTAPE_OK);
  lens = {9, 6};
  EXPECT_EQ(ptape_table_compare_at(table, &view, nullptr, nullptr), PTAPE_OK);
  view.rows = 1;
  step[0] = 7;
  EXPECT_EQ(ptape_table_compare_at(table, &view, nullptr, nullptr), PTAPE_OK);
  EXPECT_EQ(ptape_table_compare(table, nullptr, nullptr), PTAPE_OK);  // As it was opened.
  view.rows = 3;
  EXPECT_EQ(ptape_table_compare_at(table, &view, nullptr, nullptr), PTAPE_E_ARGUMENT);
  ptape_table_close(table);
  EXPECT_THAT(
      close(),
      ElementsAre(R"({"ev": "table", "buffer": "t", "row": 0, "col": 0, "pages": [0, 1]})",
                  R"({"ev": "table", "buffer": "t", "row": 0, "col": 2, "pages": [9]})",
                  R"({"ev": "table", "buffer": "t", "row": 1, "col": 0, "pages": [4, 8]})",
                  R"({"ev": "table", "buffer": "t", "row": 0, "col": 0, "pages": [7]})",
                  R"({"ev": "table", "buffer": "t", "row": 0, "col": 0, "pages": [0]})",
                  R"({"ev": "table", "buffer": "t", "row": 0, "col": 2, "pages": [2, 3]})",
                  R"({"ev": "table", "buffer": "t", "row": 1, "col": 1, "pages": [5, 6, 7]})"));
}

TEST_F(DeviceTablesTest, IndexListsOfEachStepAreTheSameTable) {
  std::int32_t starts[] = {0, 2, 5}, others[] = {0, 3};
  view_.starts = starts;
  view_.start_bytes = 4;
  view_.capacity = 8;
  ptape_device_table* table = open(PTAPE_PAGES, name("n"));
  ptape_table_compare(table, nullptr, nullptr);
  ptape_table_view view = view_;
  std::vector<std::int32_t> step{0, 1, 9};
  view.cells = step.data();
  view.starts = others;
  view.rows = 1;
  view.capacity = 3;
  ptape_table_compare_at(table, &view, nullptr, nullptr);
  ptape_table_close(table);
  EXPECT_THAT(close(), ElementsAreArray(kListsOfWhichTheFirstGrows));
}

TEST_F(DeviceTablesTest, SeveralTablesAreToldInTheirOrder) {
  ptape_device_table* table = open();
  std::vector<std::int32_t> more(20);
  ptape_table_view view = view_, part = view_;
  view.cells = more.data();
  view.rows = 1;
  view.cols = 2;
  part.rows = 1;
  std::vector<ptape_table_part> parts{{table, &part}};
  std::vector<ptape_device_table*> others;
  while (parts.size() < 10) {  // More than one kernel takes.
    more[2 * others.size()] = static_cast<std::int32_t>(others.size());
    view.cells = more.data() + 2 * others.size();
    others.push_back(ptape_table_open(recorder_, &view, PTAPE_SLOTS, name("n"), 0, 0, 0));
    parts.push_back({others.back(), nullptr});
  }
  EXPECT_EQ(ptape_tables_compare(parts.data(), parts.size(), nullptr, nullptr), PTAPE_OK);
  parts[3].table = nullptr;
  EXPECT_EQ(ptape_tables_compare(parts.data(), 4, nullptr, nullptr), PTAPE_E_ARGUMENT);
  EXPECT_EQ(ptape_tables_compare(nullptr, 1, nullptr, nullptr), PTAPE_E_ARGUMENT);
  EXPECT_EQ(ptape_tables_compare(nullptr, 0, nullptr, nullptr), PTAPE_OK);
  ptape_table_close(table);
  std::vector<std::string> told{
      R"({"ev": "table", "buffer": "t", "row": 0, "col": 0, "pages": [0, 1, 2, 3]})"};
  for (std::size_t i = 0; i < others.size(); ++i) {
    ptape_table_close(others[i]);
    told.push_back(R"({"ev": "slots", "buffer": "n", "values": [)" + std::to_string(i) +
                   R"(, 0], "row": 0})");
  }
  EXPECT_EQ(close(), told);
}

TEST_F(DeviceTablesTest, ACompareThatNeverRanIsToldAsDropped) {
  ptape_device_table* table = open();
  ptape_table_replayed(table, nullptr, 1);
  ptape_step(recorder_, nullptr, 1, 0, 1);
  ptape_table_close(table);
  EXPECT_THAT(close(), ElementsAre(R"({"ev": "dropped", "events": 1})",
                                   R"({"ev": "step", "step": 1, "batch": 1})"));
}

TEST_F(DeviceTablesTest, BehindAGapAllIsToldAgain) {
  view_.rows = 1;
  ptape_device_table* table = open();
  ptape_table_compare(table, nullptr, nullptr);
  EXPECT_EQ(ptape_table_stands(table), 1);
  line(R"({"ev": "note", "text": "no gap"})");
  EXPECT_EQ(ptape_table_stands(table), 1);
  line(R"({"ev": "gap", "why": "lost"})");
  EXPECT_EQ(ptape_table_stands(table), 0);
  cells_[1] = 9;
  ptape_table_replayed(table, nullptr, 0);
  EXPECT_EQ(ptape_table_stands(table), 0);
  ptape_table_compare(table, nullptr, nullptr);
  EXPECT_EQ(ptape_table_stands(table), 1);
  ptape_table_close(table);
  EXPECT_THAT(
      close(),
      ElementsAre(R"({"ev": "table", "buffer": "t", "row": 0, "col": 0, "pages": [0, 1, 2, 3]})",
                  R"({"ev": "note", "text": "no gap"})", R"({"ev": "gap", "why": "lost"})",
                  R"({"ev": "table", "buffer": "t", "row": 0, "col": 0, "pages": [0, 9, 2, 3]})"));
}

// `starts` counts entries side by side, whatever a tensor's stride is.
TEST_F(DeviceTablesTest, IndexListsWithGapsAreRefused) {
  const std::int32_t starts[] = {0, 2, 4};
  ptape_table_view view = view_;
  view.starts = starts;
  view.start_bytes = 4;
  view.capacity = 4;
  view.col_stride = 2;
  EXPECT_EQ(ptape_table_open(recorder_, &view, PTAPE_PAGES, name("t"), 0, 0, 0), nullptr);
  EXPECT_THAT(ptape_last_error(nullptr), HasSubstr("strides"));
  ptape_guard* guard = ptape_guard_open(nullptr, PTAPE_GUARD_CLAMP, 1);
  EXPECT_EQ(ptape_guard_table(guard, &view, 0), nullptr);
  EXPECT_THAT(ptape_last_error(nullptr), HasSubstr("strides"));
  view.col_stride = 1;
  ptape_device_table* table = ptape_table_open(recorder_, &view, PTAPE_PAGES, name("t"), 0, 0, 0);
  ptape_guarded* guarded = ptape_guard_table(guard, &view, 0);
  view.col_stride = 2;
  ptape_guard_launch launch{};
  launch.size = sizeof(launch);
  launch.page_size = 1;
  launch.bound = 10;
  EXPECT_EQ(ptape_table_compare_at(table, &view, nullptr, nullptr), PTAPE_E_ARGUMENT);
  EXPECT_EQ(ptape_guard_check_at(guarded, &view, &launch, nullptr), PTAPE_E_ARGUMENT);
  view.col_stride = 1;
  EXPECT_EQ(ptape_guard_check_at(guarded, &view, &launch, nullptr), PTAPE_OK);
  ptape_guarded_close(guarded);
  ptape_guard_close(guard);
  ptape_table_close(table);
  close();
}

TEST_F(DeviceTablesTest, WhatCannotBeATableIsRefused) {
  view_.cell_bytes = 3;
  EXPECT_EQ(ptape_table_open(recorder_, &view_, PTAPE_PAGES, name("t"), 0, 0, 0), nullptr);
  view_.cell_bytes = 4;
  for (const auto kind : {PTAPE_LENS, PTAPE_MAP}) {
    EXPECT_EQ(ptape_table_open(recorder_, &view_, kind, name("t"), 0, 0, 0), nullptr);
  }
  view_.rows = 0;
  EXPECT_EQ(ptape_table_open(recorder_, &view_, PTAPE_PAGES, name("t"), 0, 0, 0), nullptr);
  EXPECT_THAT(ptape_last_error(nullptr), HasSubstr("rows or columns"));
  EXPECT_EQ(ptape_table_compare(nullptr, nullptr, nullptr), PTAPE_E_ARGUMENT);
  close();
}

}  // namespace
}  // namespace pagetape
