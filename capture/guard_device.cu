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
  // Blocks of this launch that are done, and above them those that found a bad entry.
  std::uint32_t arrived = 0;
};
constexpr std::uint32_t kFoundBits = 16;

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
  const std::uint64_t number = atomicAdd(number_at(*job.reported), 1ull) + 1;
  GuardReport* to = job.reports + number % kReportsHeld;
  *to = make_report(job.view, launch, state, 0);
  __threadfence_system();
  *const_cast<volatile std::uint64_t*>(&to->number) = number;
}

// The block that is done last reports what all of them found. A launch that finds nothing pays for
// one atomic operation a block, of which the last one's answer is waited for.
__device__ void finish(const CheckJob& job, const GuardedLaunch& launch, bool bad) {
  const bool any = __syncthreads_or(bad) != 0;
  if (threadIdx.x != 0) return;
  if (any) __threadfence();
  const std::uint32_t mine = any ? 1u << kFoundBits | 1u : 1u;
  const std::uint32_t arrived = atomicAdd(&job.found->arrived, mine) + mine;
  if ((arrived & ((1u << kFoundBits) - 1)) != gridDim.x * gridDim.y) return;
  job.found->arrived = 0;
  job.found->copied_bound = launch.bound;
  if (arrived >> kFoundBits == 0) return;
  __threadfence();
  report(job, launch);
}

template <class Cell, std::uint32_t kCells>
__global__ void __launch_bounds__(kThreads)
    check_kernel(const CheckJob job, const GuardedLaunch launch) {
  const std::uint32_t stride = gridDim.x * kThreads;
  const bool whole = job.copy != nullptr && launch.bound < job.found->copied_bound;
  bool any = false;
  for (std::uint32_t row = blockIdx.y; row < job.view.rows; row += gridDim.y) {
    const RowSpan span = row_span(job.view, row);
    const LiveColumns live = live_columns(span, launch, row);
    const GuardedItems items = guarded_items(span, live, whole, kCells);
    auto* copy = static_cast<Cell*>(job.copy);
    if (copy != nullptr) copy += copied_row(job.view, span, row);
    for (std::uint32_t first = items.begin + blockIdx.x * kThreads + threadIdx.x; first < items.end;
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
  finish(job, launch, any);
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
    const dim3 blocks = blocks_for(job_.view, kThreads, processors_);
    check_kernel<Cell, kCells><<<blocks, kThreads, 0, stream>>>(job_, launch);
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
