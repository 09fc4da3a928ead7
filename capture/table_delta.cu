// SPDX-License-Identifier: Apache-2.0
#include <cstddef>

#include "capture/device_compare.h"
#include "capture/device_memory.cuh"

namespace pagetape {
namespace {

constexpr std::uint32_t kThreads = 256, kItemsAtOnce = 4;

// What the kernel is told. Pointers to memory of the host are the device's for it.
struct CompareJob {
  TableView view;
  DeltaState* state;
  void* shadow;
  std::int64_t* lengths;
  CellWord* cells;
  std::uint64_t* steps;
  std::uint64_t* lost;
  const std::uint64_t* freed;  // cells_freed, steps_freed.
  std::uint64_t cells_held;
};

// Of tables that are compared at once.
struct CompareJobs {
  CompareJob jobs[kTablesAtOnce];
};
static_assert(sizeof(CompareJobs) < 4096);  // What a kernel may be given.

// A place behind the cursor for each cell of the warp's threads: one atomic operation a warp.
__device__ std::uint64_t claim(DeltaState* state, std::uint32_t count) {
  const unsigned lane = threadIdx.x % 32;
  std::uint32_t before = count;
  for (unsigned step = 1; step < 32; step *= 2) {
    const std::uint32_t left = __shfl_up_sync(0xffff'ffff, before, step);
    if (lane >= step) before += left;
  }
  unsigned long long base = 0;
  if (lane == 31) {
    base = atomicAdd(reinterpret_cast<unsigned long long*>(&state->cursor), before);
  }
  return __shfl_sync(0xffff'ffff, base, 31) + before - count;
}

__device__ void put(const CompareJob& job, std::uint64_t limit, std::uint64_t at, CellWord word) {
  if (at < limit) job.cells[at & (job.cells_held - 1)] = word | round_of(at, job.cells_held);
}

// All threads of a warp come here together.
template <class Cell, std::uint32_t kCells>
__device__ void write_changes(const CompareJob& job, const CompareItem<Cell, kCells>& item,
                              std::uint32_t changed, std::uint64_t limit) {
  if (__any_sync(0xffff'ffff, changed != 0) == 0) return;
  std::uint64_t at = claim(job.state, __popc(changed));
  for (std::uint32_t k = 0; k < kCells; ++k) {
    if ((changed >> k & 1) != 0)
      put(job, limit, at++, cell_word(item.index + k, item.now.cells[k]));
  }
}

__device__ void compare_lengths(const CompareJob& job, bool full, std::uint64_t limit) {
  const std::uint32_t rows = rows_looked_at(job.view, full);
  for (std::uint32_t first = 0; first < rows; first += blockDim.x) {
    const std::uint32_t row = first + threadIdx.x;
    CellWord word;
    const bool changed = row < rows && length_changed(job.view, job.lengths, row, full, word);
    if (__any_sync(0xffff'ffff, changed) == 0) continue;
    const std::uint64_t at = claim(job.state, changed);
    if (changed) put(job, limit, at, word);
  }
}

// As row_span(), without the instructions of forms that rows of vectors do not have.
template <std::uint32_t kCells>
__device__ RowSpan span_of(const TableView& view, std::uint32_t row) {
  if (kCells == 1 || row >= view.rows) return row_span(view, row);
  return {row * view.row_stride, view.cols, view.cols};
}

template <class Cell, std::uint32_t kCells>
__device__ void compare_table(const CompareJob& job) {
  auto* shadows = static_cast<Cell*>(job.shadow);
  const bool full = job.state->full != 0;
  const std::uint64_t limit = job.state->cells_limit;
  const std::uint32_t stride = gridDim.x * kThreads, rows = rows_looked_at(job.view, full);
  for (std::uint32_t row = blockIdx.y; row < rows; row += gridDim.y) {
    const RowSpan span = span_of<kCells>(job.view, row);
    const std::uint32_t items = items_of_row(job.view, span, kCells, full);
    // Whole warps go round, also beyond the last item.
    for (std::uint32_t first = blockIdx.x * kThreads; first < items;
         first += kItemsAtOnce * stride) {
      CompareItem<Cell, kCells> item[kItemsAtOnce];
#pragma unroll
      for (std::uint32_t j = 0; j < kItemsAtOnce; ++j) {
        const std::uint32_t i = first + j * stride + threadIdx.x;
        if (i < items) item[j].load(job.view, shadows, span, row, i);
      }
      // Mostly nothing has changed: instructions are what takes the time then.
      bool idle = !full;
#pragma unroll
      for (std::uint32_t j = 0; j < kItemsAtOnce; ++j) {
        const bool mine = first + j * stride + threadIdx.x < items;
        idle &= !mine || !item[j].differs();
      }
      if (__all_sync(0xffff'ffff, idle) != 0) continue;
#pragma unroll
      for (std::uint32_t j = 0; j < kItemsAtOnce; ++j) {
        const bool mine = first + j * stride + threadIdx.x < items;
        const std::uint32_t changed = mine ? item[j].settle(shadows, full) : 0;
        write_changes(job, item[j], changed, limit);
      }
    }
  }
  if (job.view.starts != nullptr && blockIdx.x == 0 && blockIdx.y == 0) {
    compare_lengths(job, full, limit);
  }
}

template <class Cell, std::uint32_t kCells>
__global__ void __launch_bounds__(kThreads, 1024 / kThreads)
    compare_kernel(const __grid_constant__ CompareJob job) {
  begin_next();
  compare_table<Cell, kCells>(job);
}

__global__ void __launch_bounds__(kThreads)
    compare_tables_kernel(const __grid_constant__ CompareJobs all) {
  begin_next();
  const CompareJob& job = all.jobs[blockIdx.z];
  const bool vectors = compares_vectors(job.view);
  if (job.view.cell_bytes == 4) {
    vectors ? compare_table<std::int32_t, 4>(job) : compare_table<std::int32_t, 1>(job);
  } else {
    vectors ? compare_table<std::int64_t, 2>(job) : compare_table<std::int64_t, 1>(job);
  }
}

// Behind the compare, one thread a table: commits the step. A kernel of its own takes less time
// than a last block that waits for the others. The memory of the host is read for what was given
// back only where there might be no room, since the bus takes a microsecond.
__device__ void commit(const CompareJob& job) {
  DeltaState state = *job.state;
  const std::uint64_t rows = rows_of_table(job.view);
  const std::uint64_t whole = rows * cols_of_table(job.view) + rows;
  // Cells say themselves that they have come; but behind a lost step others stood in their places.
  if (state.full != 0) __threadfence_system();
  const StepEnd end = end_step(state);
  if (end.lost) {
    *static_cast<volatile std::uint64_t*>(job.lost) = state.steps;
  } else {
    static_cast<volatile std::uint64_t*>(job.steps)[state.steps % kStepsHeld] = end.word;
  }
  if (end.lost || state.cursor + whole > state.cells_limit || state.steps >= state.steps_limit) {
    const auto* freed = static_cast<const volatile std::uint64_t*>(job.freed);
    state.cells_limit = freed[0] + job.cells_held;
    state.steps_limit = freed[1] + kStepsHeld;
  }
  *job.state = state;
}
__global__ void commit_kernel(const CompareJob job) {
  wait_for_last();
  commit(job);
}
__global__ void commit_tables_kernel(const __grid_constant__ CompareJobs all) {
  wait_for_last();
  commit(all.jobs[threadIdx.x]);
}

class CudaCompare final : public DeviceCompare {
 public:
  explicit CudaCompare(TableMemory& memory) : memory_(memory) {}
  ~CudaCompare() override {
    if (registered_) cudaHostUnregister(memory_.memory());
  }

  Status prepare(const TableView& view) {
    job_.view = view;
    Status status;
    const std::uint32_t cells = compares_vectors(view) ? kVectorBytes / view.cell_bytes : 1;
    const std::uint32_t items = (view.cols / cells + kItemsAtOnce - 1) / kItemsAtOnce;
    blocks_ = blocks_for(view.rows, items, kThreads, processors_of_device(status));
    if (!status.ok()) return status;
    if (status = take_memory(); !status.ok()) return status;
    if (status = map_memory(); !status.ok()) return status;
    return check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }

  Status compare(const TableView& view, void* on, bool resend, bool& captured) override {
    auto* stream = static_cast<cudaStream_t>(on);
    if (Status status = is_captured(stream, captured); !status.ok()) return status;
    if (Status status = begin(view, stream, resend && !captured); !status.ok()) return status;
    const bool vectors = compares_vectors(view);
    if (view.cell_bytes == 4) {
      return vectors ? launch<std::int32_t, 4>(stream) : launch<std::int32_t, 1>(stream);
    }
    return vectors ? launch<std::int64_t, 2>(stream) : launch<std::int64_t, 1>(stream);
  }

  static Status compare_some(std::span<const Part> parts, cudaStream_t stream, bool captured) {
    CompareJobs all;
    dim3 blocks(1, 1, static_cast<unsigned>(parts.size()));
    for (std::size_t i = 0; i < parts.size(); ++i) {
      auto& one = static_cast<CudaCompare&>(*parts[i].table);
      Status status = one.begin(parts[i].view, stream, parts[i].resend && !captured);
      if (!status.ok()) return status;
      all.jobs[i] = one.job_;
      blocks.x = std::max(blocks.x, one.blocks_.x);
      blocks.y = std::max(blocks.y, one.blocks_.y);
    }
    compare_tables_kernel<<<blocks, kThreads, 0, stream>>>(all);
    if (Status status = check_cuda(cudaGetLastError(), "comparing tables"); !status.ok()) {
      return status;
    }
    return launch_behind(commit_tables_kernel, 1, blocks.z, stream, all);
  }
  static Status is_captured(cudaStream_t stream, bool& captured) {
    cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    Status status = check_cuda(cudaStreamIsCapturing(stream, &capture), "cudaStreamIsCapturing");
    captured = capture == cudaStreamCaptureStatusActive;
    return status;
  }

 private:
  Status begin(const TableView& view, cudaStream_t stream, bool full) {
    job_.view = view;
    if (!full) return {};
    const auto error = cudaMemsetAsync(&job_.state->full, 1, sizeof(job_.state->full), stream);
    return check_cuda(error, "cudaMemsetAsync");
  }

  template <class Cell, std::uint32_t kCells>
  Status launch(cudaStream_t stream) {
    compare_kernel<Cell, kCells><<<blocks_, kThreads, 0, stream>>>(job_);
    if (Status status = check_cuda(cudaGetLastError(), "comparing a table"); !status.ok()) {
      return status;
    }
    return launch_behind(commit_kernel, 1, 1, stream, job_);
  }

  // The state, the lengths, the shadow.
  Status take_memory() {
    const TableView& view = job_.view;
    const std::size_t lengths = 128, shadow = lengths + (view.rows * 8ul + 127) / 128 * 128;
    const std::size_t cells = std::size_t{view.rows} * view.cols;
    if (Status status = own_.take(shadow + cells * view.cell_bytes); !status.ok()) return status;
    job_.state = reinterpret_cast<DeltaState*>(own_.get());
    job_.lengths = reinterpret_cast<std::int64_t*>(own_.get() + lengths);
    job_.shadow = own_.get() + shadow;
    DeltaState state;
    state.cells_limit = memory_.header().cells_held;
    state.steps_limit = kStepsHeld;
    return check_cuda(cudaMemcpy(job_.state, &state, sizeof(state), cudaMemcpyHostToDevice),
                      "cudaMemcpy");
  }

  Status map_memory() {
    const auto error = cudaHostRegister(memory_.memory(), memory_.bytes(), cudaHostRegisterMapped);
    if (Status status = check_cuda(error, "cudaHostRegister"); !status.ok()) return status;
    registered_ = true;
    void* mapped = nullptr;
    if (Status status = check_cuda(cudaHostGetDevicePointer(&mapped, memory_.memory(), 0),
                                   "cudaHostGetDevicePointer");
        !status.ok()) {
      return status;
    }
    const auto device = [&](void* host) {
      return reinterpret_cast<std::uint64_t*>(
          static_cast<char*>(mapped) +
          (static_cast<char*>(host) - static_cast<char*>(memory_.memory())));
    };
    TableHeader& header = memory_.header();
    static_assert(offsetof(TableHeader, steps_freed) == offsetof(TableHeader, cells_freed) + 8);
    job_.cells = device(memory_.cells());
    job_.steps = device(memory_.steps());
    job_.lost = device(&header.lost);
    job_.freed = device(&header.cells_freed);
    job_.cells_held = header.cells_held;
    return {};
  }

  TableMemory& memory_;
  DeviceMemory own_;
  CompareJob job_{};
  dim3 blocks_;
  bool registered_ = false;
};

}  // namespace

std::unique_ptr<DeviceCompare> DeviceCompare::create(const TableView& view, TableMemory& memory,
                                                     Status& status) {
  auto compare = std::make_unique<CudaCompare>(memory);
  if (status = compare->prepare(view); !status.ok()) return nullptr;
  return compare;
}

Status DeviceCompare::compare_all(std::span<const Part> parts, void* stream, bool& captured) {
  if (parts.size() == 1) {
    return parts[0].table->compare(parts[0].view, stream, parts[0].resend, captured);
  }
  auto* on = static_cast<cudaStream_t>(stream);
  Status status = CudaCompare::is_captured(on, captured);
  for (; status.ok() && !parts.empty();
       parts = parts.subspan(std::min(parts.size(), kTablesAtOnce))) {
    status =
        CudaCompare::compare_some(parts.first(std::min(parts.size(), kTablesAtOnce)), on, captured);
  }
  return status;
}

}  // namespace pagetape
