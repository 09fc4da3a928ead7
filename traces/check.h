// SPDX-License-Identifier: Apache-2.0
// CHECK: our own bug. On in release; prints where, and what the caller knows, then aborts.
#pragma once

#include <cstdio>
#include <cstdlib>

#define PAGETAPE_CHECK(condition, ...)                                                           \
  do {                                                                                           \
    if (!(condition)) [[unlikely]] {                                                             \
      std::fprintf(stderr, "%s:%d: a defect of pagetape: " #condition ". ", __FILE__, __LINE__); \
      std::fprintf(stderr, "" __VA_ARGS__);                                                      \
      std::fputc('\n', stderr);                                                                  \
      std::abort();                                                                              \
    }                                                                                            \
  } while (0)
