// SPDX-License-Identifier: Apache-2.0
// A ring as a file in shared memory, which outlives the processes that use it. Made 0600 under a
// name that nobody can guess, within a folder of the collector's that no other user can enter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "capture/ring.h"
#include "traces/status.h"

namespace pagetape {

// The environment by which `pagetape record` reaches the recorders of the processes below it.
inline constexpr char kRingFolderVariable[] = "PAGETAPE_RING_DIR";  // "": there is no room for one.
inline constexpr char kRingSizeVariable[] = "PAGETAPE_RING_SIZE";
inline constexpr char kTraceFolderVariable[] = "PAGETAPE_TRACE_DIR";

inline constexpr char kRingSuffix[] = ".ring";

// 32 hexadecimal digits that nobody can guess.
std::string random_name();

// FOLDER/HOST-PID[-rankR][-N].ptape: the trace of a process, under a name that none has yet.
std::string free_trace(const std::string& folder, std::uint32_t pid, std::int32_t rank);

class RingFile {
 public:
  // A ring of a process that writes, announced by its name: it has that once it is whole. Where
  // there is not enough room for `data_bytes`, half is tried, down to 1 MiB.
  static std::unique_ptr<RingFile> create(const std::string& folder, std::size_t data_bytes,
                                          std::int32_t rank, Status& status);
  // One of another process, to read. Refuses what is not a plain file of this user's alone, what
  // another process already reads, and a header that makes no sense.
  static std::unique_ptr<RingFile> open(const std::string& path, Status& status);
  // The same, but what is done to its memory stays in this process.
  static std::unique_ptr<RingFile> open_copy(const std::string& path, Status& status);
  ~RingFile();
  RingFile(const RingFile&) = delete;
  RingFile& operator=(const RingFile&) = delete;

  void* memory() const { return memory_; }
  const RingHeader& header() const { return *static_cast<const RingHeader*>(memory_); }
  const std::string& path() const { return path_; }

  // Whether the process that writes still has it open. Asked of the kernel, which releases a
  // process's locks when it ends in whatever way. Never true of this process's own.
  bool written() const;
  // Whether the thread of a claimed record is there; true where that cannot be told.
  bool thread_lives(std::uint32_t thread) const;

 private:
  RingFile(std::string path, int fd, void* memory, std::size_t bytes)
      : path_(std::move(path)), fd_(fd), memory_(memory), bytes_(bytes) {}
  static std::unique_ptr<RingFile> open_as(const std::string& path, int sharing, Status& status);

  std::string path_;
  int fd_;
  void* memory_;
  std::size_t bytes_;
};

}  // namespace pagetape
