// SPDX-License-Identifier: Apache-2.0
// Comparing a table in a GPU's memory with its shadow there: two small kernels a step.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "capture/table_memory.h"
#include "traces/status.h"

namespace pagetape {

// One thread at a time. Streams are CUDA's (cudaStream_t); the device is the calling thread's.
class DeviceCompare {
 public:
  // Takes memory of the device for the shadow and makes `memory` known to it: waits for the device.
  // Where there is no GPU, or no CUDA in this build, null and the reason.
  static std::unique_ptr<DeviceCompare> create(const TableView& view, TableMemory& memory,
                                               Status& status);
  virtual ~DeviceCompare() = default;

  // Puts the compare on the stream, of what the table is in `view`, which numbers cells as that one
  // does which it was made for: allocates nothing, waits for nothing, may be captured. Sets
  // `captured` where it was: then it runs at each launch of the graph, which must not outlive this.
  // With `resend` it writes every cell, unless it is captured.
  virtual Status compare(const TableView& view, void* stream, bool resend, bool& captured) = 0;

  struct Part {
    DeviceCompare* table;
    TableView view;
    bool resend;
  };
  // The same of several tables of one device: two kernels for all of them, up to kTablesAtOnce.
  static Status compare_all(std::span<const Part> parts, void* stream, bool& captured);
};
inline constexpr std::size_t kTablesAtOnce = 8;

}  // namespace pagetape
