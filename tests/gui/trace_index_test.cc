// SPDX-License-Identifier: Apache-2.0
#include "gui/app/trace_index.h"

#include <algorithm>
#include <fstream>

#include "tests/gui/gui_fixture.h"
#include "verify/verify.h"

namespace pagetape {
namespace {

using TraceIndexTest = GuiTest;

TEST_F(TraceIndexTest, FindsWhatVerifyFinds) {
  synth("stale-swa");
  const auto trace = open();
  ASSERT_NE(trace, nullptr) << status_.message();
  const Report report = verify_trace(path_, {});
  EXPECT_EQ(trace->index.total, report.total);
  EXPECT_EQ(trace->index.counts, report.counts);
  EXPECT_EQ(trace->index.launches, report.launches);
  std::uint64_t grouped = 0;
  for (const FindingGroup& group : trace->index.findings) grouped += group.count;
  EXPECT_EQ(grouped, report.total);
  EXPECT_EQ(trace->index.findings.front().event, report.findings.front().event);
}

TEST_F(TraceIndexTest, TheDraftsStateIsStaleWhileItsPoolIsSwapped) {
  synth("stale-swa");
  const auto trace = open();
  const auto& lanes = trace->index.backends;
  const auto draft = std::ranges::find_if(
      lanes, [&](const BackendLane& l) { return trace->names.text(l.name) == "draft"; });
  ASSERT_NE(draft, lanes.end());
  const EventIndex finding = trace->index.findings.front().event;
  EXPECT_TRUE(draft->swa.at(finding).flagged);
  EXPECT_EQ(trace->index.word(draft->pool.at(finding).value), "F + S");
  EXPECT_EQ(trace->index.word(draft->swa.at(finding).value), "no window pool");
}

TEST_F(TraceIndexTest, AHealthyRunHasNoStaleState) {
  synth("none");
  const auto trace = open();
  EXPECT_EQ(trace->index.total, 0U);
  for (const BackendLane& lane : trace->index.backends) {
    EXPECT_EQ(lane.swa.next_flagged(0), kNever) << trace->names.text(lane.name);
  }
}

TEST_F(TraceIndexTest, ReadsBeyondAPoolsEdgeAreSeen) {
  synth("stale-swa");
  const auto trace = open();
  const auto window = std::ranges::find_if(
      trace->index.pools, [&](const PoolHistory& p) { return trace->names.text(p.name) == "S"; });
  ASSERT_NE(window, trace->index.pools.end());
  EXPECT_GE(window->most_beyond, window->pages);
}

TEST_F(TraceIndexTest, APagesCellSaysSinceWhenAndByWhatKindOfEvent) {
  synth("none");
  const auto trace = open();
  bool written = false;
  for (const PoolHistory& pool : trace->index.pools) {
    for (std::uint32_t bin = 0; bin < pool.bins; ++bin) {
      for (std::uint32_t row = 0; row < pool.rows; ++row) {
        const PoolHistory::Cell& cell = pool.cell(row, bin);
        if (cell.owned == 0) continue;
        EXPECT_LE(cell.since, bin);
        EXPECT_NE(cell.space, kNone);
        written = written || cell.writer < kKinds;
      }
    }
  }
  EXPECT_TRUE(written);
}

TEST_F(TraceIndexTest, WhoHadAPageIsToldFromBinToBinBackwards) {
  synth("none");
  const auto trace = open();
  const PoolHistory& pool = trace->index.pools[0];
  const std::uint32_t last = pool.bins - 1;
  std::size_t most = 0;
  for (std::uint32_t row = 0; row < pool.rows; ++row) {
    const auto had = pool.had(row, last, 1000);
    ASSERT_FALSE(had.empty());
    EXPECT_EQ(had.front().end, last + 1);
    EXPECT_EQ(had.back().begin, 0U);
    for (std::size_t i = 1; i < had.size(); ++i) {
      EXPECT_EQ(had[i].end, had[i - 1].begin);
      EXPECT_NE(had[i].owner, had[i - 1].owner);
    }
    EXPECT_LE(pool.had(row, last, 2).size(), 2U);
    most = std::max(most, had.size());
  }
  EXPECT_GT(most, 2U) << "some page had an owner in between";
}

TEST_F(TraceIndexTest, DamageIsSaidAndWhatCameBeforeIsShown) {
  synth("none");
  std::string bytes;
  {
    std::ifstream in(path_, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 0x55);
  std::ofstream(path_, std::ios::binary) << bytes;
  const auto trace = open();
  if (trace == nullptr) {
    EXPECT_FALSE(status_.message().empty());
  } else {
    EXPECT_EQ(trace->index.status.code(), Code::kDamaged);
  }
}

TEST_F(TraceIndexTest, AFileThatIsNoneGivesASentence) {
  EXPECT_EQ(open(), nullptr);
  EXPECT_THAT(status_.message(), ::testing::HasSubstr("gui_"));
}

}  // namespace
}  // namespace pagetape
