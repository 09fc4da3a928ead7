// SPDX-License-Identifier: Apache-2.0
// The arithmetic of a replay, written once: every executor computes just this, in this order, so
// that a CPU and a GPU agree to the bit. Compiled by C++ and by CUDA, both told not to contract:
// a fused multiply-add is where fma() stands and nowhere else.
//
// Attention of one query row (a query token of one query head) over its live positions:
//   - Positions are cut into leaves of kLeafTokens, leaves into blocks of block_tokens(D), both
//     counted from position 0 of the sequence. Of a leaf are left m, the greatest score; l, the
//     sum of the weights 2^(score - m); acc, the sum of the values by weight. Blocks follow one
//     another: a block with a greater score scales what was summed before. l is summed apart for
//     each place in a block, acc for each place modulo dot_tokens(D), and then in halves: the
//     first with the middle one, and so on.
//   - The score of a position is q·k: kDotLanes(D) chains of fused multiply-adds, whose sums are
//     added in a binary tree. Lane x has the dimensions c*256 + x*8 + i (c, then i ascending).
//   - Leaves are merged in the binary tree of their numbers: node j of height h covers the leaves
//     j*2^h to (j+1)*2^h - 1. So neither grid, threads nor page size change a result.
// FP32 throughout: tensor cores sum in an order of their own, which no CPU can follow.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define PAGETAPE_HD __host__ __device__ inline
#else
#define PAGETAPE_HD inline
#endif

namespace pagetape {

// Heads of another dimension than 64, 128, 256 and 512 are done as the next greater of these, with
// zeros behind; a multiple of 8 they must be.
inline constexpr int kMostHeadDim = 512;
PAGETAPE_HD int padded_dim(int head_dim) {
  return head_dim <= 64 ? 64 : head_dim <= 128 ? 128 : head_dim <= 256 ? 256 : 512;
}

inline constexpr int kLeafTokens = 256;
constexpr int block_tokens(int head_dim) { return head_dim >= 256 ? 8 : 16; }

// Lanes that share a score, and positions whose scores 32 lanes have at once.
constexpr int dot_lanes(int head_dim) { return head_dim >= 256 ? 32 : head_dim / 8; }
constexpr int dot_tokens(int head_dim) { return 32 / dot_lanes(head_dim); }

PAGETAPE_HD std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
PAGETAPE_HD float float_of(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// 2^x for x <= 0, exact at 0; 0 below -120, where a term no longer counts, and where x is no
// number. Relative error < 2e-7. The sum with 1.5 * 2^23 rounds to an integer and leaves that
// integer in the low bits.
inline constexpr float kRound = 12582912.0f;
inline constexpr float kExpLeast = -120.0f;
// Coefficients of f^1 to f^6. leaf_cpu.h has the same series over vectors.
inline constexpr float kExp1 = 6.931472028550421e-1f, kExp2 = 2.402264791363012e-1f,
                       kExp3 = 5.550332471162809e-2f, kExp4 = 9.618437357674640e-3f,
                       kExp5 = 1.339887440266574e-3f, kExp6 = 1.535336188319500e-4f;
PAGETAPE_HD float exp2_of(float x) {
  const float t = x + kRound;
  const float f = x - (t - kRound);
  float p = kExp6;
  p = fmaf(p, f, kExp5);
  p = fmaf(p, f, kExp4);
  p = fmaf(p, f, kExp3);
  p = fmaf(p, f, kExp2);
  p = fmaf(p, f, kExp1);
  p = fmaf(p, f, 1.0f);
  const float power = p * float_of((bits_of(t) << 23) + 0x3f800000u);
  return x >= kExpLeast ? power : 0.0f;  // Last: a branch would cost a GPU more than the rest.
}

inline constexpr float kLog2E = 1.44269504f;

PAGETAPE_HD float tanh_of(float x) {
  const float u = exp2_of(-2.0f * kLog2E * fabsf(x));
  return copysignf((1.0f - u) / (1.0f + u), x);
}

// A score as it goes into the softmax, in units of log 2: the query was multiplied by
// Logits::q_scale before. `cap` 0: no soft cap.
struct Logits {
  float q_scale = 1.0f;
  float cap = 0.0f;  // The cap times log2(e).

  PAGETAPE_HD float of(float dot) const { return cap == 0.0f ? dot : cap * tanh_of(dot); }
};

inline Logits logits_of(double scale, double soft_cap) {
  constexpr double kLog2E64 = 1.4426950408889634;
  if (soft_cap == 0.0) return {static_cast<float>(scale * kLog2E64), 0.0f};
  return {static_cast<float>(scale / soft_cap), static_cast<float>(soft_cap * kLog2E64)};
}

// What two neighbours of the tree are scaled by when they are merged: m is the greater maximum
// (-inf: nothing was live), and a sum becomes fma(right, b, left * a).
struct Merge {
  float m, a, b;
};
PAGETAPE_HD Merge merge_of(float left, float right) {
  const float m = fmaxf(left, right);
  return {m, exp2_of(left - m), exp2_of(right - m)};  // Two -inf have no difference: 0.
}
PAGETAPE_HD float merged(const Merge& by, float left, float right) {
  return fmaf(right, by.b, left * by.a);
}

// The end of a row: the sink takes its share of the weights, and sums become a mean. Adding 0
// turns -0, which an executor that skips dead blocks may not have, into 0.
struct Mean {
  float scale, weight;  // Of the accumulator, and what it is divided by (0: the row is 0).
};
PAGETAPE_HD Mean mean_of(float m, float l, bool has_sink, float sink) {
  if (!has_sink) return {1.0f, l};
  const Merge by = merge_of(m, sink);
  return {by.a, fmaf(1.0f, by.b, l * by.a)};
}
PAGETAPE_HD float output_of(const Mean& mean, float acc) {
  return mean.weight == 0.0f ? 0.0f : acc * mean.scale / mean.weight + 0.0f;
}

// ---- contents: functions of (seed, layer, request, position, head, dimension) ----

PAGETAPE_HD std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}
inline constexpr std::uint64_t kStep64 = 0x9e3779b97f4a7c15u;
PAGETAPE_HD std::uint64_t mix(std::uint64_t key, std::uint64_t x) { return mix(key + x * kStep64); }

enum class Part : std::uint8_t { kKey, kValue, kQuery, kSink };

// The numbers of a layer's part; of a request in it; of one vector.
PAGETAPE_HD std::uint64_t part_key(std::uint64_t seed, std::uint64_t layer, Part part) {
  return mix(mix(seed, layer), static_cast<std::uint64_t>(part));
}
PAGETAPE_HD std::uint64_t vector_key(std::uint64_t part, std::uint64_t request,
                                     std::uint64_t position, std::uint32_t head) {
  return mix(mix(mix(part, request), position), head);
}

// Eight numbers, a byte each: dimensions 8 * chunk to 8 * chunk + 7, the first in the low byte.
PAGETAPE_HD std::uint64_t contents_of(std::uint64_t vector, std::uint32_t chunk) {
  return mix(vector, chunk);
}
// A byte is a sign, two bits of exponent and three of fraction: ±1/16 to ±15/16, which bf16, fp16
// and fp8 e4m3 all hold exactly. So the type of a pool does not change a result.
PAGETAPE_HD std::uint32_t sign_of(std::uint32_t byte) { return byte >> 7 & 1; }
PAGETAPE_HD std::uint32_t exponent_of(std::uint32_t byte) { return byte >> 4 & 3; }
PAGETAPE_HD std::uint32_t fraction_of(std::uint32_t byte) { return byte & 7; }
PAGETAPE_HD std::uint16_t as_bf16(std::uint32_t byte) {
  return static_cast<std::uint16_t>(sign_of(byte) << 15 | (126 - exponent_of(byte)) << 7 |
                                    fraction_of(byte) << 4);
}
PAGETAPE_HD std::uint16_t as_fp16(std::uint32_t byte) {
  return static_cast<std::uint16_t>(sign_of(byte) << 15 | (14 - exponent_of(byte)) << 10 |
                                    fraction_of(byte) << 7);
}
PAGETAPE_HD std::uint8_t as_e4m3(std::uint32_t byte) {
  return static_cast<std::uint8_t>(sign_of(byte) << 7 | (6 - exponent_of(byte)) << 3 |
                                   fraction_of(byte));
}
PAGETAPE_HD float as_float(std::uint32_t byte) {
  return float_of(sign_of(byte) << 31 | (126 - exponent_of(byte)) << 23 | fraction_of(byte) << 20);
}

// Queries are eight times as large, so that a softmax has something to choose.
PAGETAPE_HD float query_of(std::uint32_t byte, const Logits& logits) {
  return 8.0f * as_float(byte) * logits.q_scale;
}
// The logit of a head's sink, in units of log 2: -1 to 1.
PAGETAPE_HD float sink_of(std::uint64_t part, std::uint32_t head) {
  return as_float(static_cast<std::uint32_t>(mix(part, head) & 0xff));
}

// ---- digests: a sum over the elements, in any order ----

PAGETAPE_HD std::uint64_t row_digest_key(std::uint64_t launch, std::uint32_t lane,
                                         std::uint32_t query, std::uint32_t head) {
  return mix(mix(mix(launch, lane), query), head);
}
PAGETAPE_HD std::uint64_t element_digest(std::uint64_t row, std::uint32_t dim, float value) {
  return mix(row, static_cast<std::uint64_t>(dim) << 32 | bits_of(value));
}

}  // namespace pagetape
