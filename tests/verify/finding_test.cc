// SPDX-License-Identifier: Apache-2.0
#include "verify/finding.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/replay/replay_fixture.h"

namespace pagetape {
namespace {

Finding finding(EventIndex event, std::int64_t row = -1, std::int64_t column = -1,
                Rule rule = Rule::kOobPage) {
  Finding f;
  f.event = event;
  f.row = row;
  f.column = column;
  f.rule = rule;
  return f;
}

void add(Findings& to, Finding f) {
  to.add(std::move(f), [](Finding& g, bool) { g.message = "complete"; });
}

TEST(Finding, AreOrderedByEventThenLaunchThenRowThenColumnThenRule) {
  Finding later = finding(3, 1, 1);
  later.launch = 1;
  EXPECT_TRUE(earlier(finding(2, 9, 9), finding(3, 0, 0)));
  EXPECT_TRUE(earlier(finding(3, 9, 9), later));
  EXPECT_TRUE(earlier(finding(3, 0, 9), finding(3, 1, 0)));
  EXPECT_TRUE(earlier(finding(3, 1, 0), finding(3, 1, 1)));
  EXPECT_TRUE(earlier(finding(3, 1, 1), finding(3, 1, 1, Rule::kFreedPage)));
  EXPECT_FALSE(earlier(finding(3, 1, 1), finding(3, 1, 1)));
}

TEST(Finding, TheIdSaysWhereItIs) {
  Names names;
  Finding f = finding(9, 0, 1);
  EXPECT_EQ(f.id(names), "OOB_PAGE@9.r0.c1");
  f.launch = 2;
  f.has_layer = true;
  f.layer = f.logical_layer = Layer::named(names.intern("a0"));
  EXPECT_EQ(f.id(names), "OOB_PAGE@9.n2.la0.r0.c1");
  f.object = names.intern("pt");
  EXPECT_EQ(f.id(names), "OOB_PAGE@9.n2.la0.r0.c1.pt");
}

TEST(Findings, WithinTheLimitAllAreKeptInOrder) {
  Findings findings(10);
  for (EventIndex event : {5u, 3u, 4u}) add(findings, finding(event));
  const std::vector<Finding> kept = findings.sorted();
  ASSERT_EQ(kept.size(), 3u);
  EXPECT_EQ(kept[0].event, 3u);
  EXPECT_EQ(kept[2].event, 5u);
  EXPECT_EQ(kept[0].message, "complete");
}

TEST(Findings, AWatchIsToldOfThoseBeyondTheLimitToo) {
  Findings findings(1);
  std::size_t told = 0;
  findings.watch([&](const Finding&) { ++told; });
  for (EventIndex event = 0; event < 200; ++event) add(findings, finding(event));
  EXPECT_EQ(told, 200u);
  EXPECT_EQ(findings.sorted().size(), 1u);
}

TEST(Findings, CountsAreNotCutByTheLimit) {
  Findings findings(2);
  for (EventIndex event = 0; event < 500; ++event) add(findings, finding(event));
  EXPECT_EQ(findings.total(), 500u);
  EXPECT_EQ(findings.counts()[0], 500u);
  EXPECT_EQ(findings.sorted().size(), 2u);
}

TEST(Findings, WhatIsBeyondTheLimitIsNotCompleted) {
  Findings findings(1);
  std::size_t completed = 0;
  for (EventIndex event = 0; event < 1000; ++event) {
    findings.add(finding(event), [&](Finding&, bool) { ++completed; });
  }
  EXPECT_LT(completed, 100u);
}

TEST(Findings, TheFirstOfARuleIsKnownEvenBeyondTheLimit) {
  Findings findings(1);
  for (EventIndex event = 0; event < 200; ++event) add(findings, finding(event));
  add(findings, finding(300, -1, -1, Rule::kGeometry));
  add(findings, finding(250, -1, -1, Rule::kGeometry));
  ASSERT_NE(findings.first(Rule::kGeometry), nullptr);
  EXPECT_EQ(findings.first(Rule::kGeometry)->event, 250u);
  EXPECT_EQ(findings.first(Rule::kFreelist), nullptr);
}

TEST(Findings, MergingTakesOverCountsAndTheEarliest) {
  Findings a(2), b(2);
  add(a, finding(5));
  add(a, finding(7));
  add(b, finding(6));
  add(b, finding(4));
  a.merge(std::move(b));
  EXPECT_EQ(a.total(), 4u);
  const std::vector<Finding> kept = a.sorted();
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(kept[0].event, 4u);
  EXPECT_EQ(kept[1].event, 5u);
  EXPECT_EQ(a.first(Rule::kOobPage)->event, 4u);
}

class FindingsProperty : public testing::TestWithParam<int> {};

// A bounded keeper, fed and merged in any order, keeps what sorting everything would put first.
TEST_P(FindingsProperty, KeepTheEarliestOfAll) {
  Dice dice(static_cast<std::uint64_t>(GetParam()));
  const auto limit = static_cast<std::size_t>(dice.below(40));
  Findings bounded(limit), other(limit);
  std::vector<Finding> all;
  std::set<std::string> ids;
  const Names names;
  for (int i = 0; i < 600; ++i) {
    Finding f = finding(static_cast<EventIndex>(dice.below(60)), dice.below(4), dice.below(6),
                        static_cast<Rule>(dice.below(kRuleCount)));
    if (!ids.insert(f.id(names)).second) continue;
    add(dice.one_in(4) ? other : bounded, f);
    f.message = "complete";
    all.push_back(f);
    if (dice.one_in(100)) {
      bounded.merge(std::move(other));
      other = Findings(limit);
    }
  }
  bounded.merge(std::move(other));
  std::ranges::sort(all, earlier);
  EXPECT_EQ(bounded.total(), all.size());
  for (const RuleInfo& rule : kRules) {
    const auto first = std::ranges::find(all, rule.rule, &Finding::rule);
    ASSERT_EQ(bounded.first(rule.rule) == nullptr, first == all.end());
    if (first != all.end()) {
      EXPECT_EQ(*bounded.first(rule.rule), *first);
    }
  }
  if (limit != 0 && all.size() > limit) all.resize(limit);
  EXPECT_EQ(bounded.sorted(), all) << "seed " << GetParam() << ", limit " << limit;
}

INSTANTIATE_TEST_SUITE_P(Seeds, FindingsProperty, testing::Range(0, 60));

}  // namespace
}  // namespace pagetape
