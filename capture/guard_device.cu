// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "capture/device_memory.cuh"
#include "capture/guard.h"

namespace pagetape {
namespace {

constexpr std::uint32_t kThreads = 256, kItemsAtOnce = 4;

struct CheckJob {
  TableView view;
  GuardState* state;
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

template <class Cell, std::uint32_t kCells>
__global__ void __launch_bounds__(kThreads)
    check_kernel(const CheckJob job, const GuardedLaunch launch) {
  begin_next();
  const std::uint32_t stride = gridDim.x * kThreads;
  for (std::uint32_t row = blockIdx.y; row < job.view.rows; row += gridDim.y) {
    const RowSpan span = row_span(job.view, row);
    const LiveColumns live = live_columns(span, launch, row);
    const std::uint32_t items = (live.end + kCells - 1) / kCells;
    auto* copy = static_cast<Cell*>(job.copy);
    if (copy != nullptr) copy += copied_row(job.view, span, row);
    for (std::uint32_t first = blockIdx.x * kThreads + threadIdx.x; first < items;
         first += kItemsAtOnce * stride) {
      GuardItem<Cell, kCells> item[kItemsAtOnce];
#pragma unroll
      for (std::uint32_t j = 0; j < kItemsAtOnce; ++j) {
        if (first + j * stride < items) item[j].load(job.view, span, first + j * stride);
      }
#pragma unroll
      for (std::uint32_t j = 0; j < kItemsAtOnce; ++j) {
        const std::uint32_t i = first + j * stride;
        if (i >= items) continue;
        const std::uint32_t bad = item[j].settle(launch, live, i, copy);
        if (bad == 0) continue;
        atomicMin(&job.state->first, row * job.view.cols + i * kCells + __ffs(bad) - 1);
        atomicAdd(reinterpret_cast<unsigned long long*>(&job.state->bad), __popc(bad));
      }
    }
  }
}

// Behind the check, one thread.
__global__ void report_kernel(const CheckJob job, const GuardedLaunch launch) {
  wait_for_last();
  const GuardState state = *job.state;
  if (state.bad == 0) return;
  *job.state = {};
  auto* reported = reinterpret_cast<unsigned long long*>(job.reported);
  const std::uint64_t number = atomicAdd(reported, 1ull) + 1;
  GuardReport* to = job.reports + number % kReportsHeld;
  *to = make_report(job.view, launch, state, 0);
  __threadfence_system();
  *const_cast<volatile std::uint64_t*>(&to->number) = number;
}

class CudaTable final : public GuardedTable {
 public:
  Status prepare(const TableView& view, bool copies, std::int64_t reserved, std::uint64_t* reported,
                 GuardReport* reports) {
    job_.view = view;
    job_.reported = reported;
    job_.reports = reports;
    Status status;
    blocks_ = blocks_for(view, kThreads, status);
    if (!status.ok()) return status;
    const std::int64_t cells = copies ? copied_cells(view) : 0;
    constexpr std::size_t kCopy = 128;  // Behind the state.
    status = own_.take(kCopy + static_cast<std::size_t>(cells) * view.cell_bytes);
    if (!status.ok()) return status;
    job_.state = reinterpret_cast<GuardState*>(own_.get());
    const GuardState state;
    const auto error = cudaMemcpy(job_.state, &state, sizeof(state), cudaMemcpyHostToDevice);
    if (status = check_cuda(error, "cudaMemcpy"); !status.ok()) return status;
    if (!copies) return {};
    job_.copy = own_.get() + kCopy;
    fill_kernel<<<264, kThreads>>>(job_.copy, view.cell_bytes, cells, reserved);
    return check_cuda(cudaDeviceSynchronize(), "preparing a guarded table");
  }

  Status check(const GuardedLaunch& launch, void* on) override {
    auto* stream = static_cast<cudaStream_t>(on);
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
    check_kernel<Cell, kCells><<<blocks_, kThreads, 0, stream>>>(job_, launch);
    if (Status status = check_cuda(cudaGetLastError(), "guarding a launch"); !status.ok()) {
      return status;
    }
    return launch_behind(report_kernel, stream, job_, launch);
  }

  DeviceMemory own_;
  CheckJob job_{};
  dim3 blocks_;
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
