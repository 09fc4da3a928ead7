// SPDX-License-Identifier: Apache-2.0
// CUDA calls checked in one place, and memory that is given back.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <string>

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

// How many blocks of `threads` for so many items: up to 1,024 threads a multiprocessor. 0: `status`
// says why.
inline unsigned blocks_for(std::uint64_t items, unsigned threads, Status& status) {
  int device = 0, processors = 0;
  status = check_cuda(cudaGetDevice(&device), "no GPU");
  if (!status.ok()) return 0;
  status = check_cuda(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
                      "no GPU");
  const std::uint64_t groups = (items + threads - 1) / threads;
  const std::uint64_t most = 1024 / threads * static_cast<unsigned>(processors);
  return static_cast<unsigned>(groups < most ? groups : most);
}

}  // namespace pagetape
