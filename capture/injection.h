// SPDX-License-Identifier: Apache-2.0
// How a command comes to be recorded with nothing in it changed: its environment names what its
// processes load by themselves, CUDA's driver a library, Python a module at every start.
#pragma once

#include <string>

namespace pagetape {

inline constexpr char kNotInjected[] = "none";

struct Injection {
  // libpagetape_cupti.so, for CUDA_INJECTION64_PATH; "": where it lies beside this program or in
  // capture/ there, kNotInjected: not at all.
  std::string cupti;
  // The folder of Python's package, for PYTHONPATH; "": python/ beside this program, kNotInjected:
  // not at all. Interpreters that ignore PYTHONPATH (-I, -E) are not reached.
  std::string python;
  // log, raise or clamp, for the hooks of Python; "": no guard.
  std::string guard;
  // Absolute. Python records where PAGETAPE_OUT, a file in here, is set.
  std::string out;
};

// What lies where, absolute; "": not there, or not wanted.
struct Injected {
  std::string cupti, capture, python;
};
Injected found(const Injection& injection);

// Whom CUDA's driver loads into each process.
inline constexpr char kCudaVariable[] = "CUDA_INJECTION64_PATH";  // CUDA's.

// CUPTI, by where it may be: first the toolkit's, last the one that a message names.
inline constexpr const char* kCuptiLibraries[] = {
    "/usr/local/cuda/lib64/libcupti.so", "/usr/local/cuda/extras/CUPTI/lib64/libcupti.so",
    "libcupti.so", "libcupti.so.12", "libcupti.so.13"};

// Sets the environment of this process, which is about to become the command. What the command's
// environment has already goes first: another injected library stays, and is said; folders of
// PYTHONPATH come behind.
void inject(const Injection& injection);

}  // namespace pagetape
