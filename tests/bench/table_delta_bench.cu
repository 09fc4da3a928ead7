// SPDX-License-Identifier: Apache-2.0
// A compare and a guard's check in a CUDA graph, beside what limits them: an empty kernel, a copy
// of the table and a read of it. Microseconds a node; medians of launches, and their middle half.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "capture/device_compare.h"
#include "capture/guard.h"

namespace pagetape {
namespace {

constexpr int kNodes = 50, kLaunches = 33;

void must(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s\n", cudaGetErrorString(error));
  std::exit(1);
}
void must(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.message().c_str());
  std::exit(1);
}

__global__ void empty_kernel() {}
__global__ void read_kernel(const int4* cells, std::uint32_t n, int* sum) {
  int mine = 0;
  for (std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n;
       i += gridDim.x * blockDim.x) {
    const int4 c = cells[i];
    mine += c.x ^ c.y ^ c.z ^ c.w;
  }
  if (mine == 0x12345678) *sum = mine;
}
// A step of decoding: the rows of every 16th lane get one page more.
__global__ void step_kernel(std::int32_t* table, std::uint32_t rows, std::uint32_t cols,
                            int* step) {
  const std::uint32_t row = threadIdx.x;
  const int now = *step;
  if (row < rows && row % 16 == now % 16) table[row * cols + now / 16 % cols] += 1;
  __syncthreads();
  if (row == 0) *step = now + 1;
}

struct Spread {
  float median, low, high;
};

Spread time_of(cudaStream_t stream, const std::function<void()>& node,
               const std::function<void()>& between) {
  cudaGraph_t graph;
  cudaGraphExec_t runnable;
  cudaEvent_t begin, end;
  must(cudaEventCreate(&begin));
  must(cudaEventCreate(&end));
  must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  for (int i = 0; i < kNodes; ++i) node();
  must(cudaStreamEndCapture(stream, &graph));
  must(cudaGraphInstantiate(&runnable, graph, 0));
  std::vector<float> times;
  for (int i = -3; i < kLaunches; ++i) {
    must(cudaEventRecord(begin, stream));
    must(cudaGraphLaunch(runnable, stream));
    must(cudaEventRecord(end, stream));
    must(cudaEventSynchronize(end));
    float ms = 0;
    must(cudaEventElapsedTime(&ms, begin, end));
    if (i >= 0) times.push_back(ms * 1000 / kNodes);
    between();
  }
  must(cudaGraphExecDestroy(runnable));
  must(cudaGraphDestroy(graph));
  std::ranges::sort(times);
  return {times[kLaunches / 2], times[kLaunches / 4], times[kLaunches * 3 / 4]};
}

void print(const char* what, const Spread& spread) {
  std::printf("  %-34s %6.2f  (%.2f to %.2f)\n", what, spread.median, spread.low, spread.high);
}

// A table's zeros as index lists, none of which begins at a vector.
void measure_guard_of_lists(TableView view, std::uint32_t cell_bytes, bool copies,
                            cudaStream_t stream) {
  view.capacity = std::int64_t{view.rows} * view.cols;
  view.cell_bytes = cell_bytes;
  std::vector<std::int32_t> starts(view.rows + 1);
  for (std::uint32_t row = 0; row <= view.rows; ++row) {
    const std::int64_t start = std::int64_t{row} * view.cols + 3;
    starts[row] = static_cast<std::int32_t>(std::min(start, view.capacity));
  }
  void *there = nullptr, *cells = nullptr;
  must(cudaMalloc(&there, starts.size() * sizeof(starts[0])));
  must(cudaMemcpy(there, starts.data(), starts.size() * sizeof(starts[0]), cudaMemcpyHostToDevice));
  const auto bytes = static_cast<std::size_t>(view.capacity) * cell_bytes;
  must(cudaMalloc(&cells, bytes));
  must(cudaMemset(cells, 0, bytes));
  view.starts = there;
  view.cells = cells;
  Status status;
  const auto guard = Guard::on_device(status);
  must(status);
  const auto guarded = guard->add(view, copies, 0, status);
  must(status);
  GuardedLaunch launch;
  launch.bound = 1 << 30;
  const std::string what = cell_bytes == 4 ? "guard of lists" : "guard of lists, int64";
  print((what + (copies ? ", with a copy" : "")).c_str(),
        time_of(
            stream, [&] { must(guarded->check(view, launch, stream)); }, [] {}));
  must(cudaFree(there));
  must(cudaFree(cells));
}

// Launches over all of the table, over an eighth of each row, and with a window of 1,024 tokens;
// and over an eighth less a cell, with -1 from there on: beside ids that live. `cells` are the
// view's.
void measure_guard(const TableView& view, std::int32_t* cells, bool copies, cudaStream_t stream) {
  constexpr std::int64_t kPage = 16;
  std::int32_t* lens = nullptr;
  must(cudaMalloc(&lens, view.rows * sizeof(*lens)));
  Status status;
  const auto guard = Guard::on_device(status);
  must(status);
  const auto guarded = guard->add(view, copies, 0, status);
  must(status);
  GuardedLaunch launch;
  launch.lens = lens;
  launch.bound = 1 << 30;
  launch.page_size = kPage;
  for (const char* what :
       {"guard", "guard, an eighth live", "guard, a window", "guard, an eighth and -1"}) {
    const bool padded = std::strstr(what, "-1") != nullptr;
    const auto live = view.cols / (std::strstr(what, "eighth") != nullptr ? 8 : 1) - padded;
    const std::vector<std::int32_t> of_rows(view.rows, static_cast<std::int32_t>(live * kPage));
    must(cudaMemcpy(lens, of_rows.data(), view.rows * sizeof(*lens), cudaMemcpyHostToDevice));
    if (padded) {
      must(cudaMemset2D(cells + live, view.cols * sizeof(*cells), 0xff,
                        (view.cols - live) * sizeof(*cells), view.rows));
    }
    launch.window = std::strstr(what, "window") != nullptr ? 1024 : 0;
    print((std::string(what) + (copies ? ", with a copy" : "")).c_str(),
          time_of(
              stream, [&] { must(guarded->check(view, launch, stream)); }, [] {}));
  }
  must(cudaMemset(cells, 0, std::size_t{view.rows} * view.cols * sizeof(*cells)));
  must(cudaFree(lens));
}

void measure(std::uint32_t rows, std::uint32_t cols, cudaStream_t stream) {
  const std::size_t bytes = std::size_t{rows} * cols * sizeof(std::int32_t);
  std::int32_t *table = nullptr, *other = nullptr;
  int* step = nullptr;
  must(cudaMalloc(&table, bytes));
  must(cudaMalloc(&other, bytes));
  must(cudaMalloc(&step, sizeof(*step)));
  must(cudaMemset(table, 0, bytes));
  must(cudaMemset(step, 0, sizeof(*step)));
  TableView view;
  view.cells = table;
  view.rows = rows;
  view.row_stride = view.cols = cols;
  Status status;
  std::shared_ptr<TableMemory> memory = TableMemory::create("", TableKind::kPages, view, status);
  must(status);
  const auto compare = DeviceCompare::create(view, *memory, status);
  must(status);
  TableReader reader(memory);
  std::vector<CellWord> cells;
  std::uint64_t steps = 0;
  bool captured = false;
  const auto nothing = [] {};
  const auto put = [&] { must(compare->compare(view, stream, false, captured)); };
  const auto drain = [&] {
    steps += kNodes;
    cells.clear();
    const auto taken = reader.take(steps, cells);
    if (!taken.all || taken.lost) must(usage("a step is missing"));
    reader.release(reader.place());
  };
  std::printf("%u x %u, us a node in a graph of %d\n", rows, cols, kNodes);
  for (int round = 0; round < 2; ++round) {
    print("empty kernel", time_of(
                              stream, [&] { empty_kernel<<<1, 32, 0, stream>>>(); }, nothing));
    const auto quads = static_cast<std::uint32_t>(bytes / 16);
    const unsigned blocks = std::min(264u, (quads + 511) / 512);
    print("read of the table", time_of(
                                   stream,
                                   [&] {
                                     read_kernel<<<blocks, 512, 0, stream>>>(
                                         reinterpret_cast<int4*>(table), quads, step);
                                   },
                                   nothing));
    print("copy of the table (memcpy)",
          time_of(
              stream,
              [&] { must(cudaMemcpyAsync(other, table, bytes, cudaMemcpyDeviceToDevice, stream)); },
              nothing));
    print("compare, nothing changed", time_of(stream, put, drain));
    const auto decode = [&] { step_kernel<<<1, 256, 0, stream>>>(table, rows, cols, step); };
    const Spread without = time_of(stream, decode, nothing);
    put();  // What changed meanwhile, and is in the graphs not timed.
    must(cudaStreamSynchronize(stream));
    ++steps;
    const Spread with = time_of(
        stream, [&] { decode(), put(); }, drain);
    print("a decode step's writes", without);
    print("the same and compare", with);
    for (const bool copies : {false, true}) {
      measure_guard(view, table, copies, stream);
      for (const std::uint32_t bytes : {4u, 8u}) {
        measure_guard_of_lists(view, bytes, copies, stream);
      }
    }
  }
  for (void* of :
       {static_cast<void*>(table), static_cast<void*>(other), static_cast<void*>(step)}) {
    must(cudaFree(of));
  }
}

}  // namespace
}  // namespace pagetape

int main() {
  cudaDeviceProp device;
  pagetape::must(cudaGetDeviceProperties(&device, 0));
  std::printf("%s\n", device.name);
  cudaStream_t stream;
  pagetape::must(cudaStreamCreate(&stream));
  for (const auto& [rows, cols] : {std::pair{64u, 512u}, {64u, 8192u}, {256u, 8192u}}) {
    pagetape::measure(rows, cols, stream);
  }
}
