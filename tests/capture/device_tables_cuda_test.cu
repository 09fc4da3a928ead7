// SPDX-License-Identifier: Apache-2.0
// The kernels of device tables, against the processor's.
#include <cuda_runtime.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "capture/device_compare.h"
#include "capture/pagetape_capture.h"
#include "tests/capture/cuda_fixture.cuh"
#include "tests/capture/table_fixture.h"

namespace pagetape {
namespace {

using testing::ElementsAre;

class DeviceTablesCudaTest : public OnAGpu {};

TEST_F(DeviceTablesCudaTest, WritesWhatTheProcessorWritesEagerAndInAGraph) {
  for (const TableLayout& shape : table_shapes()) {
    SCOPED_TRACE(shape.name);
    RandomTable table(shape, 11);
    DeviceCopy copy(table);
    auto memory = make_memory(table.view()), expected = make_memory(table.view());
    HostCompare on_host(table.view(), *expected);
    Status status;
    const auto compare = DeviceCompare::create(copy.view(), *memory, status);
    ASSERT_NE(compare, nullptr) << status.message();
    bool captured = false;
    const auto graph = capture([&] {
      ASSERT_TRUE(compare->compare(copy.view(), stream_, false, captured).ok());
      ASSERT_TRUE(captured);
    });
    TableReader reader(memory), expected_reader(expected);
    TableModel model;
    std::vector<CellWord> cells, expected_cells;
    for (std::uint64_t step = 1; step <= 24; ++step) {
      copy.update(stream_);
      if (step % 2 == 0) {
        must(cudaGraphLaunch(graph, stream_));
      } else {
        ASSERT_TRUE(compare->compare(copy.view(), stream_, false, captured).ok());
        ASSERT_FALSE(captured);
      }
      must(cudaStreamSynchronize(stream_));
      on_host.compare();
      cells.clear();
      expected_cells.clear();
      ASSERT_TRUE(reader.take(step, cells).all);
      ASSERT_TRUE(expected_reader.take(step, expected_cells).all);
      std::ranges::sort(cells);
      std::ranges::sort(expected_cells);
      ASSERT_EQ(cells, expected_cells) << "step " << step;
      model.apply(cells);
      ASSERT_EQ(model.differences(table), "");
      reader.release(reader.place());
      expected_reader.release(expected_reader.place());
      table.change();
    }
    must(cudaGraphExecDestroy(graph));
  }
}

__global__ void grow(std::int32_t* table, std::int32_t* step) { table[(*step)++] += 100; }

TEST_F(DeviceTablesCudaTest, ATableBuiltInAGraphIsToldOfEachReplay) {
  std::int32_t *cells = nullptr, *step = nullptr;
  must(cudaMalloc(&cells, 64 * sizeof(*cells)));
  must(cudaMemset(cells, 0, 64 * sizeof(*cells)));
  must(cudaMalloc(&step, sizeof(*step)));
  must(cudaMemset(step, 0, sizeof(*step)));
  TableView view;
  view.cells = cells;
  view.row_stride = view.cols = 16;
  view.rows = 4;
  auto memory = make_memory(view);
  Status status;
  const auto compare = DeviceCompare::create(view, *memory, status);
  bool captured = false;
  const auto graph = capture([&] {
    grow<<<1, 1, 0, stream_>>>(cells, step);
    ASSERT_TRUE(compare->compare(view, stream_, false, captured).ok());
  });
  for (int i = 0; i < 64; ++i) must(cudaGraphLaunch(graph, stream_));  // Nobody waits in between.
  must(cudaStreamSynchronize(stream_));
  TableReader reader(memory);
  std::vector<CellWord> changes;
  ASSERT_TRUE(reader.take(1, changes).all);
  EXPECT_EQ(changes.size(), 64u);
  for (std::uint32_t i = 1; i < 64; ++i) {
    changes.clear();
    ASSERT_TRUE(reader.take(i + 1, changes).all);
    ASSERT_THAT(changes, ElementsAre(cell_word(i, 100)));
  }
  must(cudaGraphExecDestroy(graph));
  cudaFree(cells);
  cudaFree(step);
}

TEST_F(DeviceTablesCudaTest, ATensorOfEachStepIsWrittenAsTheProcessorWritesIt) {
  for (const TableLayout& shape : table_shapes()) {
    SCOPED_TRACE(shape.name);
    RandomTable table(shape, 17);
    DeviceCopy copy(table);
    auto memory = make_memory(table.view()), expected = make_memory(table.view());
    HostCompare on_host(table.view(), *expected);
    Status status;
    const auto compare = DeviceCompare::create(copy.view(), *memory, status);
    ASSERT_NE(compare, nullptr) << status.message();
    std::int32_t* lens = nullptr;
    must(cudaMallocHost(&lens, shape.rows * sizeof(*lens)));  // The device's, too.
    TableReader reader(memory), expected_reader(expected);
    std::vector<CellWord> cells, expected_cells;
    std::mt19937 random(5);
    for (std::uint64_t step = 1; step <= 24; ++step) {
      copy.update(stream_);
      for (std::uint32_t row = 0; row < shape.rows; ++row) lens[row] = random() % 70;
      const std::uint32_t rows = 1 + random() % shape.rows, cols = 1 + random() % shape.cols;
      const bool limited = !shape.lists && step % 2 == 0;
      const auto part = [&](TableView view) {
        view.table_rows = shape.rows;
        view.table_cols = shape.cols;
        view.rows = rows;
        view.cols = cols;
        view.lens = limited ? lens : nullptr;
        view.len_unit = 3;
        return view;
      };
      const bool resend = step % 5 == 0;
      bool captured = false;
      ASSERT_TRUE(compare->compare(part(copy.view()), stream_, resend, captured).ok());
      must(cudaStreamSynchronize(stream_));
      if (resend) on_host.resend();
      on_host.compare(part(table.view()));
      cells.clear();
      expected_cells.clear();
      ASSERT_TRUE(reader.take(step, cells).all);
      ASSERT_TRUE(expected_reader.take(step, expected_cells).all);
      std::ranges::sort(cells);
      std::ranges::sort(expected_cells);
      ASSERT_EQ(cells, expected_cells) << "step " << step;
      reader.release(reader.place());
      expected_reader.release(expected_reader.place());
      table.change();
    }
    must(cudaFreeHost(lens));
  }
}

struct Compared {
  explicit Compared(const TableLayout& shape)
      : table(shape, 23),
        copy(table),
        memory(make_memory(table.view())),
        expected(make_memory(table.view())),
        on_host(table.view(), *expected),
        compare(DeviceCompare::create(copy.view(), *memory, status)),
        reader(memory),
        expected_reader(expected) {}

  RandomTable table;
  DeviceCopy copy;
  std::shared_ptr<TableMemory> memory, expected;
  HostCompare on_host;
  Status status;
  std::unique_ptr<DeviceCompare> compare;
  TableReader reader, expected_reader;
};

TEST_F(DeviceTablesCudaTest, SeveralTablesAtOnceAreWrittenAsTheProcessorWritesThem) {
  std::vector<std::unique_ptr<Compared>> all;
  while (all.size() <= kTablesAtOnce) {  // More than one kernel takes.
    for (const TableLayout& shape : table_shapes()) {
      all.push_back(std::make_unique<Compared>(shape));
      ASSERT_NE(all.back()->compare, nullptr) << all.back()->status.message();
    }
  }
  const auto parts = [&](bool resend) {
    std::vector<DeviceCompare::Part> made;
    for (const auto& one : all) made.push_back({one->compare.get(), one->copy.view(), resend});
    return made;
  };
  bool captured = false;
  const auto graph = capture([&] {
    ASSERT_TRUE(DeviceCompare::compare_all(parts(true), stream_, captured).ok());
    ASSERT_TRUE(captured);
  });
  std::vector<CellWord> cells, expected_cells;
  for (std::uint64_t step = 1; step <= 24; ++step) {
    const bool resend = step % 5 == 0;
    for (const auto& one : all) one->copy.update(stream_);
    if (step % 2 == 0 && !resend) {
      must(cudaGraphLaunch(graph, stream_));
    } else {
      ASSERT_TRUE(DeviceCompare::compare_all(parts(resend), stream_, captured).ok());
      ASSERT_FALSE(captured);
    }
    must(cudaStreamSynchronize(stream_));
    for (std::size_t i = 0; i < all.size(); ++i) {
      Compared& one = *all[i];
      if (resend) one.on_host.resend();
      one.on_host.compare();
      cells.clear();
      expected_cells.clear();
      ASSERT_TRUE(one.reader.take(step, cells).all);
      ASSERT_TRUE(one.expected_reader.take(step, expected_cells).all);
      std::ranges::sort(cells);
      std::ranges::sort(expected_cells);
      ASSERT_EQ(cells, expected_cells) << "table " << i << ", step " << step;
      one.reader.release(one.reader.place());
      one.expected_reader.release(one.expected_reader.place());
      one.table.change();
    }
  }
  must(cudaGraphExecDestroy(graph));
}

// Rows of more than a block takes at once, and more rows than there are blocks; of all cells one
// changes at a time, which a thread has as the last of those that it loads.
TEST_F(DeviceTablesCudaTest, ACellOfManyIsSeenToChangeWhereverItIs) {
  constexpr std::uint32_t kCols = 8'192;
  for (const std::uint32_t rows : {3u, 600u}) {
    for (const std::uint32_t cols : {kCols, kCols - 1}) {  // By vectors, and cell by cell.
      SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(cols));
      std::vector<std::int32_t> table(std::size_t{rows} * kCols, 5);
      std::int32_t* there = nullptr;
      const std::size_t bytes = table.size() * sizeof(table[0]);
      must(cudaMalloc(&there, bytes));
      must(cudaMemcpy(there, table.data(), bytes, cudaMemcpyHostToDevice));
      TableView view;
      view.cells = there;
      view.rows = rows;
      view.cols = cols;
      view.row_stride = kCols;
      auto memory = make_memory(view);
      Status status;
      const auto compare = DeviceCompare::create(view, *memory, status);
      ASSERT_NE(compare, nullptr) << status.message();
      TableReader reader(memory);
      std::vector<CellWord> changes;
      std::uint64_t step = 0;
      const auto changed = [&] {
        bool captured = false;
        must(cudaMemcpy(there, table.data(), bytes, cudaMemcpyHostToDevice));
        EXPECT_TRUE(compare->compare(view, stream_, false, captured).ok());
        must(cudaStreamSynchronize(stream_));
        changes.clear();
        EXPECT_TRUE(reader.take(++step, changes).all);
        reader.release(reader.place());
      };
      changed();
      ASSERT_EQ(changes.size(), std::size_t{rows} * cols);
      changed();
      ASSERT_TRUE(changes.empty());
      std::int32_t value = 100;
      for (const std::uint32_t row : {0u, rows / 2, rows - 1}) {
        for (const std::uint32_t col : {0u, 1'500u, 3'000u, 5'000u, cols - 1}) {
          table[std::size_t{row} * kCols + col] = ++value;
          changed();
          ASSERT_THAT(changes, ElementsAre(cell_word(row * cols + col, value)));
        }
      }
      must(cudaFree(there));
    }
  }
}

TEST_F(DeviceTablesCudaTest, WhatFindsNoRoomIsLostAndTheNextStepIsTheWholeTable) {
  RandomTable table({"", 16, 64, 4, 64}, 3);
  DeviceCopy copy(table);
  auto memory = make_memory(table.view());
  Status status;
  const auto compare = DeviceCompare::create(copy.view(), *memory, status);
  bool captured = false;
  std::uint64_t steps = 0;
  const auto whole = [&] {
    copy.update(stream_);
    ASSERT_TRUE(compare->compare(copy.view(), stream_, true, captured).ok());
    ++steps;
  };
  while (steps < memory->header().cells_held / 1024 + 1) whole();
  must(cudaStreamSynchronize(stream_));
  TableReader reader(memory);
  std::vector<CellWord> cells;
  auto taken = reader.take(steps, cells);
  EXPECT_TRUE(taken.all && taken.lost);
  reader.release(reader.place());
  // The room is seen by the step after the next: that is when it is looked for.
  for (int i = 0; i < 2; ++i, ++steps) {
    ASSERT_TRUE(compare->compare(copy.view(), stream_, false, captured).ok());
  }
  must(cudaStreamSynchronize(stream_));
  cells.clear();
  EXPECT_TRUE(reader.take(steps, cells).all);
  TableModel model;
  model.apply(cells);
  EXPECT_EQ(model.differences(table), "");
}

TEST_F(DeviceTablesCudaTest, TheTraceHasTheTableThatTheLaunchReads) {
  const std::string path = testing::TempDir() + "pagetape-" + std::to_string(::getpid()) + ".jsonl";
  ptape_options options{};
  options.size = sizeof(options);
  options.path = path.c_str();
  options.rank = -1;
  ptape_recorder* recorder = ptape_open(&options);
  const std::string buffer = R"({"ev": "buffer", "buffer": "t"})";
  ptape_json(recorder, buffer.data(), buffer.size());
  std::int32_t* cells = nullptr;
  must(cudaMalloc(&cells, 8 * sizeof(*cells)));
  must(cudaMemset(cells, 0, 8 * sizeof(*cells)));
  ptape_table_view view{};
  view.size = sizeof(view);
  view.cell_bytes = 4;
  view.cells = cells;
  view.rows = 2;
  view.cols = 4;
  view.row_stride = 4;
  view.col_stride = 1;
  auto* table =
      ptape_table_open(recorder, &view, PTAPE_PAGES, ptape_intern(recorder, "t"), 0, 0, 0);
  ASSERT_NE(table, nullptr) << ptape_last_error(nullptr);
  for (std::int32_t step = 0; step < 3; ++step) {
    const std::int32_t value = step + 5;
    must(cudaMemcpyAsync(cells + step, &value, sizeof(value), cudaMemcpyHostToDevice, stream_));
    EXPECT_EQ(ptape_table_compare(table, nullptr, stream_), PTAPE_OK);
    ptape_step(recorder, nullptr, step, 0, 1);
  }
  must(cudaStreamSynchronize(stream_));
  ptape_table_close(table);
  EXPECT_EQ(ptape_close(recorder), PTAPE_OK);
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  EXPECT_THAT(
      lines,
      ElementsAre(buffer,
                  R"({"ev": "table", "buffer": "t", "row": 0, "col": 0, "pages": [5, 0, 0, 0]})",
                  R"({"ev": "table", "buffer": "t", "row": 1, "col": 0, "pages": [0, 0, 0, 0]})",
                  R"({"ev": "step", "step": 0, "batch": 1})",
                  R"({"ev": "table", "buffer": "t", "row": 0, "col": 1, "pages": [6]})",
                  R"({"ev": "step", "step": 1, "batch": 1})",
                  R"({"ev": "table", "buffer": "t", "row": 0, "col": 2, "pages": [7]})",
                  R"({"ev": "step", "step": 2, "batch": 1})", R"({"ev": "end"})"));
  cudaFree(cells);
  std::remove(path.c_str());
}

}  // namespace
}  // namespace pagetape
