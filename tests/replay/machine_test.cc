// SPDX-License-Identifier: Apache-2.0
#include "replay/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <tuple>

#include "tests/replay/attention_problem.h"

namespace pagetape {
namespace {

using ::testing::ElementsAre;

// What attention is, in double precision, with no care for order.
std::vector<double> reference(const AttentionProblem& p, std::uint64_t layer) {
  const Given given(p);
  const std::uint64_t keys = part_key(p.seed, layer, Part::kKey);
  const std::uint64_t values = part_key(p.seed, layer, Part::kValue);
  const std::uint64_t queries = part_key(p.seed, layer, Part::kQuery);
  const std::uint64_t sinks = part_key(p.seed, layer, Part::kSink);
  const double log2e = 1.4426950408889634;
  std::vector<double> out;
  const auto numbers = [&](std::uint64_t vector) {
    std::vector<double> all;
    for (int c = 0; c < p.head_dim / 8; ++c) {
      const std::uint64_t bytes = contents_of(vector, static_cast<std::uint32_t>(c));
      for (int i = 0; i < 8; ++i) all.push_back(as_float(bytes >> 8 * i & 0xff));
    }
    return all;
  };
  for (const AttentionLane& lane : given.lanes) {
    // K and V of the lane's positions, by head.
    std::vector<std::vector<double>> k, v;
    for (int h = 0; h < p.kv_heads; ++h) {
      for (int t = 0; t < lane.len; ++t) {
        const auto at = static_cast<std::uint32_t>(t);
        const auto head = static_cast<std::uint32_t>(h);
        k.push_back(numbers(vector_key(keys, lane.request, at, head)));
        v.push_back(numbers(vector_key(values, lane.request, at, head)));
      }
    }
    for (int i = 0; i < p.q_len; ++i) {
      for (int h = 0; h < p.kv_heads * p.ratio; ++h) {
        const std::size_t first =
            static_cast<std::size_t>(h / p.ratio) * static_cast<std::size_t>(lane.len);
        const std::vector<double> q =
            numbers(vector_key(queries, lane.request, static_cast<std::uint32_t>(lane.q_pos + i),
                               static_cast<std::uint32_t>(h)));
        const int begin = lane.live_begin(i, p.window), end = lane.live_end(i);
        std::vector<double> scores, sums(q.size(), 0.0);
        for (int t = begin; t < end; ++t) {
          const std::vector<double>& key = k[first + static_cast<std::size_t>(t)];
          double s = std::inner_product(q.begin(), q.end(), key.begin(), 0.0);
          s *= 8.0 / std::sqrt(p.head_dim);
          if (p.cap != 0.0) s = p.cap * std::tanh(s / p.cap);
          scores.push_back(s * log2e);
        }
        const double most = *std::ranges::max_element(scores);
        const double sink = sink_of(sinks, static_cast<std::uint32_t>(h));
        double sum = p.sinks ? std::exp2(sink - most) : 0.0;
        for (int t = begin; t < end; ++t) {
          const double w = std::exp2(scores[static_cast<std::size_t>(t - begin)] - most);
          sum += w;
          const std::vector<double>& value = v[first + static_cast<std::size_t>(t)];
          for (std::size_t d = 0; d < sums.size(); ++d) sums[d] += w * value[d];
        }
        for (double x : sums) out.push_back(x / sum);
      }
    }
  }
  return out;
}

double relative_error(const std::vector<float>& out, const std::vector<double>& good) {
  double wrong = 0.0, all = 0.0;
  for (std::size_t i = 0; i < good.size(); ++i) {
    wrong += (out[i] - good[i]) * (out[i] - good[i]);
    all += good[i] * good[i];
  }
  return std::sqrt(wrong / all);
}

TEST(Machine, AgreesWithDoublePrecision) {
  const auto machine = make_cpu_machine();
  for (const AttentionProblem& p : problems()) {
    const Answer answer = solve(p, *machine);
    std::vector<double> good;
    for (std::uint64_t layer = 0; layer < kLayers; ++layer) {
      const std::vector<double> one = reference(p, layer);
      good.insert(good.end(), one.begin(), one.end());
    }
    ASSERT_EQ(answer.out.size(), good.size()) << p.text();
    EXPECT_LT(relative_error(answer.out, good), 2e-6) << p.text();
    EXPECT_TRUE(answer.findings.empty()) << p.text();
  }
}

TEST(Machine, GivesTheSameBitsWithAnyInstructionsThreadsAndChunks) {
  const auto scalar = make_cpu_machine(1, Isa::kScalar);
  for (AttentionProblem p : problems()) {
    if (p.q_len > 8) continue;  // Scalar fused multiply-adds are slow on old machines.
    p.longest = std::min(p.longest, 900);
    const Answer first = solve(p, *scalar);
    for (int isa = 0; isa <= static_cast<int>(widest_isa()); ++isa) {
      AttentionProblem other = p;
      other.chunk_shift = 2 + (p.chunk_shift + 1 + isa) % 4;
      const auto machine = make_cpu_machine(3, static_cast<Isa>(isa));
      const Answer again = solve(other, *machine);
      EXPECT_EQ(first.digest, again.digest) << p.text() << ", " << kIsaNames[isa];
      EXPECT_EQ(std::memcmp(first.out.data(), again.out.data(), first.out.size() * sizeof(float)),
                0)
          << p.text() << ", " << kIsaNames[isa];
    }
  }
}

TEST(Machine, TypePageSizeAndLayoutChangeNoBit) {
  const auto machine = make_cpu_machine();
  AttentionProblem p;
  p.longest = 1100;
  const Answer first = solve(p, *machine);
  for (int page_size : {1, 16, 32, 64, 128}) {
    for (Dtype type : {Dtype::kBf16, Dtype::kFp16, Dtype::kE4m3}) {
      AttentionProblem other = p;
      other.page_size = page_size;
      other.dtype = type;
      other.tokens_first = page_size == 32;
      EXPECT_EQ(solve(other, *machine).digest, first.digest) << other.text();
    }
  }
}

TEST(Machine, TellsOfAnIdOutsideTheBoundPoolOnceAndSkipsThePage) {
  const auto machine = make_cpu_machine();
  AttentionProblem p;
  p.q_len = 8;  // Rows in several tiles, and several heads: told once.
  p.longest = 700;
  const Given given(p);
  const auto bound = static_cast<std::int32_t>(given.args.bound);
  p.wrong = {{3, bound}, {5, -1}, {7, kNoEntry}};
  const Answer answer = solve(p, *machine);
  EXPECT_THAT(answer.findings, ElementsAre(DeviceFinding{0, 0, 3, bound, kAnybody},
                                           DeviceFinding{0, 0, 5, -1, kAnybody}));
  for (float x : answer.out) EXPECT_TRUE(std::isfinite(x));
  p.wrong.clear();
  EXPECT_NE(answer.digest, solve(p, *machine).digest);
}

TEST(Machine, TellsOfAnotherOwnersPageAndReadsSharedOnes) {
  const auto machine = make_cpu_machine();
  AttentionProblem p;
  const Given given(p);
  const std::int32_t foreign = given.entries[given.lanes[1].entries_begin + 2];
  p.wrong = {{4, foreign}};
  const Answer answer = solve(p, *machine);
  EXPECT_THAT(answer.findings, ElementsAre(DeviceFinding{0, 0, 4, foreign, 2}));
  const std::vector<std::uint32_t> sharers = {0, 2, 7, 9};
  EXPECT_TRUE(owns(sharers.data(), kSharedOwner | 1, 9));
  EXPECT_FALSE(owns(sharers.data(), kSharedOwner | 1, 8));
  EXPECT_TRUE(owns(sharers.data(), kAnybody, 8));
  EXPECT_FALSE(owns(sharers.data(), kNobody, 8));
  EXPECT_TRUE(owns(sharers.data(), 5, kNobody));
}

TEST(Machine, WhatLiesOutsideTheWindowIsNeitherReadNorTold) {
  const auto machine = make_cpu_machine();
  AttentionProblem p;
  p.window = 100;
  p.longest = 700;
  const std::uint64_t good = solve(p, *machine).digest;
  p.wrong = {{0, 1 << 20}, {37, -5}};  // Page 37 ends at position 607; live are 600 to 699.
  const Answer answer = solve(p, *machine);
  EXPECT_THAT(answer.findings, ElementsAre(DeviceFinding{0, 0, 37, -5, kAnybody}));
  p.wrong = {{0, 1 << 20}, {36, -5}};
  EXPECT_EQ(solve(p, *machine).digest, good);
}

TEST(Machine, ClampReadsTheNearestPageInstead) {
  const auto machine = make_cpu_machine();
  AttentionProblem p;
  p.on_oob = OnOob::kClamp;
  const auto bound = static_cast<std::int32_t>(Given(p).args.bound);
  p.wrong = {{3, bound + 5}};
  const Answer clamped = solve(p, *machine);
  ASSERT_EQ(clamped.findings.size(), 2u);  // Outside the pool, and then another's page.
  p.wrong = {{3, bound - 1}};
  EXPECT_EQ(solve(p, *machine).digest, clamped.digest);
}

TEST(Machine, CopiesTokensAsTheyAre) {
  const auto machine = make_cpu_machine();
  Memory memory(*machine);
  CopyArgs args;
  args.kv = {
      .head_dim = 64, .heads = 2, .page_stride = 256, .token_stride = 64, .head_stride = 128};
  args.from_kv = args.kv;
  std::vector<std::uint16_t> words(1024);
  std::iota(words.begin(), words.end(), 0);
  auto* k = memory.of(words);
  auto* v = memory.of(words);
  const std::vector<StoreLayer> layers = {{k, v}};
  args.from_layers = args.layers = memory.of(layers);
  args.layer_count = 1;
  const std::vector<TokenCopy> copies = {{64, 576}};
  args.copies = memory.of(copies);
  args.copy_count = 1;
  machine->copy(args);
  ASSERT_TRUE(machine->finish().ok());
  for (int d = 0; d < 64; ++d) {
    EXPECT_EQ(k[576 + d], 64 + d);
    EXPECT_EQ(v[576 + 128 + d], 64 + 128 + d);
    EXPECT_EQ(k[512 + d], 512 + d);
  }
}

TEST(Plan, CoversEveryLiveChunkOnce) {
  AttentionProblem p;
  p.q_len = 8;
  p.window = 300;
  p.longest = 3000;
  Given given(p);
  AttentionArgs& a = given.args;
  a.lanes = given.lanes.data();
  const std::vector<AttentionItem> items = plan_of(a, given.lanes, 2);
  std::map<std::tuple<unsigned, unsigned, unsigned>, std::vector<int>> chunks;
  for (const AttentionItem& i : items) chunks[{i.lane, i.kv_head, i.tile}].push_back(i.chunk);
  EXPECT_EQ(chunks.size(), 3u * 2 * 8);
  std::size_t partials = 0;
  for (const auto& [what, is] : chunks) {
    const auto& [lane, head, tile] = what;
    const Range live = chunks_of(a, Tile(a, {.lane = lane, .tile = tile}));
    std::vector<int> all(static_cast<std::size_t>(live.end - live.first));
    std::iota(all.begin(), all.end(), live.first);
    EXPECT_EQ(is, all);
    if (is.size() > 1) partials += is.size();
  }
  EXPECT_EQ(a.partial_count, partials);
}

TEST(Plan, LeavesOfAWindowAreOneChunkWhereThereIsWorkEnough) {
  AttentionArgs a;
  a.layer_count = 1;
  a.kv.heads = 8;
  AttentionLane lane;
  lane.len = 8000;
  lane.q_pos = 7999;
  EXPECT_EQ(plan_of(a, std::vector(64, lane)).size(), 64u * 8 * 8);
  EXPECT_EQ(a.tile_count, 64u * 8);
  a.window = 1024;  // From position 6976 on: a border of chunks of four leaves is within.
  EXPECT_EQ(plan_of(a, std::vector(64, lane)).size(), 64u * 8);
  EXPECT_EQ(a.partial_count, 0u);
  EXPECT_EQ(plan_of(a, std::vector(1, lane)).size(), 8u * 2);
  a.layer_count = 35;
  EXPECT_EQ(plan_of(a, std::vector(1, lane)).size(), 8u);
}

TEST(Plan, TilesAreAsGreatAsTheMachineAsks) {
  AttentionArgs a;
  a.layer_count = 1;
  a.kv.heads = 2;
  a.ratio = 4;
  a.tile_rows = 16;
  AttentionLane lane;
  lane.len = 3000;
  lane.q_len = 9;  // 36 rows: three tiles, which see three chunks of four leaves.
  lane.q_pos = 2991;
  EXPECT_EQ(plan_of(a, std::vector(1, lane)).size(), 2u * 3 * 3);
  EXPECT_EQ(a.tile_count, 2u * 3);
  EXPECT_EQ(a.partial_floats(), 16u * (128 + 2));
  // Warps go through the leaves of a great tile one after another: chunks keep a GPU busy only.
  EXPECT_EQ(plan_of(a, std::vector(200, lane)).size(), 200u * 2 * 3);
  EXPECT_EQ(a.partial_count, 0u);
}

}  // namespace
}  // namespace pagetape
