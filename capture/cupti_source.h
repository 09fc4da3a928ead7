// SPDX-License-Identifier: Apache-2.0
// What is recorded of CUDA's calls, beside the hooks of the engine that makes them. Knows neither
// CUDA's headers nor CUPTI's: capture/cupti/cupti_inject.cc brings the calls here.
//
// Of the trace model's events it records
//   kernel        each launch of a kernel that runs, before it runs; one that is captured does not
//   graph_capture, graph_launch   where no hooks record; where they do, graphs are theirs, as just
//                 they know what a graph reads, and a `note` says what CUDA was given
//   stream_wait   what orders streams: a recorded CUDA event is a stream that waits for the one it
//                 was recorded on, so who waits for it waits for what was there by then
//   refresh       a copy onto a buffer's table that was opened with ptape_table_open
//   cuda_error    what a call returned
// The model has no event for the begin and the end of a capture; these are just followed.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "capture/handle_map.h"
#include "capture/pagetape_capture.h"

namespace pagetape {

// The recorder's C interface: the copy of the library that the process's hooks use.
struct CaptureApi {
  decltype(&ptape_abi_version) abi_version;
  decltype(&ptape_open) open;
  decltype(&ptape_close) close;
  decltype(&ptape_last_error) last_error;
  decltype(&ptape_borrow) borrow;
  decltype(&ptape_give_back) give_back;
  decltype(&ptape_intern) intern;
  decltype(&ptape_json) json;
  decltype(&ptape_kernel) kernel;
  decltype(&ptape_graph_launch) graph_launch;
  decltype(&ptape_stream) stream;
  decltype(&ptape_stream_wait) stream_wait;
  decltype(&ptape_copied) copied;
};

// What is asked of the driver, as CUDA's functions of these names have it. Each may be null.
struct DriverApi {
  int (*cuStreamIsCapturing)(const void* stream, int* status);
  int (*cuGetErrorName)(int code, const char** name);
  int (*cuGetErrorString)(int code, const char** text);
};

struct KernelCall {
  const char* name;  // As the driver has it, mangled; null: not known.
  std::uint32_t grid[3], block[3];
  const void* stream;
  std::int64_t correlation;  // CUPTI's number of the call.
};

// Every function may be called from any thread, inside a call of CUDA's; none throws, takes memory
// of the heap but when it first meets a name, or waits for the GPU.
class CuptiSource {
 public:
  // `opens`: a process in which nobody else records gets a recorder at its first event.
  CuptiSource(const CaptureApi& capture, const DriverApi& driver, bool opens)
      : capture_(capture), driver_(driver), may_open_(opens) {}
  CuptiSource(const CuptiSource&) = delete;
  CuptiSource& operator=(const CuptiSource&) = delete;

  // Before the call.
  void kernel(const KernelCall& call) noexcept;
  void graph_launch(const void* executable, const void* stream) noexcept;

  // After the call, where it succeeded. A capture ends also where it was invalidated.
  void capture_began() noexcept { captures_.fetch_add(1); }
  void capture_ended() noexcept;
  // Instantiated, or updated to what another graph is.
  void graph_made(const void* executable, bool is_new) noexcept;
  void copied(std::uint64_t address, std::uint64_t bytes, const void* stream) noexcept;
  void event_recorded(const void* event, const void* stream) noexcept;
  void stream_waited(const void* stream, const void* event) noexcept;

  // What a call of that name returned. Nothing where that says no more than before.
  void returned(int code, const char* function) noexcept;

  // Closes the recorder that this source opened; it opens no other.
  void close() noexcept;

 private:
  class Borrowed;
  struct Graph {
    std::atomic<std::uint32_t> number{0};
    std::atomic<std::uint64_t> told{0};  // Recorder and number of the last graph_capture.
  };
  struct Event {
    std::atomic<std::uint64_t> at{0};  // The stream it was recorded on, and the one it stands for.
  };

  bool captured(const void* stream) const noexcept;
  ptape_recorder* open_own() noexcept;
  ptape_name name(const Borrowed& to, const char* text) noexcept;
  void tell_graph(const Borrowed& to, Graph& graph, std::int32_t stream) noexcept;

  const CaptureApi capture_;
  const DriverApi driver_;

  std::atomic<bool> may_open_;
  std::mutex opening_;
  std::atomic<ptape_recorder*> own_{nullptr};

  std::atomic<int> captures_{0};  // At least as many as go on.
  std::atomic<std::uint32_t> graphs_{0}, snapshots_{0};
  std::atomic<int> lost_{0};  // The error that ended the context.
  std::atomic<bool> said_full_{false};
  // By what their text hashes to: recorder and name.
  HandleMap<std::atomic<std::uint64_t>, 1 << 14> names_;
  HandleMap<Graph, 1 << 12> executables_;
  HandleMap<Event, 1 << 14> events_;
};

}  // namespace pagetape
