// SPDX-License-Identifier: Apache-2.0
#include "verify/explore.h"

#include <gtest/gtest.h>

#include "tests/verify/explore_fixture.h"

namespace pagetape {
namespace {

// Every conflict of a trace as small as these reversed, and some hundreds of orders drawn.
ExploreReport explore_some(const std::string& path) {
  ExploreOptions options;
  options.orders = 500;
  return explore(path, options);
}

ExploreReport explore_lines(const std::string& lines) {
  const ScratchFolder folder;
  return explore_some(folder.write("trace.jsonl", lines));
}

std::string upper_start(const std::string& path) {
  std::string stem = std::filesystem::path(path).stem().string();
  stem = stem.substr(stem.find('_') + 1);
  std::ranges::transform(stem, stem.begin(), [](unsigned char c) { return std::toupper(c); });
  return stem;
}

bool is_bad(const std::string& path) {
  return std::filesystem::path(path).stem().string().starts_with("bad_");
}

class GoldenExplore : public testing::TestWithParam<std::string> {};

// bad_<rule>_<what>: the recorded order is clean, another one breaks that rule; ok_: none does.
TEST_P(GoldenExplore, HasTheHazardThatItIsNamedForAndNoOther) {
  const ExploreReport report = explore_some(GetParam());
  ASSERT_TRUE(report.status.ok()) << report.status.message();
  EXPECT_EQ(report.recorded, 0u);
  EXPECT_EQ(report.unchecked, "");
  EXPECT_EQ(report.exit_code(), is_bad(GetParam()) ? 1 : 0) << explore_text(report);
  EXPECT_EQ(report.hazards.empty(), !is_bad(GetParam())) << explore_text(report);
  for (const Hazard& hazard : report.hazards) {
    EXPECT_TRUE(upper_start(GetParam()).starts_with(info(hazard.finding.rule).name))
        << explore_text(report);
  }
}

// What `-o` writes is found by `verify`, at the event that stands there then.
TEST_P(GoldenExplore, WritesTheOrderOfASeedAsATraceWithThatFinding) {
  const ScratchFolder folder;
  for (const char* name : {"order.jsonl", "order.ptape"}) {
    for (const Hazard& hazard : explore_some(GetParam()).hazards) {
      Names names;
      ChosenOrder chosen;
      ASSERT_TRUE(choose_order(GetParam(), hazard.seed, names, chosen).ok());
      const std::string file = folder.file(name);
      ASSERT_TRUE(write_order(GetParam(), names, chosen, file).ok());
      const Report found = verify_trace(file, {});
      ASSERT_TRUE(found.status.ok()) << found.status.message();
      ASSERT_GT(count_of(found, hazard.finding.rule), 0u);
      const EventIndex at = found.findings[0].event;
      const bool inside = at >= chosen.stretch.begin && at < chosen.stretch.end();
      EXPECT_EQ(inside ? chosen.stretch.begin + chosen.order[at - chosen.stretch.begin] : at,
                hazard.finding.event);
    }
  }
}

TEST_P(GoldenExplore, SaysTheSameInEveryRun) {
  EXPECT_EQ(explore_json(explore_some(GetParam())), explore_json(explore_some(GetParam())));
}

TEST_P(GoldenExplore, GivesAHazardAgainFromItsSeedAlone) {
  for (const Hazard& hazard : explore_some(GetParam()).hazards) {
    ExploreOptions one;
    one.seed = hazard.seed;
    one.orders = 1;
    const ExploreReport again = explore(GetParam(), one);
    ASSERT_EQ(again.hazards.size(), 1u);
    EXPECT_EQ(again.orders, 1u);
    EXPECT_EQ(again.hazards[0].finding, hazard.finding);
    EXPECT_EQ(again.hazards[0].missing, hazard.missing);
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenExplore, testing::ValuesIn(golden_traces("explore")),
                         [](const auto& info) { return case_name(info.param); });

// Loads on stream 2 before the attention that reads them, step after step, each with its fence but
// for one step.
std::string stepped(int steps, int unfenced) {
  std::string out = std::string(kSmallTrace);
  for (int i = 0; i < steps; ++i) {
    const std::string op = R"("o)" + std::to_string(i) + '"';
    const std::string page = std::to_string(1 + i % 2);
    out += R"({"ev":"stream_wait","on":0,"stream":2})"
           "\n";
    out += R"({"ev":"async_begin","op":)" + op + R"(,"kind":"write","pool":"F","pages":[)" + page +
           R"(],"by":"#host","stream":2})"
           "\n";
    if (i != unfenced) out += R"({"ev":"stream_wait","on":2,"ops":[)" + op + "]}\n";
    out += R"({"ev":"async_end","op":)" + op + "}\n";
    out += kGoodLaunch;
  }
  return out;
}

TEST(Explore, FindsTheOneFenceThatIsMissing) {
  EXPECT_EQ(explore_lines(stepped(30, -1)).exit_code(), 0);
  for (int missing : {0, 7, 29}) {
    const ExploreReport report = explore_lines(stepped(30, missing));
    ASSERT_EQ(report.hazards.size(), 1u) << missing << explore_text(report);
    EXPECT_EQ(report.hazards[0].finding.rule, Rule::kInflightHazard);
    EXPECT_NE(report.hazards[0].first.find("operation o" + std::to_string(missing)),
              std::string::npos)
        << explore_text(report);
    EXPECT_NE(report.hazards[0].missing.find("stream_wait of stream 0 on stream 2"),
              std::string::npos);
  }
}

// Orders in which A's pages went before A's launch are tried, for the sake of the buffer: nobody
// wrote them, so that no hazard comes of it, until B does.
TEST(Explore, LeavesTheSchedulersActsOutOfWhatItReports) {
  const auto with_store_at = [](const std::string& slot) {
    return std::string(kSmallTrace) + R"({"ev":"buffer","buffer":"T"}
{"ev":"stream_wait","on":0,"stream":1}
{"ev":"refresh","buffer":"T","stream":1}
{"ev":"attention","backend":"t","layer":0,"rows":[{"req":"A","len":8,"pages":[1,2]}],"stream":1}
{"ev":"free","pool":"F","req":"A","pages":[1,2]}
{"ev":"alloc","pool":"F","req":"B","pages":[1,3],"first":0}
{"ev":"store","backend":"t","layer":0,"rows":[{"req":"B","slots":[)" +
           slot + R"(]}]}
{"ev":"refresh","buffer":"T"}
)";
  };
  const ExploreReport clean = explore_lines(with_store_at("12"));
  EXPECT_GT(clean.orders, 1u);
  EXPECT_EQ(clean.exit_code(), 0) << explore_text(clean);
  const ExploreReport report = explore_lines(with_store_at("4"));
  ASSERT_EQ(report.hazards.size(), 1u) << explore_text(report);
  EXPECT_EQ(report.hazards[0].finding.rule, Rule::kWrongOwner);
  EXPECT_NE(report.hazards[0].second.find("store"), std::string::npos) << explore_text(report);
  EXPECT_NE(report.hazards[0].missing.find("stream_wait of stream 0 on stream 1"),
            std::string::npos);
}

TEST(Explore, OfOneStreamSaysThatNothingWasChecked) {
  const ExploreReport report = explore_lines(std::string(kSmallTrace) + kGoodLaunch);
  EXPECT_NE(report.unchecked.find("one stream"), std::string::npos);
  EXPECT_EQ(report.exit_code(), 1);
  EXPECT_TRUE(explore_text(report).starts_with("NOT CHECKED"));
}

TEST(Explore, OfARecorderWithoutWaitsSaysThatNothingWasChecked) {
  const std::string header = R"({"ev":"header","format":1,"records":["pool","attention"]})"
                             "\n";
  const ExploreReport report = explore_lines(header + stepped(3, 1));
  EXPECT_NE(report.unchecked.find("stream_wait"), std::string::npos);
  EXPECT_TRUE(report.hazards.empty());
}

// A trace may name any number.
TEST(Explore, AnErrorBehindALaunchThatIsNoneIsBehindNothing) {
  const ExploreReport report = explore_lines(
      stepped(5, -1) + R"({"ev":"cuda_error","code":700,"name":"e","after":2147483648})" + '\n');
  EXPECT_EQ(report.unchecked, "");
  EXPECT_TRUE(report.hazards.empty()) << explore_text(report);
}

TEST(Explore, DoesNotCountWhatTheRecordedOrderBreaks) {
  const ExploreReport report = explore_lines(stepped(5, -1) + kBadLaunch);
  EXPECT_EQ(report.recorded, 1u);
  EXPECT_TRUE(report.hazards.empty()) << explore_text(report);
  EXPECT_EQ(report.exit_code(), 1);
  EXPECT_NE(explore_text(report).find("recorded order itself has 1 finding"), std::string::npos);
}

TEST(Explore, GoesOnWhereTheBudgetEndedIt) {
  const ScratchFolder folder;
  const std::string path = folder.write("trace.jsonl", drawn_trace(3, 200));
  ExploreOptions few;
  few.orders = 5;
  const ExploreReport first = explore(path, few);
  EXPECT_EQ(first.next_seed, 6u);
  EXPECT_LE(first.orders, 5u);
  few.budget = 300;
  EXPECT_LE(explore(path, few).judged, 300u + 512u);
  EXPECT_GT(first.conflicts, 5u);
}

// Whether the first must come before the second, looked up once for all orders.
std::vector<std::vector<bool>> all_pairs(const std::vector<Event>& events, Name write) {
  const PairwiseOrder model(events, write);
  std::vector<std::vector<bool>> must(events.size(), std::vector<bool>(events.size()));
  for (std::size_t i = 0; i < events.size(); ++i) {
    for (std::size_t j = 0; j < events.size(); ++j) must[i][j] = model.must(i, j);
  }
  return must;
}

// Every order that is tried, reversed or drawn, keeps what the model says of the recorded one.
TEST(Explore, GivesOrdersThatKeepEveryRecordedDependency) {
  std::uint64_t orders = 0;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    const ScratchFolder folder;
    const std::string path = folder.write("trace.jsonl", drawn_trace(seed, 60));
    Names table;
    const std::vector<Event> events = events_of(path, table);
    const std::vector<std::vector<bool>> must = all_pairs(events, table.find("write"));
    const std::uint64_t pairs = explore_some(path).conflicts;
    for (std::uint64_t k = 1; k <= pairs + 10; ++k) {
      Names names;
      ChosenOrder chosen;
      if (!choose_order(path, k, names, chosen).ok()) continue;
      ++orders;
      std::vector<std::size_t> at;
      for (std::uint32_t i : chosen.order) at.push_back(chosen.stretch.begin + i);
      for (std::size_t a = 0; a < at.size(); ++a) {
        for (std::size_t b = a + 1; b < at.size(); ++b) {
          EXPECT_FALSE(must[at[b]][at[a]])
              << "trace " << seed << ", order " << k << ": " << at[b] << " before " << at[a];
        }
      }
      std::ranges::sort(at);
      for (std::size_t i = 0; i < at.size(); ++i) EXPECT_EQ(at[i], chosen.stretch.begin + i);
    }
  }
  EXPECT_GT(orders, 100u);
}

// An order that the model forbids would be told by the test above: it tells one that is made up.
TEST(Explore, IsHeldToARelationThatForbidsSomething) {
  Names names;
  const ScratchFolder folder;
  const std::vector<Event> events = events_of(folder.write("t.jsonl", stepped(2, -1)), names);
  const PairwiseOrder model(events, names.find("write"));
  const std::size_t begin = 6, wait = 7, end = 8, launch = 9;
  EXPECT_TRUE(model.must(begin, wait));
  EXPECT_TRUE(model.must(begin, end));
  EXPECT_TRUE(model.must(wait, launch));
  EXPECT_FALSE(model.must(end, launch));
}

}  // namespace
}  // namespace pagetape
