// SPDX-License-Identifier: Apache-2.0
// What executes launches: memory, and the kernels over it. Both machines compute to the same bit.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "replay/attention.h"
#include "replay/leaf.h"
#include "traces/status.h"

namespace pagetape {

// Work is done in the order of the calls, perhaps later: what was downloaded is there after
// finish(), what is uploaded may change when upload() returns. Pointers within arguments are into
// the machine's memory. Not thread-safe. Failures come with finish(), and what was asked for after
// a failure is not done.
class Machine {
 public:
  virtual ~Machine() = default;
  virtual std::string_view name() const = 0;
  // Bytes of K and V to have there at a time, where nobody says otherwise: what is free, less a
  // part for the launches' own.
  virtual std::size_t room() const = 0;

  // Zeros. Null where there is not so much memory.
  virtual void* allocate(std::size_t bytes) = 0;
  // The same, of which the caller can read what was written before a kernel stopped (kTrap).
  virtual void* allocate_visible(std::size_t bytes) = 0;
  virtual void release(void* memory) = 0;
  virtual void upload(void* to, const void* from, std::size_t bytes) = 0;
  virtual void download(void* to, const void* from, std::size_t bytes) = 0;
  virtual void clear(void* memory, std::size_t bytes) = 0;

  virtual void store(const StoreArgs& args) = 0;
  virtual void copy(const CopyArgs& args) = 0;
  // Rows of a tile as suits the lanes of an attention, for plan_of(): changes no result.
  virtual std::int32_t tile_rows(const AttentionArgs& args,
                                 const std::vector<AttentionLane>& lanes) const = 0;
  virtual void attend(const AttentionArgs& args) = 0;

  virtual Status finish() = 0;
};

// Whether there is a kernel for this head dimension and these sizes of pages.
bool executes(std::int64_t head_dim, std::int64_t page_size);

// `threads` 0: as many as the machine has. `isa` must be one that it runs.
std::unique_ptr<Machine> make_cpu_machine(unsigned threads = 0, Isa isa = widest_isa());

// A GPU, by its number; null with a status that says why where there is none that can be used: no
// driver, one too old, no code for the GPU.
std::unique_ptr<Machine> make_cuda_machine(int device, Status& status);

// The GPUs that the driver shows, a line each; empty where there is no driver.
struct GpuInfo {
  std::string name;
  int major = 0, minor = 0;
  std::size_t memory = 0;  // Bytes.
  int code = 0;  // What the driver picked of the binary: 90 or 100 for machine code of sm_90 and
                 // so on; 0: none fits.
};
std::vector<GpuInfo> gpus(Status& status);

// The work of an attention whose geometry, layers and tile_rows stand in `args`: its tiles, cut
// into chunks of at least four leaves. Sets args.chunk_shift, partial_count and tile_count. `lanes`
// are in the caller's memory. kAnyChunk: cut as suits the work; no cut changes a result.
inline constexpr int kAnyChunk = -1;
std::vector<AttentionItem> plan_of(AttentionArgs& args, const std::vector<AttentionLane>& lanes,
                                   int chunk_shift = kAnyChunk);

}  // namespace pagetape
