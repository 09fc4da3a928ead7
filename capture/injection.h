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

// Sets the environment of this process, which is about to become the command. What the command's
// environment has already goes first: another injected library stays, and is said; folders of
// PYTHONPATH come behind.
void inject(const Injection& injection);

}  // namespace pagetape
