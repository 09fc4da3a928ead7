// SPDX-License-Identifier: Apache-2.0
#include "replay/leaf.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstring>

namespace pagetape {
namespace {

// What a row has gathered in a leaf.
template <int D>
struct LeafRow {
  float m;
  alignas(64) float weights[block_tokens(D)];
  alignas(64) float acc[dot_tokens(D)][D];

  void clear() {
    m = -INFINITY;
    for (float& w : weights) w = 0.0f;
    for (auto& part : acc) {
      for (float& x : part) x = 0.0f;
    }
  }
};

#define PAGETAPE_PAIRS 1
namespace scalar {
#include "replay/leaf_wide.h"
//
#include "replay/leaf_cpu.h"
}  // namespace scalar

#if defined(__x86_64__)
#define PAGETAPE_WIDE_AVX2
#pragma GCC push_options
#pragma GCC optimize("O3")
#pragma GCC target("avx2,fma")
namespace avx2 {
#include "replay/leaf_wide.h"
//
#include "replay/leaf_cpu.h"
}  // namespace avx2
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC optimize("O3")
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma")
#undef PAGETAPE_PAIRS
#define PAGETAPE_PAIRS 2  // There are 32 registers.
namespace avx512 {
#include "replay/leaf_wide.h"
//
#include "replay/leaf_cpu.h"
}  // namespace avx512
#pragma GCC pop_options
#endif

}  // namespace

Isa widest_isa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return Isa::kAvx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::kAvx2;
#endif
  return Isa::kScalar;
}

LeafFunction leaf_function(Isa isa, Dtype type, int head_dim) {
  if (isa > widest_isa()) return nullptr;
  switch (isa) {
    case Isa::kScalar:
      return scalar::leaf_for(type, head_dim);
#if defined(__x86_64__)
    case Isa::kAvx2:
      return avx2::leaf_for(type, head_dim);
    case Isa::kAvx512:
      return avx512::leaf_for(type, head_dim);
#else
    default:
      break;
#endif
  }
  return nullptr;
}

}  // namespace pagetape
