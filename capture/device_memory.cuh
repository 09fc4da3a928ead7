// SPDX-License-Identifier: Apache-2.0
// CUDA calls checked in one place, and memory that is given back.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <string>

#include "capture/table_view.h"
#include "traces/status.h"

namespace pagetape {

inline Status check_cuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return {};
  return system_error(std::string(what) + ": " + cudaGetErrorString(error));
}

// Memory of the device, zeroed.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  ~DeviceMemory() { cudaFree(memory_); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  Status take(std::size_t bytes) {
    if (Status status = check_cuda(cudaMalloc(&memory_, bytes), "cudaMalloc"); !status.ok()) {
      return status;
    }
    return check_cuda(cudaMemset(memory_, 0, bytes), "cudaMemset");
  }
  char* get() const { return static_cast<char*>(memory_); }

 private:
  void* memory_ = nullptr;
};

// Puts a kernel behind what was put on the stream last. Where that is a kernel, too, this one is
// brought up while it ends, or still runs, once it says begin_next(): it waits for all of it in
// wait_for_last().
template <class... Parameters>
Status launch_behind(void (*kernel)(Parameters...), dim3 blocks, unsigned threads,
                     cudaStream_t stream, const Parameters&... parameters) {
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = dim3(threads);
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = 1;
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, parameters...);
  if (error != cudaSuccess) (void)cudaGetLastError();  // It is said here, and by no later call.
  return check_cuda(error, "cudaLaunchKernelEx");
}
__device__ inline void begin_next() { cudaTriggerProgrammaticLaunchCompletion(); }
__device__ inline void wait_for_last() { cudaGridDependencySynchronize(); }

// Multiprocessors of the calling thread's device. Zero: `status` says why.
inline unsigned processors_of_device(Status& status) {
  int device = 0, processors = 0;
  status = check_cuda(cudaGetDevice(&device), "no GPU");
  if (!status.ok()) return 0;
  status = check_cuda(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
                      "no GPU");
  return static_cast<unsigned>(processors);
}

// The blocks for rows of so many items, one a thread at a time: each takes every parts-th stretch
// of a row, and goes on rows further down. About 1,024 threads a multiprocessor in all.
inline dim3 blocks_for(std::uint32_t rows, std::uint32_t items, unsigned threads,
                       unsigned processors) {
  const unsigned most = std::max(1024 / threads * processors, 1u), at_once = std::min(rows, most);
  const unsigned parts = std::min((items + threads - 1) / threads, most / at_once);
  return {std::max(parts, 1u), at_once, 1};
}

}  // namespace pagetape
