// SPDX-License-Identifier: Apache-2.0
// Tests of kernels: a stream, graphs, tables in the device's memory. Skipped where there is no GPU.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "tests/capture/table_fixture.h"

namespace pagetape {

inline void must(cudaError_t error) { ASSERT_EQ(error, cudaSuccess) << cudaGetErrorString(error); }

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

class OnAGpu : public testing::Test {
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

}  // namespace pagetape
