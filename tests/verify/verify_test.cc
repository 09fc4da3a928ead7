// SPDX-License-Identifier: Apache-2.0
#include "verify/verify.h"

#include <gtest/gtest.h>

#include "tests/verify/verify_fixture.h"
#include "traces/writer.h"
#include "verify/fetch.h"
#include "verify/rule_flags.h"

namespace pagetape {
namespace {

const std::string kGood = std::string(kSmallTrace) + kGoodLaunch;
const std::string kBad = std::string(kSmallTrace) + kBadLaunch;

VerifyOptions requiring(const std::vector<std::string>& rules) {
  VerifyOptions options;
  EXPECT_EQ(set_rules(rules, options.required), "");
  return options;
}

TEST(Verify, ACleanTracePasses) {
  const Report report = verify_lines(kGood);
  EXPECT_EQ(report.verdict, Verdict::kPass);
  EXPECT_EQ(report.exit_code(), 0);
  EXPECT_EQ(report.events, 6u);
  EXPECT_EQ(report.launches, 1u);
}

TEST(Verify, AFindingFails) {
  const Report report = verify_lines(kBad);
  EXPECT_EQ(report.verdict, Verdict::kFail);
  EXPECT_EQ(report.exit_code(), 1);
  EXPECT_EQ(count_of(report, Rule::kOobPage), 1u);
}

TEST(Verify, ARequiredRuleThatIsUncheckedMakesItIncomplete) {
  const Report report = verify_lines(kGood, requiring({"OOB_PAGE", "WRONG_SPACE"}));
  EXPECT_EQ(report.verdict, Verdict::kIncomplete);
  EXPECT_EQ(report.exit_code(), 1);
  ASSERT_EQ(report.missing.size(), 1u);
  EXPECT_EQ(report.missing[0].rule, Rule::kWrongSpace);
}

TEST(Verify, ARequiredRuleWithNothingToJudgeIsNoFailure) {
  EXPECT_EQ(verify_lines(kGood, requiring({"GRAPH_STALE"})).exit_code(), 0);
}

TEST(Verify, FindingsWinOverMissingRules) {
  EXPECT_EQ(verify_lines(kBad, requiring({"all"})).verdict, Verdict::kFail);
}

TEST(Verify, RulesThatWereNotAskedForAreNeitherFoundNorListed) {
  VerifyOptions options;
  ASSERT_EQ(set_rules({"FREED_PAGE"}, options.rules), "");
  const Report report = verify_lines(kBad, options);
  EXPECT_EQ(report.exit_code(), 0);
  EXPECT_EQ(report.total, 0u);
  for (const NotChecked& n : report.not_checked) EXPECT_EQ(n.rule, Rule::kFreedPage);
}

TEST(Verify, ANameThatIsNoRuleIsSaid) {
  std::array<bool, kRuleCount> chosen{};
  EXPECT_NE(set_rules({"NO_RULE"}, chosen).find("NO_RULE"), std::string::npos);
}

TEST(Verify, CountsAreNotCutByTheMostFindings) {
  std::string lines = kSmallTrace;
  for (int i = 0; i < 300; ++i) lines += kBadLaunch;
  const Report report = verify_lines(lines);
  EXPECT_EQ(report.findings.size(), 100u);
  EXPECT_EQ(report.total, 300u);
  EXPECT_EQ(count_of(report, Rule::kOobPage), 300u);
  VerifyOptions all;
  all.judge.max_findings = 0;
  EXPECT_EQ(verify_lines(lines, all).findings.size(), 300u);
}

TEST(Verify, AWrongLineIsUsageAndWhatCameBeforeIsJudged) {
  const Report good = verify_lines(kGood + "{\"ev\":\"alloc\"}\n");
  EXPECT_EQ(good.exit_code(), 2);
  EXPECT_EQ(good.verdict, Verdict::kIncomplete);
  EXPECT_EQ(good.events, 6u);
  EXPECT_NE(good.status.message().find("jsonl:7: "), std::string::npos) << good.status.message();
  const Report bad = verify_lines(kBad + "{\"ev\":\"alloc\"}\n");
  EXPECT_EQ(bad.exit_code(), 1);
  EXPECT_EQ(bad.verdict, Verdict::kFail);
}

TEST(Verify, AnEventThatCannotApplyIsUsageAndNamed) {
  const Report report = verify_lines(kGood + R"({"ev":"free","pool":"X","req":"A","pages":[1]})");
  EXPECT_EQ(report.exit_code(), 2);
  EXPECT_NE(report.status.message().find("jsonl:7: event 6 (free): undeclared_pool \"X\""),
            std::string::npos)
      << report.status.message();
}

TEST(Verify, AFileThatIsNotThereIsUsage) {
  const Report report = verify_trace("/nowhere/at/all.ptape", {});
  EXPECT_EQ(report.exit_code(), 2);
  EXPECT_NE(report.status.message().find("/nowhere/at/all.ptape"), std::string::npos);
}

// A binary trace with a segment for each part, that of part `bad` damaged.
std::string damaged_trace(const ScratchFolder& folder, const std::vector<std::string>& parts,
                          std::size_t bad = 1) {
  Names names;
  Status status;
  const std::string path = folder.file("x.ptape");
  const std::unique_ptr<Writer> writer = create_trace(path, names, {.zstd_level = 0}, status);
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    for (const Event& event : events_of(folder.write("in.jsonl", parts[i]), names)) {
      EXPECT_TRUE(writer->add(event).ok());
    }
    EXPECT_TRUE(writer->flush().ok());
    if (i == bad) end = writer->bytes();
  }
  EXPECT_TRUE(writer->close().ok());
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(end - 20));
  file.write("damaged!", 8);
  return path;
}

TEST(Verify, ADamagedTraceIsJudgedUpToTheDamage) {
  const ScratchFolder folder;
  const std::string path = damaged_trace(folder, {kGood, std::string(kBadLaunch) + kGoodLaunch});
  const Report report = verify_trace(path, {});
  EXPECT_EQ(report.verdict, Verdict::kDamaged);
  EXPECT_EQ(report.exit_code(), 3);
  EXPECT_EQ(report.events, 6u);
  EXPECT_EQ(report.status_event, 6u);
  ASSERT_EQ(report.warnings.size(), 1u);
  EXPECT_EQ(report.warnings[0], path + ": 2 events are missing from event 6 on");
}

TEST(Verify, FindingsWinOverDamage) {
  const ScratchFolder folder;
  const Report report = verify_trace(damaged_trace(folder, {kBad, kGoodLaunch}), {});
  EXPECT_EQ(report.verdict, Verdict::kFail);
  EXPECT_EQ(report.exit_code(), 1);
  EXPECT_EQ(report.status.code(), Code::kDamaged);
}

constexpr const char* kAllocOfB = R"({"ev":"alloc","pool":"F","req":"B","pages":[3],"first":0}
)";

TEST(Verify, BehindDamageItGoesOnWithTheIndicesOfTheFile) {
  const ScratchFolder folder;
  const std::string path = damaged_trace(folder, {kGood, kAllocOfB, kBadLaunch});
  const Report report = verify_trace(path, {});
  EXPECT_EQ(report.exit_code(), 1);
  EXPECT_EQ(report.status_event, 6u);
  EXPECT_EQ(report.missing_events, 1u);
  EXPECT_EQ(report.events, 7u);
  ASSERT_EQ(report.findings.size(), 1u);
  EXPECT_EQ(report.findings[0].rule, Rule::kOobPage);
  EXPECT_EQ(report.findings[0].event, 7u);
  Names names;
  const auto events = fetch_events(path, names, {5, 6, 7});
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[1].index, 7u);
}

TEST(Verify, BehindDamageWhatItMayHaveChangedIsNotJudged) {
  const std::string free_of_a = R"({"ev":"free","pool":"F","req":"A","pages":[1,2]}
)";
  const std::string launch_of_b =
      R"({"ev":"attention","backend":"t","layer":0,"rows":[{"req":"B","len":4,"pages":[1]}]}
)";
  const ScratchFolder folder;
  // Page 1 is B's by the events that are missing; without those it seems to be A's.
  const std::string lost = free_of_a + R"({"ev":"alloc","pool":"F","req":"B","pages":[1]}
)";
  const Report report = verify_trace(damaged_trace(folder, {kGood, lost, launch_of_b}), {});
  EXPECT_EQ(report.exit_code(), 3);
  EXPECT_EQ(report.launches, 2u);
  EXPECT_EQ(count_of(verify_lines(kGood + launch_of_b), Rule::kWrongOwner), 1u);
}

TEST(Verify, BehindDamageEventsThatNameWhatWasLostAreLeftOut) {
  const ScratchFolder folder;
  const std::string path = damaged_trace(folder, {kSmallTrace, kBadLaunch + kGood}, 0);
  const Report report = verify_trace(path, {});
  // The launch before the pool is declared again; what is declared behind the damage is judged, and
  // its owners are not known.
  EXPECT_EQ(report.exit_code(), 3);
  EXPECT_EQ(report.events, 6u);
  ASSERT_EQ(report.warnings.size(), 2u);
  EXPECT_NE(report.warnings[1].find("left out behind the damage"), std::string::npos);
}

TEST(Verify, UnknownEventsOfANewerFormatMakeItIncomplete) {
  const Report report =
      verify_lines("{\"ev\":\"header\",\"format\":2}\n{\"ev\":\"new_thing\"}\n" + kGood);
  EXPECT_EQ(report.verdict, Verdict::kIncomplete);
  EXPECT_EQ(report.warnings.size(), 1u);
}

TEST(Verify, EntriesOutsideTheWindowAreJudgedOnlyWhenAskedFor) {
  const std::string lines = std::string(kSmallTrace) +
                            R"({"ev":"attention","backend":"t","layer":0,"window":4,
"rows":[{"req":"A","len":8,"pages":[9,2]}]})";
  std::string flat = lines;
  flat.erase(flat.rfind('\n'), 1);
  EXPECT_EQ(verify_lines(flat).total, 0u);
  VerifyOptions strict;
  strict.judge.strict_window = true;
  EXPECT_EQ(count_of(verify_lines(flat, strict), Rule::kOobPage), 1u);
}

TEST(Verify, PaddingThatReadsALivePageIsAFaultOnlyWhenAskedFor) {
  const std::string lines =
      std::string(kSmallTrace) +
      R"({"ev":"attention","backend":"t","layer":0,"rows":[{"req":null,"len":4,"pages":[1]}]})";
  EXPECT_EQ(verify_lines(lines).total, 0u);
  VerifyOptions strict;
  strict.judge.strict_pad = true;
  EXPECT_EQ(count_of(verify_lines(lines, strict), Rule::kPadLane), 1u);
}

TEST(Verify, AStoreIsOutsideWhereTheTensorEndsThatItGot) {
  const auto stored = [](int slot, int pages) {
    return verify_lines(std::string(kSmallTrace) +
                        R"({"ev":"store","backend":"t","layer":0,"rows":[{"req":"A","slots":[)" +
                        std::to_string(slot) + "]}],\"bound\":{\"pages\":" + std::to_string(pages) +
                        "}}\n");
  };
  EXPECT_EQ(count_of(stored(8, 8), Rule::kOobPage), 0u);
  const Report small = stored(8, 2);
  EXPECT_EQ(count_of(small, Rule::kOobPage), 1u);
  EXPECT_EQ(small.findings.back().bound, 2);
  EXPECT_EQ(count_of(stored(4, 2), Rule::kOobPage), 0u);
  // Pages that the pool has not, but the tensor: that they are not one is another rule's.
  const Report large = stored(36, 10);
  EXPECT_EQ(count_of(large, Rule::kOobPage), 0u);
  EXPECT_EQ(count_of(large, Rule::kStaleBinding), 1u);
  EXPECT_EQ(count_of(stored(40, 10), Rule::kOobPage), 1u);
  // Where no binding is known, nothing else would tell.
  const Report unbound = verify_lines(R"({"ev":"pool","pool":"F","pages":8,"page_size":4}
{"ev":"backend","backend":"t"}
{"ev":"store","backend":"t","layer":0,"bound":{"pool":"F","pages":10},"rows":[{"req":"A",)"
                                      R"("slots":[36]}]}
)");
  EXPECT_EQ(count_of(unbound, Rule::kOobPage), 1u);
}

TEST(Verify, CellsThatWereFarAreJudgedWithThoseThatReachThemLater) {
  const auto table = [](int col, int cells, int bad) {
    std::string pages;
    for (int i = 0; i < cells; ++i) pages += (i == 0 ? "" : ",") + std::to_string(i == bad ? 9 : 1);
    return R"({"ev":"table","buffer":"b","row":0,"col":)" + std::to_string(col) + ",\"pages\":[" +
           pages + "]}\n";
  };
  const auto found = [&](const std::string& tables) {
    return count_of(
        verify_lines(std::string(kSmallTrace) + R"({"ev":"buffer","buffer":"b"})" + '\n' + tables +
                     R"({"ev":"attention","backend":"t","layer":0,"table":"b",)" +
                     R"("rows":[{"req":"A","len":24000,"row":0}]})" + '\n'),
        Rule::kOobPage);
  };
  EXPECT_EQ(found(table(5000, 1, 0) + table(0, 5500, -1)), 0u);     // Written over.
  EXPECT_EQ(found(table(5000, 1, -1) + table(0, 5900, 5800)), 1u);  // Beyond it.
  EXPECT_EQ(found(table(5000, 1, 0) + table(0, 4900, -1) + table(5001, 10, -1)), 1u);
}

TEST(Verify, ALaunchOfSeveralLayersIsOneLaunchEach) {
  const Report report =
      verify_lines(std::string(kSmallTrace) + R"({"ev":"attention","backend":"t","layers":[0,1,2],)"
                                              R"("rows":[{"req":"A","len":8,"pages":[1,9]}]})");
  EXPECT_EQ(report.launches, 3u);
  EXPECT_EQ(count_of(report, Rule::kOobPage), 3u);
  EXPECT_EQ(report.judged[static_cast<std::size_t>(Rule::kOobPage)], 6u);
}

TEST(Verify, EveryRulesFirstFindingIsKnown) {
  const Report report = verify_lines(kBad + R"({"ev":"free","pool":"F","req":"B","pages":[1]}
)" + kBadLaunch);
  ASSERT_EQ(report.firsts.size(), 2u);
  EXPECT_EQ(report.firsts[0].rule, Rule::kOobPage);
  EXPECT_EQ(report.firsts[0].event, 5u);
  EXPECT_EQ(report.firsts[1].rule, Rule::kFreelist);
}

TEST(Verify, EventsAreFetchedForExplanations) {
  const ScratchFolder folder;
  const std::string path = folder.write("x.jsonl", kGood);
  Names names;
  const auto events = fetch_events(path, names, {1, 3, 99});
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].index, 1u);
  EXPECT_TRUE(std::holds_alternative<ev::Backend>(events[0].event.body));
  EXPECT_TRUE(std::holds_alternative<ev::Alloc>(events[1].event.body));
}

TEST(Verify, VerdictsHaveNames) {
  EXPECT_EQ(verdict_name(Verdict::kPass), "pass");
  EXPECT_EQ(verdict_name(Verdict::kFail), "fail");
  EXPECT_EQ(verdict_name(Verdict::kIncomplete), "incomplete");
  EXPECT_EQ(verdict_name(Verdict::kDamaged), "damaged");
}

}  // namespace
}  // namespace pagetape
