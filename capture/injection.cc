// SPDX-License-Identifier: Apache-2.0
#include "capture/injection.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <system_error>

namespace pagetape {
namespace {

namespace fs = std::filesystem;

// What was asked for, else the first of `places` beside this program that is there; absolute. ""
// where it is to be none, or none is there.
std::string find(const std::string& asked, std::initializer_list<const char*> places) {
  std::error_code error;
  if (asked == kNotInjected) return "";
  if (!asked.empty()) return fs::absolute(asked, error).string();
  const fs::path here = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const char* place : places) {
    if (fs::exists(here / place, error)) return (here / place).string();
  }
  return "";
}

void inject_cupti(const std::string& library) {
  if (library.empty()) return;
  if (const char* other = std::getenv(kCudaVariable); other != nullptr && *other != 0) {
    std::fprintf(stderr, "pagetape: %s is %s already: CUDA's calls are not recorded\n",
                 kCudaVariable, other);
    return;
  }
  setenv(kCudaVariable, library.c_str(), 1);
}

void inject_python(const std::string& folder) {
  if (folder.empty()) return;
  const char* before = std::getenv("PYTHONPATH");
  const std::string rest = before != nullptr && *before != 0 ? ':' + std::string(before) : "";
  setenv("PYTHONPATH", (folder + "/startup" + rest).c_str(), 1);
}

}  // namespace

Injected found(const Injection& injection) {
  Injected out;
  out.cupti = find(injection.cupti, {"libpagetape_cupti.so", "capture/libpagetape_cupti.so"});
  // One recorder a process: the hooks of Python are to take the library that CUPTI's takes.
  const std::string beside =
      out.cupti.empty() ? ""
                        : fs::path(out.cupti).replace_filename("libpagetape_capture.so").string();
  out.capture = find(fs::exists(beside) ? beside : "",
                     {"libpagetape_capture.so", "capture/libpagetape_capture.so"});
  out.python = find(injection.python, {"python"});
  return out;
}

void inject(const Injection& injection) {
  setenv("PAGETAPE_OUT", (injection.out + "/engine.ptape").c_str(), 0);
  const Injected there = found(injection);
  if (!there.capture.empty()) setenv("PAGETAPE_LIBRARY", there.capture.c_str(), 0);
  if (!injection.guard.empty()) setenv("PAGETAPE_GUARD", injection.guard.c_str(), 1);
  inject_cupti(there.cupti);
  inject_python(there.python);
}

}  // namespace pagetape
