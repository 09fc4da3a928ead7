// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "capture/device_memory.cuh"
#include "capture/guard.h"

namespace pagetape {
namespace {

constexpr std::uint32_t kThreads = 256, kItemsAtOnce = 4;

// What the blocks of a launch tell each other, and a launch the next one.
struct Found {
  GuardState state;
  std::int64_t copied_bound = 0;  // Of what the copy holds.
  std::uint32_t arrived = 0;      // A launch's blocks add kTurn in all.
  std::uint32_t reporting = 0;    // A block waits for the others.
};
constexpr std::uint32_t kTurn = 1u << 16;  // More than a launch has blocks.

struct CheckJob {
  TableView view;
  Found* found;
  std::uint64_t* reported;  // Of the guard.
  GuardReport* reports;     // In memory of the host.
  void* copy;               // Or null.
};

__global__ void fill_kernel(void* cells, std::uint32_t cell_bytes, std::int64_t n,
                            std::int64_t value) {
  for (std::int64_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
    if (cell_bytes == 4) {
      static_cast<std::int32_t*>(cells)[i] = static_cast<std::int32_t>(value);
    } else {
      static_cast<std::int64_t*>(cells)[i] = value;
    }
  }
}

__device__ __noinline__ void report(const CheckJob& job, const GuardedLaunch& launch) {
  const auto number_at = [](std::uint64_t& of) {
    return reinterpret_cast<unsigned long long*>(&of);
  };
  const GuardState state{atomicExch(number_at(job.found->state.bad), 0ull),
                         atomicExch(&job.found->state.first, UINT32_MAX)};
  if (state.bad == 0) return;
  const std::uint64_t number = atomicAdd(number_at(*job.reported), 1ull) + 1;
  GuardReport* to = job.reports + number % kReportsHeld;
  *to = make_report(job.view, launch, state, 0);
  __threadfence_system();
  *const_cast<volatile std::uint64_t*>(&to->number) = number;
}

// A block is done. Where all are good, nobody waits for anyone: each adds its part to a count, and
// no answer is waited for. Of the blocks that found a bad entry one waits for all others and
// reports; where the bound is another than the last launch's, the first block does. The others
// come, whatever else the GPU does, since no more than that one waits.
__device__ void finish(const CheckJob& job, const GuardedLaunch& launch, bool bad, bool changed) {
  const bool any = __syncthreads_or(bad) != 0;
  if (threadIdx.x != 0) return;
  const bool first = blockIdx.x == 0 && blockIdx.y == 0;
  bool waits = changed && first;
  if (any) {
    __threadfence();
    if (!changed) waits = atomicExch(&job.found->reporting, 1u) == 0;
  }
  const std::uint32_t part = first ? kTurn - (gridDim.x * gridDim.y - 1) : 1u;
  asm volatile("red.relaxed.gpu.global.add.u32 [%0], %1;" ::"l"(&job.found->arrived), "r"(part)
               : "memory");
  if (!waits) return;
  const volatile std::uint32_t& arrived = job.found->arrived;
  while (arrived % kTurn != 0) {
  }
  __threadfence();
  job.found->reporting = 0;
  job.found->copied_bound = launch.bound;
  report(job, launch);
}

// This thread's items, entry by entry. True where a bad one lives.
template <class Cell, std::uint32_t kCells>
__device__ __noinline__ bool settle_rows(const CheckJob& job, const GuardedLaunch& launch,
                                         std::int64_t copied_bound) {
  const std::uint32_t stride = gridDim.x * kThreads, mine = blockIdx.x * kThreads + threadIdx.x;
  bool any = false;
  for (std::uint32_t row = blockIdx.y; row < job.view.rows; row += gridDim.y) {
    const RowSpan span = row_span(job.view, row);
    const LiveColumns live = live_columns(span, launch, row);
    const GuardedItems items = guarded_items(span, live, launch.bound < copied_bound, kCells);
    auto* copy = static_cast<Cell*>(job.copy);
    if (copy != nullptr) copy += copied_row(job.view, span, row);
    for (std::uint32_t first = items.begin + mine; first < items.end;
         first += kItemsAtOnce * stride) {
      GuardItem<Cell, kCells> item[kItemsAtOnce];
#pragma unroll
      for (std::uint32_t j = 0; j < kItemsAtOnce; ++j) {
        if (first + j * stride < items.end) item[j].load(job.view, span, first + j * stride);
      }
#pragma unroll
      for (std::uint32_t j = 0; j < kItemsAtOnce; ++j) {
        const std::uint32_t i = first + j * stride;
        if (i >= items.end) continue;
        const std::uint32_t bad = item[j].settle(launch, live, i, copy);
        if (bad == 0) continue;
        any = true;
        atomicMin(&job.found->state.first, row * job.view.cols + i * kCells + __ffs(bad) - 1);
        atomicAdd(reinterpret_cast<unsigned long long*>(&job.found->state.bad), __popc(bad));
      }
    }
  }
  return any;
}

__device__ std::int64_t bound_of_copy(const CheckJob& job, const GuardedLaunch& launch) {
  return job.copy != nullptr ? job.found->copied_bound : launch.bound;
}

// Tables of any form.
template <class Cell>
__global__ void __launch_bounds__(kThreads)
    check_kernel(const __grid_constant__ CheckJob job,
                 const __grid_constant__ GuardedLaunch launch) {
  wait_for_last();
  const std::int64_t copied_bound = bound_of_copy(job, launch);
  const bool any = settle_rows<Cell, 1>(job, launch, copied_bound);
  finish(job, launch, any, launch.bound != copied_bound);
}

// Division of numbers below 2^31, as a multiplication.
struct Divisor {
  explicit Divisor(std::uint32_t by) {
    while ((1ull << shift) < by) ++shift;
    factor = static_cast<std::uint32_t>((1ull << (31 + shift)) / by + 1);
    shift += 31;
  }
  __device__ std::uint32_t quotient(std::uint32_t number) const {
    return static_cast<std::uint32_t>(std::uint64_t{number} * factor >> shift);
  }
  std::uint32_t factor = 0, shift = 0;
};

// What the device is told of rows of whole vectors, for it to do as little as it can.
struct VectorJob {
  VectorJob(const TableView& view, const GuardedLaunch& launch, std::uint32_t cells, void* copy)
      : cells(view.cells),
        copy(copy),
        lens(launch.lens),
        row_items(view.row_stride / cells),
        rows(view.rows),
        held(view.cols / cells),
        tokens_most(static_cast<std::uint32_t>(view.cols * launch.page_size)),
        page(static_cast<std::uint32_t>(launch.page_size)),
        window(launch.window > 0 ? launch.window + launch.q_len - 1 : INT64_MAX),
        below(view.cell_bytes == 4 ? ends_below<std::int32_t>(launch.bound)
                                   : ends_below<std::int64_t>(launch.bound)) {}
  static bool fits(const TableView& view, const GuardedLaunch& launch) {
    return compares_vectors(view) && launch.page_size <= INT32_MAX / view.cols &&
           launch.window <= INT32_MAX && launch.q_len <= INT32_MAX;
  }

  const void* cells;
  void* copy;        // Or null.
  const void* lens;  // Or null.
  std::int64_t row_items;
  std::uint32_t rows, held;   // Items of a row.
  std::uint32_t tokens_most;  // Of a row.
  Divisor page;
  std::int64_t window;  // Tokens of a row behind those that have left it.
  std::uint64_t below;  // The bound, as wide as the cells.
};

// Columns of a row that count, as live_columns() has them, without a division. `whole`: all of
// them, see guarded_items().
template <std::uint32_t kCells, bool kWindow>
__device__ LiveColumns live_of(const VectorJob& job, std::int64_t tokens, bool whole) {
  LiveColumns live{0, job.held * kCells};
  if (whole || job.lens == nullptr) return live;
  const std::int64_t most = job.tokens_most;
  const auto held = static_cast<std::uint32_t>(min(max(tokens, std::int64_t{0}), most));
  live.end = held == 0 ? 0 : job.page.quotient(held - 1) + 1;
  if (!kWindow || tokens <= job.window) return live;
  const auto left = static_cast<std::uint32_t>(min(tokens - job.window, most));
  live.begin = min(job.page.quotient(left), live.end);
  return live;
}

template <class Cell, std::uint32_t kCells>
__device__ bool all_below(const CellGroup<Cell, kCells>& item, std::make_unsigned_t<Cell> below) {
  bool good = true;
  for (std::uint32_t k = 0; k < kCells; ++k) good &= is_below(item.cells[k], below);
  return good;
}
// The same of the live ones alone. Beside them there may be anything, -1 behind the last of a row
// in most engines' tables: of that the copy has what it has of bad ids.
template <class Cell, std::uint32_t kCells>
__device__ bool live_below(CellGroup<Cell, kCells>& item, std::uint32_t col,
                           const LiveColumns& live, std::make_unsigned_t<Cell> below,
                           std::int64_t reserved) {
  bool good = true;
  for (std::uint32_t k = 0; k < kCells; ++k) {
    if (is_below(item.cells[k], below)) continue;
    good &= col + k < live.begin || col + k >= live.end;
    item.cells[k] = static_cast<Cell>(reserved);
  }
  return good;
}

// Rows of whole vectors, as most tables are. What takes the time is instructions, those that are
// done and those that each launch fetches anew: of entries that are good there is one comparison.
// Without a window a row's first items are loaded before it is known how many live.
template <class Cell, std::uint32_t kCells, bool kWindow>
__global__ void __launch_bounds__(kThreads, 1024 / kThreads)
    check_vectors_kernel(const __grid_constant__ VectorJob vectors,
                         const __grid_constant__ CheckJob job,
                         const __grid_constant__ GuardedLaunch launch) {
  using Group = CellGroup<Cell, kCells>;
  wait_for_last();
  const std::uint32_t stride = gridDim.x * kThreads, mine = blockIdx.x * kThreads + threadIdx.x;
  const auto below = static_cast<std::make_unsigned_t<Cell>>(vectors.below);
  const std::int64_t copied_bound = bound_of_copy(job, launch);
  bool suspect = false;
  for (std::uint32_t row = blockIdx.y; row < vectors.rows; row += gridDim.y) {
    const auto* from = static_cast<const Group*>(vectors.cells) + row * vectors.row_items;
    auto* to = static_cast<Group*>(vectors.copy) + std::uint64_t{row} * vectors.held;
    const std::int64_t tokens = tokens_of(launch, row);
    Group item[kItemsAtOnce];
    if (!kWindow && mine < vectors.held) item[0] = from[mine];
    const LiveColumns live = live_of<kCells, kWindow>(vectors, tokens, launch.bound < copied_bound);
    const std::uint32_t end = (live.end + kCells - 1) / kCells;
    for (std::uint32_t at = live.begin / kCells + mine; at < end; at += kItemsAtOnce * stride) {
      // Behind the last one it is that once more: all are under way with no question in between.
      std::uint32_t i[kItemsAtOnce];
#pragma unroll
      for (std::uint32_t j = 0; j < kItemsAtOnce; ++j) {
        i[j] = at + j * stride;
        if (kWindow || j > 0 || at != mine) item[j] = from[min(i[j], end - 1)];
      }
      bool good = true;
#pragma unroll
      for (std::uint32_t j = 0; j < kItemsAtOnce; ++j) {
        good &= i[j] >= end || all_below(item[j], below);
      }
      if (!good) {
        good = true;
#pragma unroll
        for (std::uint32_t j = 0; j < kItemsAtOnce; ++j) {
          good &= live_below(item[j], i[j] * kCells, live, below, launch.reserved);
        }
      }
      suspect |= !good;
      if (!good || vectors.copy == nullptr) continue;
#pragma unroll
      for (std::uint32_t j = 0; j < kItemsAtOnce; ++j) {
        if (i[j] < end) to[i[j]] = item[j];
      }
    }
  }
  const bool any = suspect && settle_rows<Cell, kCells>(job, launch, copied_bound);
  finish(job, launch, any, launch.bound != copied_bound);
}

// An index list begins and ends anywhere: it is whole vectors, and before and behind them loose
// entries, fewer than a vector has.
template <std::uint32_t kCells>
struct ListParts {
  __device__ explicit ListParts(const RowSpan& span)
      : before(min(-static_cast<std::uint32_t>(span.begin) % kCells, span.cells)),
        vectors((span.cells - before) / kCells),
        loose(span.cells - vectors * kCells) {}
  __device__ std::uint32_t loose_col(std::uint32_t i) const {
    return i < before ? i : i + vectors * kCells;
  }

  std::uint32_t before, vectors, loose;
};

// This thread's entries, one by one. True where there is a bad one.
template <class Cell, std::uint32_t kCells>
__device__ __noinline__ bool settle_lists(const CheckJob& job, const GuardedLaunch& launch) {
  const std::uint32_t stride = gridDim.x * kThreads, mine = blockIdx.x * kThreads + threadIdx.x;
  bool any = false;
  for (std::uint32_t row = blockIdx.y; row < job.view.rows; row += gridDim.y) {
    const RowSpan span = list_span(job.view, row);
    const ListParts<kCells> list(span);
    auto* copy = static_cast<Cell*>(job.copy);
    if (copy != nullptr) copy += span.begin;
    const auto settle = [&](std::uint32_t col) {
      GuardItem<Cell, 1> item;
      item.load(job.view, span, col);
      if (item.settle(launch, {0, span.cells}, col, copy) == 0) return;
      any = true;
      atomicMin(&job.found->state.first, row * job.view.cols + col);
      atomicAdd(reinterpret_cast<unsigned long long*>(&job.found->state.bad), 1ull);
    };
    if (mine < list.loose) settle(list.loose_col(mine));
    for (std::uint32_t i = mine; i < list.vectors; i += stride) {
      for (std::uint32_t k = 0; k < kCells; ++k) settle(list.before + i * kCells + k);
    }
  }
  return any;
}

// As check_vectors_kernel(), of index lists.
template <class Cell, std::uint32_t kCells>
__global__ void __launch_bounds__(kThreads, 1024 / kThreads)
    check_lists_kernel(const __grid_constant__ CheckJob job,
                       const __grid_constant__ GuardedLaunch launch) {
  using Group = CellGroup<Cell, kCells>;
  wait_for_last();
  const std::uint32_t stride = gridDim.x * kThreads, mine = blockIdx.x * kThreads + threadIdx.x;
  const auto below = ends_below<Cell>(launch.bound);
  const std::int64_t copied_bound = bound_of_copy(job, launch);
  bool suspect = false;
  for (std::uint32_t row = blockIdx.y; row < job.view.rows; row += gridDim.y) {
    const RowSpan span = list_span(job.view, row);
    if (span.cells == 0) continue;
    const ListParts<kCells> list(span);
    const auto* cells = static_cast<const Cell*>(job.view.cells) + span.begin;
    auto* copy = static_cast<Cell*>(job.copy) + span.begin;
    const bool has_loose = mine < list.loose;
    const std::uint32_t loose_col = list.loose_col(mine);
    Cell loose = 0;
    if (has_loose) loose = cells[loose_col];
    const auto* from = reinterpret_cast<const Group*>(cells + list.before);
    auto* to = reinterpret_cast<Group*>(copy + list.before);
    for (std::uint32_t at = mine; at < list.vectors; at += kItemsAtOnce * stride) {
      Group item[kItemsAtOnce];
      std::uint32_t i[kItemsAtOnce];
#pragma unroll
      for (std::uint32_t j = 0; j < kItemsAtOnce; ++j) {
        i[j] = min(at + j * stride, list.vectors - 1);
        item[j] = from[i[j]];
      }
      // Here what came first is written while the others are still under way.
#pragma unroll
      for (std::uint32_t j = 0; j < kItemsAtOnce; ++j) {
        const bool good = all_below(item[j], below);
        suspect |= !good;
        if (good && job.copy != nullptr) to[i[j]] = item[j];
      }
    }
    if (!has_loose) continue;
    const bool good = is_below(loose, below);
    suspect |= !good;
    if (good && job.copy != nullptr) copy[loose_col] = loose;
  }
  const bool any = suspect && settle_lists<Cell, kCells>(job, launch);
  finish(job, launch, any, launch.bound != copied_bound);
}

class CudaTable final : public GuardedTable {
 public:
  Status prepare(const TableView& view, bool copies, std::int64_t reserved, std::uint64_t* reported,
                 GuardReport* reports) {
    job_.view = view;
    job_.reported = reported;
    job_.reports = reports;
    Status status;
    processors_ = processors_of_device(status);
    if (!status.ok()) return status;
    const std::int64_t cells = copies ? copied_cells(view) : 0;
    constexpr std::size_t kCopy = 128;  // Behind what was found.
    status = own_.take(kCopy + static_cast<std::size_t>(cells) * view.cell_bytes);
    if (!status.ok()) return status;
    job_.found = reinterpret_cast<Found*>(own_.get());
    const Found none;
    const auto error = cudaMemcpy(job_.found, &none, sizeof(none), cudaMemcpyHostToDevice);
    if (status = check_cuda(error, "cudaMemcpy"); !status.ok()) return status;
    if (!copies) return {};
    job_.copy = own_.get() + kCopy;
    fill_kernel<<<264, kThreads>>>(job_.copy, view.cell_bytes, cells, reserved);
    return check_cuda(cudaDeviceSynchronize(), "preparing a guarded table");
  }

  Status check(const TableView& view, const GuardedLaunch& launch, void* on) override {
    job_.view = view;
    auto* stream = static_cast<cudaStream_t>(on);
    return view.cell_bytes == 4 ? start<std::int32_t, 4>(launch, stream)
                                : start<std::int64_t, 2>(launch, stream);
  }
  void* copy() override { return job_.copy; }

 private:
  template <class Cell, std::uint32_t kCells>
  Status start(const GuardedLaunch& launch, cudaStream_t stream) const {
    const TableView& view = job_.view;
    if (VectorJob::fits(view, launch)) {
      const VectorJob vectors(view, launch, kCells, job_.copy);
      const dim3 blocks = blocks_for(view.rows, view.cols / kCells);
      return launch_behind(launch.window > 0 ? check_vectors_kernel<Cell, kCells, true>
                                             : check_vectors_kernel<Cell, kCells, false>,
                           blocks, kThreads, stream, vectors, job_, launch);
    }
    if (view.starts != nullptr && view.col_stride == 1 && launch.lens == nullptr &&
        reinterpret_cast<std::uintptr_t>(view.cells) % kVectorBytes == 0) {
      const auto mean = static_cast<std::uint64_t>(view.capacity) / view.rows / kCells;
      const dim3 blocks = blocks_for(view.rows, std::min(mean, std::uint64_t{view.cols}));
      return launch_behind(check_lists_kernel<Cell, kCells>, blocks, kThreads, stream, job_,
                           launch);
    }
    return launch_behind(check_kernel<Cell>, blocks_for(view.rows, view.cols), kThreads, stream,
                         job_, launch);
  }
  dim3 blocks_for(std::uint32_t rows, std::uint32_t items) const {
    return pagetape::blocks_for(rows, (items + kItemsAtOnce - 1) / kItemsAtOnce, kThreads,
                                processors_);
  }

  DeviceMemory own_;
  CheckJob job_{};
  unsigned processors_ = 0;
};

class CudaGuard final : public Guard {
 public:
  ~CudaGuard() override { cudaFreeHost(reports_); }

  Status prepare() {
    void* memory = nullptr;
    if (Status status = check_cuda(
            cudaHostAlloc(&memory, sizeof(GuardReports), cudaHostAllocMapped), "cudaHostAlloc");
        !status.ok()) {
      return status;
    }
    reports_ = new (memory) GuardReports{};
    void* mapped = nullptr;
    if (Status status =
            check_cuda(cudaHostGetDevicePointer(&mapped, memory, 0), "cudaHostGetDevicePointer");
        !status.ok()) {
      return status;
    }
    mapped_ = static_cast<GuardReport*>(mapped);
    return reported_.take(sizeof(std::uint64_t));
  }

  GuardReports& reports() override { return *reports_; }
  std::unique_ptr<GuardedTable> add(const TableView& view, bool copies, std::int64_t reserved,
                                    Status& status) override {
    auto table = std::make_unique<CudaTable>();
    auto* reported = reinterpret_cast<std::uint64_t*>(reported_.get());
    if (status = table->prepare(view, copies, reserved, reported, mapped_); !status.ok()) {
      return nullptr;
    }
    return table;
  }

 private:
  GuardReports* reports_ = nullptr;  // In memory of the host …
  GuardReport* mapped_ = nullptr;    // … as the device sees them.
  DeviceMemory reported_;
};

}  // namespace

std::unique_ptr<Guard> Guard::on_device(Status& status) {
  auto guard = std::make_unique<CudaGuard>();
  if (status = guard->prepare(); !status.ok()) return nullptr;
  return guard;
}

}  // namespace pagetape
