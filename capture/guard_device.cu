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

__device__ void report(const CheckJob& job, const GuardedLaunch& launch) {
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
  atomicAdd(&job.found->arrived, first ? kTurn - (gridDim.x * gridDim.y - 1) : 1u);
  if (!waits) return;
  const volatile std::uint32_t& arrived = job.found->arrived;
  while (arrived % kTurn != 0) {
  }
  __threadfence();
  job.found->reporting = 0;
  job.found->copied_bound = launch.bound;
  report(job, launch);
}

// `kEarly`: a row's entries are loaded before it is known how many live. Of tables up to 2 MiB that
// takes less time, whatever lives: there one wait for memory more counts, not the bytes.
template <class Cell, std::uint32_t kCells, bool kEarly>
__global__ void __launch_bounds__(kThreads)
    check_kernel(const CheckJob job, const GuardedLaunch launch) {
  const std::uint32_t stride = gridDim.x * kThreads, mine = blockIdx.x * kThreads + threadIdx.x;
  const std::int64_t copied_bound = job.copy != nullptr ? job.found->copied_bound : launch.bound;
  bool any = false;
  for (std::uint32_t row = blockIdx.y; row < job.view.rows; row += gridDim.y) {
    const RowSpan span = row_span(job.view, row);
    LiveColumns live{0, span.cells};
    GuardedItems items{0, (span.cells + kCells - 1) / kCells};
    const auto look = [&] {
      live = live_columns(span, launch, row);
      items = guarded_items(span, live, launch.bound < copied_bound, kCells);
    };
    if constexpr (!kEarly) look();
    auto* copy = static_cast<Cell*>(job.copy);
    if (copy != nullptr) copy += copied_row(job.view, span, row);
    const GuardedItems loaded = items;
    for (std::uint32_t first = loaded.begin + mine; first < loaded.end;
         first += kItemsAtOnce * stride) {
      GuardItem<Cell, kCells> item[kItemsAtOnce];
#pragma unroll
      for (std::uint32_t j = 0; j < kItemsAtOnce; ++j) {
        if (first + j * stride < loaded.end) item[j].load(job.view, span, first + j * stride);
      }
      if constexpr (kEarly) look();
#pragma unroll
      for (std::uint32_t j = 0; j < kItemsAtOnce; ++j) {
        const std::uint32_t i = first + j * stride;
        if (i < items.begin || i >= items.end) continue;
        const std::uint32_t bad = item[j].settle(launch, live, i, copy);
        if (bad == 0) continue;
        any = true;
        atomicMin(&job.found->state.first, row * job.view.cols + i * kCells + __ffs(bad) - 1);
        atomicAdd(reinterpret_cast<unsigned long long*>(&job.found->state.bad), __popc(bad));
      }
    }
  }
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
    auto* stream = static_cast<cudaStream_t>(on);
    job_.view = view;
    const bool vectors = compares_vectors(job_.view);
    if (job_.view.cell_bytes == 4) {
      return vectors ? start<std::int32_t, 4>(launch, stream)
                     : start<std::int32_t, 1>(launch, stream);
    }
    return vectors ? start<std::int64_t, 2>(launch, stream)
                   : start<std::int64_t, 1>(launch, stream);
  }
  void* copy() override { return job_.copy; }

 private:
  template <class Cell, std::uint32_t kCells>
  Status start(const GuardedLaunch& launch, cudaStream_t stream) {
    constexpr std::int64_t kSmall = 2 << 20;  // Bytes.
    const TableView& view = job_.view;
    const bool early = view.starts == nullptr && launch.lens != nullptr &&
                       std::int64_t{view.rows} * view.cols * view.cell_bytes <= kSmall;
    return early ? start<Cell, kCells, true>(launch, stream)
                 : start<Cell, kCells, false>(launch, stream);
  }
  template <class Cell, std::uint32_t kCells, bool kEarly>
  Status start(const GuardedLaunch& launch, cudaStream_t stream) {
    const dim3 blocks = blocks_for(job_.view, kThreads, processors_);
    check_kernel<Cell, kCells, kEarly><<<blocks, kThreads, 0, stream>>>(job_, launch);
    return check_cuda(cudaGetLastError(), "guarding a launch");
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
