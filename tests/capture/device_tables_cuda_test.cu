// SPDX-License-Identifier: Apache-2.0
// The kernels of device tables and of the guard, against the processor's.
#include <cuda_runtime.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "capture/device_compare.h"
#include "capture/guard.h"
#include "capture/pagetape_capture.h"
#include "tests/capture/table_fixture.h"

namespace pagetape {
namespace {

using testing::ElementsAre;

void must(cudaError_t error) { ASSERT_EQ(error, cudaSuccess) << cudaGetErrorString(error); }

// A copy of a random table in the device's memory.
class DeviceCopy {
 public:
  explicit DeviceCopy(const RandomTable& table) : table_(table) {
    must(cudaMalloc(&cells_, bytes(table.memory())));
    must(cudaMalloc(&starts_, bytes(table.starts())));
  }
  ~DeviceCopy() {
    cudaFree(cells_);
    cudaFree(starts_);
  }
  DeviceCopy(const DeviceCopy&) = delete;
  DeviceCopy& operator=(const DeviceCopy&) = delete;

  TableView view() const { return table_.view(cells_, starts_); }
  void update(cudaStream_t stream) {
    must(cudaMemcpyAsync(cells_, table_.memory().data(), bytes(table_.memory()),
                         cudaMemcpyHostToDevice, stream));
    must(cudaMemcpyAsync(starts_, table_.starts().data(), bytes(table_.starts()),
                         cudaMemcpyHostToDevice, stream));
  }

 private:
  template <class T>
  static std::size_t bytes(const std::vector<T>& of) {
    return of.size() * sizeof(T);
  }
  const RandomTable& table_;
  void *cells_ = nullptr, *starts_ = nullptr;
};

class DeviceTablesCudaTest : public testing::Test {
 protected:
  void SetUp() override {
    int gpus = 0;
    if (cudaGetDeviceCount(&gpus) != cudaSuccess || gpus == 0) GTEST_SKIP() << "no GPU";
    must(cudaStreamCreate(&stream_));
  }
  void TearDown() override {
    if (stream_ != nullptr) must(cudaStreamDestroy(stream_));
  }
  template <class F>
  cudaGraphExec_t capture(F&& work) {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t runnable = nullptr;
    must(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal));
    work();
    must(cudaStreamEndCapture(stream_, &graph));
    must(cudaGraphInstantiate(&runnable, graph, 0));
    must(cudaGraphDestroy(graph));
    return runnable;
  }

  cudaStream_t stream_ = nullptr;
};

TEST_F(DeviceTablesCudaTest, WritesWhatTheProcessorWritesEagerAndInAGraph) {
  for (const TableShape& shape : table_shapes()) {
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
  for (const TableShape& shape : table_shapes()) {
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
  explicit Compared(const TableShape& shape)
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
    for (const TableShape& shape : table_shapes()) {
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

TEST_F(DeviceTablesCudaTest, TheGuardFindsAndCopiesWhatTheProcessorDoes) {
  for (const TableShape& shape : table_shapes()) {
    SCOPED_TRACE(shape.name);
    RandomTable table(shape, 17);
    DeviceCopy copy(table);
    Status status;
    const auto on_host = Guard::on_host(), on_device = Guard::on_device(status);
    ASSERT_NE(on_device, nullptr) << status.message();
    const auto expected = on_host->add(table.view(), true, 7, status);
    const auto guarded = on_device->add(copy.view(), true, 7, status);
    ASSERT_NE(guarded, nullptr) << status.message();
    GuardedLaunch launch;
    launch.bound = 9'900;
    launch.reserved = 7;
    launch.layer = 3;
    std::uint64_t next = 1, expected_next = 1;
    for (int step = 0; step < 12; ++step, table.change()) {
      copy.update(stream_);
      ASSERT_TRUE(guarded->check(copy.view(), launch, stream_).ok());
      must(cudaStreamSynchronize(stream_));
      ASSERT_TRUE(expected->check(table.view(), launch, nullptr).ok());
      GuardReport report{}, expected_report{};
      ASSERT_EQ(next_report(on_device->reports(), next, report),
                next_report(on_host->reports(), expected_next, expected_report));
      ASSERT_EQ(std::memcmp(&report, &expected_report, sizeof(report)), 0);
      const auto bytes = static_cast<std::size_t>(copied_cells(table.view())) * shape.cell_bytes;
      std::vector<char> given(bytes);
      must(cudaMemcpy(given.data(), guarded->copy(), bytes, cudaMemcpyDeviceToHost));
      ASSERT_EQ(std::memcmp(given.data(), expected->copy(), bytes), 0);
    }
  }
}

// Rows of any lengths, windows, and bounds that change from launch to launch, in one graph.
TEST_F(DeviceTablesCudaTest, TheGuardOfARowsLiveColumnsDoesWhatTheProcessorDoes) {
  for (const TableShape& shape : table_shapes()) {
    SCOPED_TRACE(shape.name);
    RandomTable table(shape, 23);
    if (table.view().starts != nullptr) continue;  // Lists have their lengths.
    DeviceCopy copy(table);
    copy.update(stream_);
    const TableView view = table.view();
    std::vector<std::int32_t> lens(view.rows);
    for (std::uint32_t row = 0; row < view.rows; ++row) lens[row] = row * 37 % (view.cols * 8 + 5);
    std::int32_t* device_lens = nullptr;
    must(cudaMalloc(&device_lens, lens.size() * sizeof(lens[0])));
    must(cudaMemcpy(device_lens, lens.data(), lens.size() * sizeof(lens[0]),
                    cudaMemcpyHostToDevice));
    Status status;
    const auto on_host = Guard::on_host(), on_device = Guard::on_device(status);
    ASSERT_NE(on_device, nullptr) << status.message();
    const auto expected = on_host->add(view, true, 7, status);
    const auto guarded = on_device->add(copy.view(), true, 7, status);
    const auto check_all = [&](GuardedTable& of, const TableView& at,
                               const std::int32_t* lens_there) {
      GuardedLaunch launch;
      launch.reserved = 7;
      launch.lens = lens_there;
      launch.page_size = 8;
      for (const std::int64_t bound : {9'900, 5'000, 9'950}) {
        launch.bound = bound;
        launch.window = bound % 3 * 20;
        ++launch.layer;
        ASSERT_TRUE(of.check(at, launch, stream_).ok());
      }
    };
    const auto graph = capture([&] { check_all(*guarded, copy.view(), device_lens); });
    std::uint64_t next = 1, expected_next = 1;
    for (int replay = 0; replay < 4; ++replay, table.change()) {
      copy.update(stream_);
      must(cudaGraphLaunch(graph, stream_));
      must(cudaStreamSynchronize(stream_));
      check_all(*expected, view, lens.data());
      GuardReport report{}, expected_report{};
      bool more = true;
      while (more) {
        more = next_report(on_host->reports(), expected_next, expected_report);
        ASSERT_EQ(next_report(on_device->reports(), next, report), more);
        ASSERT_EQ(std::memcmp(&report, &expected_report, sizeof(report)), 0);
      }
      std::vector<char> given(static_cast<std::size_t>(copied_cells(view)) * shape.cell_bytes);
      must(cudaMemcpy(given.data(), guarded->copy(), given.size(), cudaMemcpyDeviceToHost));
      ASSERT_EQ(std::memcmp(given.data(), expected->copy(), given.size()), 0);
    }
    must(cudaGraphExecDestroy(graph));
    must(cudaFree(device_lens));
  }
}

// Lists that begin and end within vectors, one of them beyond what may be read, with neighbours and
// bad entries at every edge.
TEST_F(DeviceTablesCudaTest, TheGuardOfLongListsDoesWhatTheProcessorDoes) {
  const std::vector<std::int64_t> starts{5, 9'003, 9'003, 9'004, 9'006, 30'001, 60'000};
  constexpr std::int64_t kCapacity = 50'001;
  for (const std::uint32_t bytes : {4u, 8u}) {
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
    const auto at_place = [&](const void* of_cells, const void* of_starts) {
      view.cells = of_cells;
      view.starts = of_starts;
      return view;
    };
    Status status;
    const auto on_host = Guard::on_host(), on_device = Guard::on_device(status);
    const auto expected = on_host->add(at_place(memory.data(), starts.data()), true, 7, status);
    const auto guarded = on_device->add(at_place(cells, device_starts), true, 7, status);
    ASSERT_NE(guarded, nullptr) << status.message();
    GuardedLaunch launch;
    launch.bound = 9'500;
    launch.reserved = 7;
    std::uint64_t next = 1, expected_next = 1;
    for (const std::int64_t bad :
         {4, 5, 6, 7, 8, 9'002, 9'003, 9'005, 9'006, 12'345, 30'000, 30'001, 49'999, 50'000, -1}) {
      if (bad >= 0) put(bad, 10'000 + bad);
      must(cudaMemcpy(cells, memory.data(), kCapacity * bytes, cudaMemcpyHostToDevice));
      ASSERT_TRUE(guarded->check(at_place(cells, device_starts), launch, stream_).ok());
      must(cudaStreamSynchronize(stream_));
      ASSERT_TRUE(expected->check(at_place(memory.data(), starts.data()), launch, nullptr).ok());
      GuardReport report{}, expected_report{};
      ASSERT_EQ(next_report(on_device->reports(), next, report),
                next_report(on_host->reports(), expected_next, expected_report));
      ASSERT_EQ(std::memcmp(&report, &expected_report, sizeof(report)), 0) << bad;
      std::vector<char> given(kCapacity * bytes);
      must(cudaMemcpy(given.data(), guarded->copy(), given.size(), cudaMemcpyDeviceToHost));
      ASSERT_EQ(std::memcmp(given.data(), expected->copy(), given.size()), 0) << bad;
      if (bad % 2 == 0) put(bad, 8);  // Some are good again, and the copy is to have that.
    }
    must(cudaFree(cells));
    must(cudaFree(device_starts));
  }
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

TEST_F(DeviceTablesCudaTest, TheGuardedLaunchDoesNotFaultAsItDoesWithout) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(launch_with_a_bad_id(false), testing::ExitedWithCode(1), "illegal memory access");
  EXPECT_EXIT(launch_with_a_bad_id(true), testing::ExitedWithCode(0), "no error");
}

}  // namespace
}  // namespace pagetape
