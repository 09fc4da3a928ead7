// SPDX-License-Identifier: Apache-2.0
// Attention of one leaf on one core, by instruction set: fused multiply-adds a second, beside a
// loop in registers that does nothing else, and bytes of K and V a second.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "replay/arithmetic.h"
#include "replay/leaf.h"

namespace pagetape {
namespace {

// What the core's arithmetic allows: enough independent chains to keep it busy.
template <int kWidth>
[[gnu::always_inline]] inline float chains(std::int64_t rounds) {
  constexpr int kChains = 10;
  float sums[kChains][kWidth] = {};
  for (std::int64_t i = 0; i < rounds; ++i) {
    for (auto& sum : sums) {
      for (float& s : sum) s = __builtin_fmaf(s, 0.999f, 0.5f);
    }
  }
  float all = 0;
  for (const auto& sum : sums) {
    for (float s : sum) all += s;
  }
  return all;
}
[[gnu::target("avx2,fma"), gnu::optimize("O3")]] float chains_avx2(std::int64_t rounds) {
  return chains<8>(rounds);
}
[[gnu::target("avx512f,fma"), gnu::optimize("O3")]] float chains_avx512(std::int64_t rounds) {
  return chains<16>(rounds);
}

void peak(benchmark::State& state, Isa isa) {
  constexpr std::int64_t kRounds = 4096;
  for (auto _ : state) {
    benchmark::DoNotOptimize(isa == Isa::kAvx512 ? chains_avx512(kRounds) : chains_avx2(kRounds));
  }
  const double each = kRounds * 10 * (isa == Isa::kAvx512 ? 16 : 8);
  state.counters["FMA/s"] = benchmark::Counter(each * static_cast<double>(state.iterations()),
                                               benchmark::Counter::kIsRate);
}

// Four rows, as of four query heads that share a K/V head, over positions that follow each other.
void leaf(benchmark::State& state, Isa isa) {
  const auto dim = static_cast<int>(state.range(0));
  const LeafFunction function = leaf_function(isa, Dtype::kBf16, dim);
  if (function == nullptr) return state.SkipWithError("not of this machine");
  const auto d = static_cast<std::size_t>(dim);
  std::vector<std::uint16_t> k(kLeafTokens * d), v(k.size());
  std::vector<float> q(kTileRows * d, 0.25f), acc(kTileRows * d);
  for (std::size_t i = 0; i < k.size(); ++i) {
    k[i] = as_bf16(static_cast<std::uint32_t>(mix(i) & 0xff));
    v[i] = as_bf16(static_cast<std::uint32_t>(mix(i) >> 8 & 0xff));
  }
  LeafIn in;
  in.rows = kTileRows;
  in.q = q.data();
  in.logits = logits_of(1.0 / std::sqrt(dim), 0.0);
  in.first_block = 0;
  in.last_block = kLeafTokens / block_tokens(dim);
  for (int r = 0; r < kTileRows; ++r) in.begin[r] = 0, in.end[r] = kLeafTokens;
  for (std::size_t t = 0; t < kLeafTokens; ++t) in.k[t] = &k[t * d], in.v[t] = &v[t * d];
  LeafOut out{.m = {}, .l = {}, .acc = acc.data()};
  for (auto _ : state) {
    function(in, out);
    benchmark::ClobberMemory();
  }
  const double each = 2.0 * kTileRows * kLeafTokens * dim;
  state.counters["FMA/s"] = benchmark::Counter(each * static_cast<double>(state.iterations()),
                                               benchmark::Counter::kIsRate);
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * 4 * k.size()));
}

BENCHMARK_CAPTURE(peak, avx2, Isa::kAvx2);
BENCHMARK_CAPTURE(leaf, scalar, Isa::kScalar)->Arg(128)->Arg(256)->Arg(512);
BENCHMARK_CAPTURE(leaf, avx2, Isa::kAvx2)->Arg(64)->Arg(128)->Arg(256)->Arg(512);
// Where there is none, chains_avx512 is not called.
const int kWide = [] {
  if (widest_isa() != Isa::kAvx512) return 0;
  benchmark::RegisterBenchmark("peak/avx512", [](auto& state) { peak(state, Isa::kAvx512); });
  for (int dim : {64, 128, 256, 512}) {
    benchmark::RegisterBenchmark("leaf/avx512", [](auto& state) {
      leaf(state, Isa::kAvx512);
    })->Arg(dim);
  }
  return 1;
}();

}  // namespace
}  // namespace pagetape
