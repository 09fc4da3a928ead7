// SPDX-License-Identifier: Apache-2.0
// The kernels of the guard, against the processor's.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "capture/guard.h"
#include "tests/capture/cuda_fixture.cuh"
#include "tests/capture/table_fixture.h"

namespace pagetape {
namespace {

constexpr std::int64_t kReserved = 7;

class DeviceGuardCudaTest : public OnAGpu {};

// A table that is guarded on the processor, and there on the device.
class GuardedTwice {
 public:
  GuardedTwice(const TableView& here, const TableView& there)
      : on_host_(Guard::on_host()), on_device_(Guard::on_device(status_)) {
    if (on_device_ != nullptr) device_ = on_device_->add(there, true, kReserved, status_);
    EXPECT_NE(device_, nullptr) << status_.message();
    host_ = on_host_->add(here, true, kReserved, status_);
    given_.resize(static_cast<std::size_t>(copied_cells(here)) * here.cell_bytes);
  }
  GuardedTable& host() { return *host_; }
  GuardedTable& device() { return *device_; }
  std::uint64_t reports() const { return next_ - 1; }

  // What was reported since, and what the copies hold. The device has done it all.
  void expect_the_same() {
    for (bool more = true; more;) {
      GuardReport report{}, expected{};
      more = next_report(on_host_->reports(), next_expected_, expected);
      ASSERT_EQ(next_report(on_device_->reports(), next_, report), more);
      ASSERT_EQ(std::memcmp(&report, &expected, sizeof(report)), 0)
          << report.bad << " bad, the first in row " << report.row << ", column " << report.col
          << "; it is " << expected.bad << ", " << expected.row << ", " << expected.col;
    }
    must(cudaMemcpy(given_.data(), device_->copy(), given_.size(), cudaMemcpyDeviceToHost));
    ASSERT_EQ(std::memcmp(given_.data(), host_->copy(), given_.size()), 0);
  }

 private:
  Status status_;
  std::unique_ptr<Guard> on_host_, on_device_;
  std::unique_ptr<GuardedTable> host_, device_;
  std::uint64_t next_ = 1, next_expected_ = 1;
  std::vector<char> given_;
};

TEST_F(DeviceGuardCudaTest, FindsAndCopiesWhatTheProcessorDoes) {
  for (const TableLayout& shape : table_shapes()) {
    SCOPED_TRACE(shape.name);
    RandomTable table(shape, 17);
    DeviceCopy copy(table);
    GuardedTwice both(table.view(), copy.view());
    ASSERT_FALSE(HasFailure());
    GuardedLaunch launch;
    launch.reserved = kReserved;
    launch.layer = 3;
    for (int step = 0; step < 12; ++step, table.change()) {
      launch.bound = step % 4 == 3 ? 0 : 9'900;
      copy.update(stream_);
      ASSERT_TRUE(both.device().check(copy.view(), launch, stream_).ok());
      must(cudaStreamSynchronize(stream_));
      ASSERT_TRUE(both.host().check(table.view(), launch, nullptr).ok());
      ASSERT_NO_FATAL_FAILURE(both.expect_the_same()) << "step " << step;
    }
  }
}

// Rows of any lengths, windows, and bounds that change from launch to launch, in one graph.
TEST_F(DeviceGuardCudaTest, OfARowsLiveColumnsItDoesWhatTheProcessorDoes) {
  for (const TableLayout& shape : table_shapes()) {
    SCOPED_TRACE(shape.name);
    RandomTable table(shape, 23);
    DeviceCopy copy(table);
    copy.update(stream_);
    const TableView view = table.view();
    std::vector<std::int32_t> lens(view.rows);
    for (std::uint32_t row = 0; row < view.rows; ++row) {
      lens[row] = static_cast<std::int32_t>(row * 40'503 % (view.cols * 8 + 5));
    }
    std::int32_t* device_lens = nullptr;
    must(cudaMalloc(&device_lens, lens.size() * sizeof(lens[0])));
    must(cudaMemcpy(device_lens, lens.data(), lens.size() * sizeof(lens[0]),
                    cudaMemcpyHostToDevice));
    GuardedTwice both(view, copy.view());
    ASSERT_FALSE(HasFailure());
    const auto check_all = [&](GuardedTable& of, const TableView& at,
                               const std::int32_t* lens_there) {
      GuardedLaunch launch;
      launch.reserved = kReserved;
      launch.lens = lens_there;
      launch.page_size = 8;
      for (const std::int64_t bound : {9'900, 5'000, 9'950}) {
        launch.bound = bound;
        launch.window = bound % 3 * (view.cols * 8 / 5);
        ++launch.layer;
        ASSERT_TRUE(of.check(at, launch, stream_).ok());
      }
    };
    const auto graph = capture([&] { check_all(both.device(), copy.view(), device_lens); });
    for (int replay = 0; replay < 4; ++replay, table.change()) {
      copy.update(stream_);
      must(cudaGraphLaunch(graph, stream_));
      must(cudaStreamSynchronize(stream_));
      check_all(both.host(), table.view(), lens.data());
      ASSERT_NO_FATAL_FAILURE(both.expect_the_same()) << "replay " << replay;
    }
    must(cudaGraphExecDestroy(graph));
    must(cudaFree(device_lens));
  }
}

// Rows of more than a block takes at once, and more rows than there are blocks. One id is bad, and
// a few are where the bound is the lower one.
TEST_F(DeviceGuardCudaTest, AnIdOfManyIsFoundWhereverItIs) {
  constexpr std::uint32_t kCols = 8'192;
  constexpr std::int32_t kPage = 8;
  struct Launch {
    std::int64_t bound;
    bool limited;
    std::int64_t window;
  };
  for (const std::uint32_t bytes : {4u, 8u}) {
    for (const std::uint32_t rows : {3u, 600u}) {
      SCOPED_TRACE(std::to_string(rows) + " rows of " + std::to_string(bytes) + " bytes");
      std::vector<std::int64_t> memory(std::size_t{rows} * kCols * bytes / 8);
      const auto put = [&](std::size_t at, std::int64_t id) {
        std::memcpy(reinterpret_cast<char*>(memory.data()) + at * bytes, &id, bytes);
      };
      std::vector<std::int32_t> lens(rows);
      void *cells = nullptr, *device_lens = nullptr;
      must(cudaMalloc(&cells, memory.size() * sizeof(memory[0])));
      must(cudaMalloc(&device_lens, rows * sizeof(lens[0])));
      TableView view;
      view.rows = rows;
      view.cols = kCols;
      view.row_stride = kCols;
      view.cell_bytes = bytes;
      TableView there = view;
      view.cells = memory.data();
      there.cells = cells;
      GuardedTwice both(view, there);
      ASSERT_FALSE(HasFailure());
      std::size_t round = 0;
      for (const auto& [row, col] : {std::pair{0u, kCols - 1},
                                     {0u, 3'000u},
                                     {rows / 2, 5'000u},
                                     {rows - 1, 1'500u},
                                     {rows - 1, kCols - 1}}) {
        ++round;
        for (std::size_t at = 0; at < std::size_t{rows} * kCols; ++at) {
          const std::size_t id = (at + round) % 8'500;
          put(at, static_cast<std::int64_t>((at + round) % 1'009 == 0 ? 9'500 : id));
        }
        put(std::size_t{row} * kCols + col, 1 << 24);
        // All of a row and more, nearly all, none, parts.
        const std::int32_t most = kCols * kPage;
        const std::int32_t some[] = {most + 40, most - 3, 0, 5'001 * kPage, most / 2 + 1};
        for (std::size_t i = 0; i < rows; ++i) lens[i] = some[(i + round) % 5];
        must(cudaMemcpy(cells, memory.data(), memory.size() * sizeof(memory[0]),
                        cudaMemcpyHostToDevice));
        must(cudaMemcpy(device_lens, lens.data(), rows * sizeof(lens[0]), cudaMemcpyHostToDevice));
        for (const Launch& one : {Launch{10'000, false, 0},
                                  {10'000, true, 0},
                                  {9'000, true, 0},
                                  {10'000, true, 40'000},
                                  {9'000, true, 40'000},
                                  {9'000, false, 0}}) {
          SCOPED_TRACE("round " + std::to_string(round) + ", bound " + std::to_string(one.bound) +
                       (one.limited ? ", lengths, window " : ", window ") +
                       std::to_string(one.window));
          GuardedLaunch launch;
          launch.reserved = kReserved;
          launch.bound = one.bound;
          launch.window = one.window;
          launch.page_size = kPage;
          launch.q_len = 3;
          launch.lens = one.limited ? device_lens : nullptr;
          ASSERT_TRUE(both.device().check(there, launch, stream_).ok());
          must(cudaStreamSynchronize(stream_));
          launch.lens = one.limited ? lens.data() : nullptr;
          ASSERT_TRUE(both.host().check(view, launch, nullptr).ok());
          ASSERT_NO_FATAL_FAILURE(both.expect_the_same());
        }
      }
      must(cudaFree(cells));
      must(cudaFree(device_lens));
    }
  }
}

// Where the live ids of a row end, or begin, within 16 bytes, others stand beside them.
TEST_F(DeviceGuardCudaTest, NoLaunchIsBlamedForWhatStandsBesideItsLiveIds) {
  constexpr std::uint32_t kRows = 9, kCols = 4'096;
  constexpr std::int32_t kPage = 8;
  for (const std::uint32_t bytes : {4u, 8u}) {
    std::vector<std::int64_t> memory(kRows * kCols * bytes / 8);
    void* cells = nullptr;
    std::int32_t* device_lens = nullptr;
    must(cudaMalloc(&cells, memory.size() * sizeof(memory[0])));
    must(cudaMalloc(&device_lens, kRows * sizeof(*device_lens)));
    TableView view;
    view.rows = kRows;
    view.cols = view.row_stride = kCols;
    view.cell_bytes = bytes;
    TableView there = view;
    view.cells = memory.data();
    there.cells = cells;
    GuardedTwice both(view, there);
    ASSERT_FALSE(HasFailure());
    // Columns that live, of each row others; and how many bad ones stand at either end of them.
    const auto check = [&](std::uint32_t begin, std::uint32_t end, bool windowed,
                           std::uint32_t live_bad) {
      std::vector<std::int32_t> lens(kRows);
      for (std::uint32_t row = 0; row < kRows; ++row) {
        const std::uint32_t row_end = end - row, row_begin = windowed ? begin - row : 0;
        lens[row] = static_cast<std::int32_t>(row_end * kPage);
        for (std::uint32_t col = 0; col < kCols; ++col) {
          const bool lives = col >= row_begin + live_bad && col < row_end - live_bad;
          const std::int64_t bad = col % 5 == 0 ? 1 << 20 : -1;
          const std::int64_t id = lives ? row * 31 + col : bad;
          std::memcpy(reinterpret_cast<char*>(memory.data()) + (row * kCols + col) * bytes, &id,
                      bytes);
        }
      }
      must(cudaMemcpy(cells, memory.data(), memory.size() * sizeof(memory[0]),
                      cudaMemcpyHostToDevice));
      must(cudaMemcpy(device_lens, lens.data(), kRows * sizeof(lens[0]), cudaMemcpyHostToDevice));
      GuardedLaunch launch;
      launch.reserved = kReserved;
      launch.bound = 10'000;
      launch.page_size = kPage;
      launch.window = windowed ? (end - begin) * kPage : 0;
      launch.lens = device_lens;
      ASSERT_TRUE(both.device().check(there, launch, stream_).ok());
      must(cudaStreamSynchronize(stream_));
      launch.lens = lens.data();
      ASSERT_TRUE(both.host().check(view, launch, nullptr).ok());
      both.expect_the_same();
    };
    for (const std::uint32_t more : {0u, 1u, 2u, 3u}) {
      for (const bool windowed : {false, true}) {
        SCOPED_TRACE(std::to_string(bytes) + " bytes, " + std::to_string(more) + " more" +
                     (windowed ? ", with a window" : ""));
        const std::uint64_t before = both.reports();
        ASSERT_NO_FATAL_FAILURE(check(1'030, 2'060 + more, windowed, 0));
        ASSERT_EQ(both.reports(), before);
        ASSERT_NO_FATAL_FAILURE(check(1'030, 2'060 + more, windowed, 1));
        ASSERT_EQ(both.reports(), before + 1);
      }
    }
    must(cudaFree(cells));
    must(cudaFree(device_lens));
  }
}

// Lists that begin and end within vectors, one of them beyond what may be read, with neighbours and
// bad entries at every edge; and with more lists than there are blocks.
TEST_F(DeviceGuardCudaTest, OfLongListsItDoesWhatTheProcessorDoes) {
  std::vector<std::int64_t> few{5, 9'003, 9'003, 9'004, 9'006, 30'001, 60'000}, many = few;
  for (std::int64_t i = 1; i <= 600; ++i) many.insert(many.end() - 2, 9'006 + i * 7);
  constexpr std::int64_t kCapacity = 50'001;
  for (const auto& starts : {few, many}) {
    for (const std::uint32_t bytes : {4u, 8u}) {
      SCOPED_TRACE(std::to_string(starts.size()) + " starts, " + std::to_string(bytes) + " bytes");
      std::vector<std::int64_t> memory(kCapacity * bytes / 8 + 2);
      const auto put = [&](std::int64_t at, std::int64_t id) {
        std::memcpy(reinterpret_cast<char*>(memory.data()) + at * bytes, &id, bytes);
      };
      for (std::int64_t at = 0; at < kCapacity; ++at) put(at, at % 9'000);
      void* cells = nullptr;
      std::int64_t* device_starts = nullptr;
      must(cudaMalloc(&cells, kCapacity * bytes));  // No more: what lies behind it is not read.
      must(cudaMalloc(&device_starts, starts.size() * sizeof(starts[0])));
      must(cudaMemcpy(device_starts, starts.data(), starts.size() * sizeof(starts[0]),
                      cudaMemcpyHostToDevice));
      TableView view;
      view.rows = static_cast<std::uint32_t>(starts.size() - 1);
      view.cols = kCapacity;
      view.cell_bytes = bytes;
      view.start_bytes = 8;
      view.capacity = kCapacity;
      TableView there = view;
      view.cells = memory.data();
      view.starts = starts.data();
      there.cells = cells;
      there.starts = device_starts;
      GuardedTwice both(view, there);
      ASSERT_FALSE(HasFailure());
      GuardedLaunch launch;
      launch.reserved = kReserved;
      for (const std::int64_t bad : {4, 5, 6, 7, 8, 9'002, 9'003, 9'005, 9'006, 12'345, 13'205,
                                     30'000, 30'001, 49'999, 50'000, -1}) {
        launch.bound = bad == 12'345 ? 0 : 9'500;
        if (bad >= 0) put(bad, bad % 3 == 0 ? -1 : 10'000 + bad);
        must(cudaMemcpy(cells, memory.data(), kCapacity * bytes, cudaMemcpyHostToDevice));
        ASSERT_TRUE(both.device().check(there, launch, stream_).ok());
        must(cudaStreamSynchronize(stream_));
        ASSERT_TRUE(both.host().check(view, launch, nullptr).ok());
        ASSERT_NO_FATAL_FAILURE(both.expect_the_same()) << bad;
        if (bad % 2 == 0) put(bad, 8);  // Some are good again, and the copy is to have that.
      }
      must(cudaFree(cells));
      must(cudaFree(device_starts));
    }
  }
}

// The launch before it says at once that the next may begin, and writes long after that.
__global__ void write_late(std::int32_t* cells, std::int32_t id) {
  cudaTriggerProgrammaticLaunchCompletion();
  for (const long long begin = clock64(); clock64() - begin < 50'000;) {
  }
  cells[threadIdx.x] = id;
}

// A check is brought up while what stands before it still runs: a launch, a copy, another stream's
// launch that its own stream waits for.
TEST_F(DeviceGuardCudaTest, ItSeesAllThatStandsBeforeItOnTheStream) {
  constexpr std::uint32_t kCells = 64;
  std::int32_t* cells = nullptr;
  std::int64_t* lists = nullptr;
  cudaStream_t other = nullptr;
  cudaEvent_t forked = nullptr, joined = nullptr;
  must(cudaMalloc(&cells, kCells * sizeof(*cells)));
  must(cudaMalloc(&lists, 3 * sizeof(*lists)));
  const std::int64_t starts[] = {1, 30, kCells};
  must(cudaMemcpy(lists, starts, sizeof(starts), cudaMemcpyHostToDevice));
  must(cudaStreamCreate(&other));
  must(cudaEventCreate(&forked));
  must(cudaEventCreate(&joined));
  TableView rows;
  rows.cells = cells;
  rows.rows = 1;
  rows.cols = kCells;
  rows.row_stride = kCells;
  TableView odd = rows, indices = rows;
  odd.cols = kCells - 1;
  indices.rows = 2;
  indices.starts = lists;
  indices.start_bytes = 8;
  indices.capacity = kCells;
  for (const TableView& view : {rows, odd, indices}) {
    Status status;
    const auto guard = Guard::on_device(status);
    const auto table = guard->add(view, true, kReserved, status);
    ASSERT_NE(table, nullptr) << status.message();
    GuardedLaunch launch;
    launch.bound = 100;
    launch.reserved = kReserved;
    const auto check = [&](std::int32_t layer) {
      launch.layer = layer;
      EXPECT_TRUE(table->check(view, launch, stream_).ok());
    };
    const auto work = [&] {
      write_late<<<1, kCells, 0, stream_>>>(cells, 101);
      check(1);
      must(cudaMemsetAsync(cells, 0, kCells * sizeof(*cells), stream_));
      check(2);
      must(cudaEventRecord(forked, stream_));
      must(cudaStreamWaitEvent(other, forked));
      write_late<<<1, kCells, 0, other>>>(cells, 103);
      must(cudaEventRecord(joined, other));
      must(cudaStreamWaitEvent(stream_, joined));
      check(3);
      must(cudaMemsetAsync(cells, 0, kCells * sizeof(*cells), stream_));
      write_late<<<1, kCells, 0, stream_>>>(cells, 9);
      check(4);
    };
    const auto graph = capture(work);
    std::uint64_t next = 1;
    for (int round = 0; round < 20; ++round) {
      SCOPED_TRACE(round);
      round % 2 == 0 ? work() : must(cudaGraphLaunch(graph, stream_));
      must(cudaStreamSynchronize(stream_));
      GuardReport report{};
      for (const int layer : {1, 3}) {
        ASSERT_TRUE(next_report(guard->reports(), next, report));
        EXPECT_EQ(report.layer, layer);
        EXPECT_EQ(report.id, 100 + layer);
        EXPECT_EQ(report.bad, view.starts != nullptr ? kCells - 1 : view.cols);
      }
      ASSERT_FALSE(next_report(guard->reports(), next, report));
      std::int32_t given = 0;
      must(cudaMemcpy(&given, static_cast<std::int32_t*>(table->copy()) + 40, sizeof(given),
                      cudaMemcpyDeviceToHost));
      EXPECT_EQ(given, 9);
    }
    must(cudaGraphExecDestroy(graph));
  }
  must(cudaEventDestroy(forked));
  must(cudaEventDestroy(joined));
  must(cudaStreamDestroy(other));
  must(cudaFree(cells));
  must(cudaFree(lists));
}

TEST_F(DeviceGuardCudaTest, WhatTheGpuRefusesIsSaidOnce) {
  std::int32_t* cells = nullptr;
  must(cudaMalloc(&cells, 64));
  TableView view;
  view.cells = cells;
  view.rows = 1;
  view.cols = 16;
  view.row_stride = 16;
  Status status;
  const auto guard = Guard::on_device(status);
  const auto table = guard->add(view, true, kReserved, status);
  ASSERT_NE(table, nullptr) << status.message();
  must(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal));
  EXPECT_NE(cudaStreamSynchronize(stream_), cudaSuccess);  // Ends what is captured.
  (void)cudaGetLastError();
  EXPECT_FALSE(table->check(view, {}, stream_).ok());
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  cudaGraph_t graph = nullptr;
  EXPECT_NE(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
  (void)cudaGetLastError();
  EXPECT_TRUE(table->check(view, {}, stream_).ok());
  must(cudaStreamSynchronize(stream_));
  must(cudaFree(cells));
}

// What an attention does with a table, and nothing else.
__global__ void gather(const float* pool, const std::int32_t* table, float* sum) {
  atomicAdd(sum, pool[std::int64_t{table[threadIdx.x]} << 20]);
}

// Exits with 0 where the launch ran, 1 where it faulted.
[[noreturn]] void launch_with_a_bad_id(bool guarded) {
  constexpr std::int32_t kCells = 64;
  std::vector<std::int32_t> ids(kCells, 0);
  ids[9] = 1 << 24;
  float *pool = nullptr, *sum = nullptr;
  std::int32_t* cells = nullptr;
  const bool ready =
      cudaMalloc(&pool, 4 << 20) == cudaSuccess && cudaMalloc(&sum, sizeof(*sum)) == cudaSuccess &&
      cudaMalloc(&cells, sizeof(*cells) * kCells) == cudaSuccess &&
      cudaMemcpy(cells, ids.data(), sizeof(*cells) * kCells, cudaMemcpyHostToDevice) == cudaSuccess;
  if (!ready) std::exit(2);
  const std::int32_t* given = cells;
  Status status;
  const auto guard = Guard::on_device(status);
  TableView view;
  view.cells = cells;
  view.rows = 1;
  view.cols = kCells;
  view.row_stride = kCells;
  const auto table = guard->add(view, true, 0, status);
  GuardedLaunch launch;
  launch.bound = 1;
  if (guarded) {
    if (!table->check(view, launch, nullptr).ok()) std::exit(2);
    given = static_cast<const std::int32_t*>(table->copy());
  }
  gather<<<1, kCells>>>(pool, given, sum);
  const cudaError_t error = cudaDeviceSynchronize();
  std::fprintf(stderr, "%s\n", cudaGetErrorString(error));
  GuardReport report{};
  std::uint64_t next = 1;
  if (guarded && (!next_report(guard->reports(), next, report) || report.col != 9)) std::exit(3);
  std::_Exit(error == cudaSuccess ? 0 : 1);
}

TEST_F(DeviceGuardCudaTest, TheGuardedLaunchDoesNotFaultAsItDoesWithout) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(launch_with_a_bad_id(false), testing::ExitedWithCode(1), "illegal memory access");
  EXPECT_EXIT(launch_with_a_bad_id(true), testing::ExitedWithCode(0), "no error");
}

}  // namespace
}  // namespace pagetape
