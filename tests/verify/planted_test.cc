// SPDX-License-Identifier: Apache-2.0
// Defects planted by the simulated engine: the rules find each, and nothing else. With Gemma 4
// E4B's numbers the crash comes out as it was seen, and is found before it can crash.
#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "capture/sim/synth.h"
#include "tests/verify/verify_fixture.h"

namespace pagetape::sim {
namespace {

constexpr std::uint64_t kSeeds = 5;

std::set<std::string> words(std::string_view text) {
  std::istringstream in{std::string(text)};
  return {std::istream_iterator<std::string>(in), {}};
}

std::set<std::string> rules_found(const Report& report) {
  std::set<std::string> out;
  for (const RuleInfo& rule : kRules) {
    if (count_of(report, rule.rule) > 0) out.emplace(rule.name);
  }
  return out;
}

std::string printed(const std::set<std::string>& rules) {
  std::string out;
  for (const std::string& rule : rules) out += (out.empty() ? "" : " ") + rule;
  return out.empty() ? "nothing" : out;
}

Report verified(const Config& config) {
  const ScratchFolder folder;
  const std::string path = folder.file("x.ptape");
  const SynthResult written = synthesize(config, path);
  EXPECT_EQ(written.error, "");
  const Report report = verify_trace(path, {});
  EXPECT_EQ(report.events, written.events);
  EXPECT_TRUE(report.status.ok()) << report.status.message();
  return report;
}

class Planted : public testing::TestWithParam<BugInfo> {};

TEST_P(Planted, BreaksItsRulesAndNoOther) {
  const BugInfo& bug = GetParam();
  const std::set<std::string> must = words(bug.rules);
  std::set<std::string> may = words(bug.may);
  may.insert(must.begin(), must.end());
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Config config;
    config.model = find_model("tiny");
    config.bug = bug.bug;
    config.seed = seed;
    const Report report = verified(config);
    const std::set<std::string> found = rules_found(report);
    const bool all = std::ranges::includes(found, must), only = std::ranges::includes(may, found);
    EXPECT_TRUE(all && only) << "seed " << seed << " breaks " << printed(found) << ", not all of "
                             << printed(must) << " and at most " << printed(may)
                             << "\n  pagetape synth --model tiny --bug " << bug.name << " --seed "
                             << seed << " -o x.ptape; pagetape verify x.ptape\n"
                             << report_text(report);
    EXPECT_EQ(report.exit_code(), must.empty() ? 0 : 1);
  }
}

std::string name_of(const testing::TestParamInfo<BugInfo>& info) {
  std::string name(info.param.name);
  std::ranges::replace(name, '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, Planted, testing::ValuesIn(bugs().begin(), bugs().end()), name_of);

TEST(PlantedTable, NamesRulesThatAreAndEveryRuleOnce) {
  std::set<std::string> known, planted;
  for (const RuleInfo& rule : kRules) known.emplace(rule.name);
  for (const BugInfo& bug : bugs()) {
    for (const std::string& rule : words(bug.rules)) planted.insert(rule);
    EXPECT_TRUE(std::ranges::includes(known, words(bug.may))) << bug.name;
    EXPECT_EQ(bug.rules.empty(), bug.bug == Bug::kNone) << bug.name;
  }
  EXPECT_EQ(planted, known);
}

// The engine as it crashed: Gemma 4 E4B, 80 requests, 64 at a time.
Config stale_e4b(std::int64_t prompt_tokens, std::int64_t output_tokens) {
  Config config;
  config.model = find_model("gemma4-e4b");
  config.bug = Bug::kStaleSwa;
  config.requests = 80;
  config.concurrency = 64;
  config.prompt_tokens = prompt_tokens;
  config.output_tokens = output_tokens;
  return config;
}

TEST(StaleSwaOfE4b, OfAShortRunIsFoundThoughItReadsTheRightPages) {
  const Report report = verified(stale_e4b(1'024, 256));
  EXPECT_EQ(rules_found(report), (std::set<std::string>{"STALE_BINDING", "WRONG_SPACE"}));
}

TEST(StaleSwaOfE4b, OfALongRunFirstReadsThePageThatEqualsThePageCount) {
  const Report report = verified(stale_e4b(8'192, 1'024));
  const auto first = std::ranges::find(report.firsts, Rule::kOobPage, &Finding::rule);
  ASSERT_NE(first, report.firsts.end());
  EXPECT_EQ(first->page, 8'657);
  EXPECT_EQ(first->bound, 8'657);
  EXPECT_EQ(first->layer, Layer::number(22));
  for (const char* rule : {"STALE_BINDING", "WRONG_SPACE"}) {
    EXPECT_TRUE(rules_found(report).contains(rule)) << rule;
  }
}

}  // namespace
}  // namespace pagetape::sim
