// SPDX-License-Identifier: Apache-2.0
// The GPU against the CPU, to the bit. Skipped, and counted so, where there is no GPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "replay/machine.h"
#include "tests/replay/attention_problem.h"

namespace pagetape {
namespace {

class CudaMachineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Status status;
    gpu_ = make_cuda_machine(0, status);
    if (gpu_ == nullptr) GTEST_SKIP() << status.message();
    cpu_ = make_cpu_machine();
  }
  std::unique_ptr<Machine> gpu_, cpu_;
};

TEST_F(CudaMachineTest, GivesTheBitsOfTheCpu) {
  for (const AttentionProblem& p : problems()) {
    const Answer there = solve(p, *gpu_), here = solve(p, *cpu_);
    EXPECT_EQ(there.digest, here.digest) << p.text();
    ASSERT_EQ(there.out.size(), here.out.size());
    std::size_t differ = 0;
    for (std::size_t i = 0; i < here.out.size(); ++i) {
      differ += bits_of(there.out[i]) != bits_of(here.out[i]);
    }
    EXPECT_EQ(differ, 0u) << p.text();
  }
}

TEST_F(CudaMachineTest, FindsWhatTheCpuFinds) {
  for (AttentionProblem p : problems()) {
    const Given given(p);
    const auto last = static_cast<std::uint32_t>((p.longest - 1) >> given.args.entry_shift);
    p.wrong = {{last, static_cast<std::int32_t>(given.args.bound)},
               {last / 2, given.entries[given.lanes[1].entries_begin]},
               {last / 3, -7}};
    for (OnOob mode : {OnOob::kRecord, OnOob::kClamp}) {
      p.on_oob = mode;
      const Answer there = solve(p, *gpu_), here = solve(p, *cpu_);
      EXPECT_EQ(there.findings, here.findings) << p.text();
      EXPECT_EQ(there.digest, here.digest) << p.text();
      EXPECT_FALSE(here.findings.empty()) << p.text();
    }
  }
}

TEST_F(CudaMachineTest, ChunksDoNotChangeABit) {
  for (AttentionProblem p : problems()) {
    const std::uint64_t digest = solve(p, *gpu_).digest;
    for (int shift = 2; shift <= 6; ++shift) {
      p.chunk_shift = shift;
      EXPECT_EQ(solve(p, *gpu_).digest, digest) << p.text();
    }
  }
}

}  // namespace
}  // namespace pagetape
