// SPDX-License-Identifier: Apache-2.0
#include "verify/diff.h"

#include <gtest/gtest.h>

#include "tests/verify/verify_fixture.h"

namespace pagetape {
namespace {

const char* const kSetup = R"({"ev":"pool","pool":"F","pages":8,"page_size":4}
{"ev":"backend","backend":"t"}
{"ev":"pool_swap","backend":"t","layers":"*","pool":"F"}
)";

DiffReport diff_lines(const std::string& good, const std::string& bad) {
  const ScratchFolder folder;
  return diff_traces(folder.write("good.jsonl", good), folder.write("bad.jsonl", bad), false);
}

std::string of_request(const std::string& req, const std::string& page) {
  return R"({"ev":"alloc","pool":"F","req":")" + req + R"(","pages":[)" + page + R"(],"first":0})" +
         "\n" + R"({"ev":"attention","backend":"t","layer":0,"rows":[{"req":")" + req +
         R"(","len":4,"pages":[)" + page + "]}]}\n";
}

TEST(Diff, OfATraceWithItselfIsEmpty) {
  const std::string lines = kSetup + of_request("A", "1");
  const DiffReport report = diff_lines(lines, lines);
  EXPECT_TRUE(report.status.ok());
  EXPECT_GT(report.compared, 0u);
  EXPECT_EQ(report.total, 0u);
}

TEST(Diff, PageIdsAndTheOrderOfRequestsAreFree) {
  const DiffReport report = diff_lines(kSetup + of_request("A", "1") + of_request("B", "2"),
                                       kSetup + of_request("B", "5") + of_request("A", "3"));
  EXPECT_TRUE(report.status.ok());
  EXPECT_EQ(report.total, 0u) << diff_text(report);
}

TEST(Diff, ShowsThePageOfAnotherRequestFirst) {
  std::string bad = kSetup + of_request("A", "1") + of_request("B", "2");
  bad.replace(bad.rfind("[2]"), 3, "[1]");
  const DiffReport report = diff_lines(kSetup + of_request("A", "1") + of_request("B", "2"), bad);
  ASSERT_EQ(report.total, 1u);
  EXPECT_EQ(report.request, "B");
  EXPECT_EQ(report.aspect, Aspect::kTables);
  EXPECT_EQ(report.in_good->text, "entries F B#0");
  EXPECT_EQ(report.in_bad->text, "entries F A#0");
}

TEST(Diff, WhatTheEngineDoesMoreOnOneSideIsOneDifference) {
  const std::string rest = of_request("A", "1");
  const DiffReport report =
      diff_lines(kSetup + rest, R"({"ev":"pool","pool":"G","pages":8,"page_size":4})"
                                "\n" +
                                    std::string(kSetup) + rest);
  ASSERT_EQ(report.total, 1u) << diff_text(report);
  EXPECT_EQ(report.in_good, std::nullopt);
  ASSERT_NE(report.in_bad, std::nullopt);
  EXPECT_EQ(report.in_bad->event, 0u);
}

std::string renamed(std::string lines, const std::string& from, const std::string& to) {
  const std::string what = "\"req\":\"" + from + '"', by = "\"req\":\"" + to + '"';
  for (std::size_t at = 0; (at = lines.find(what, at)) != std::string::npos; at += by.size()) {
    lines.replace(at, what.size(), by);
  }
  return lines;
}

// Lines of a request that is so many tokens long.
std::string with_len(std::string lines, int len) {
  const std::string what = R"("len":4)";
  return lines.replace(lines.find(what), what.size(), R"("len":)" + std::to_string(len));
}

TEST(Diff, MatchesRequestsOfOtherNamesByWhatTheyDo) {
  const std::string a = of_request("A", "1"), b = with_len(of_request("B", "2"), 3);
  const DiffReport same =
      diff_lines(kSetup + a + b, kSetup + renamed(b, "B", "x1") + renamed(a, "A", "x2"));
  EXPECT_TRUE(same.status.ok());
  EXPECT_EQ(same.total, 0u) << diff_text(same);
  EXPECT_EQ(same.renamed, 2u);
}

TEST(Diff, SaysTheNameOfTheRequestInBothTraces) {
  const std::string a = of_request("A", "1"), b = of_request("B", "2");
  std::string read_anothers = renamed(b, "B", "y");
  read_anothers.replace(read_anothers.rfind("[2]"), 3, "[1]");
  const DiffReport report =
      diff_lines(kSetup + a + b, kSetup + renamed(a, "A", "x") + read_anothers);
  ASSERT_EQ(report.total, 1u) << diff_text(report);
  EXPECT_EQ(report.request, "B");
  EXPECT_EQ(report.request_in_bad, "y");
  EXPECT_EQ(report.in_bad->text, "entries F A#0");
}

TEST(Diff, ARequestOfOneSideAloneIsADifference) {
  const std::string a = of_request("A", "1"), b = of_request("B", "2");
  const DiffReport report = diff_lines(kSetup + a + b, kSetup + a);
  ASSERT_EQ(report.total, 1u) << diff_text(report);
  EXPECT_EQ(report.request, "B");
  EXPECT_EQ(report.in_bad, std::nullopt);
}

std::string on_rank(std::string lines, int rank) {
  for (std::size_t at = 0; (at = lines.find("{\"ev\"", at)) != std::string::npos;) {
    const std::string with = R"({"rank":)" + std::to_string(rank) + ',';
    lines.replace(at, 1, with);
    at += with.size();
  }
  return lines;
}

TEST(Diff, ComparesEachRankWithItself) {
  const std::string step = R"({"ev":"step","step":1})"
                           "\n";
  const std::string a = kSetup + step + of_request("A", "1");
  const std::string b = kSetup + step + with_len(of_request("A", "2"), 3);
  const DiffReport same = diff_lines(on_rank(a, 0) + on_rank(b, 1), on_rank(b, 1) + on_rank(a, 0));
  EXPECT_TRUE(same.status.ok()) << same.status.message();
  EXPECT_EQ(same.total, 0u) << diff_text(same);
  const DiffReport report =
      diff_lines(on_rank(a, 0) + on_rank(b, 1), on_rank(a, 0) + on_rank(a, 1));
  ASSERT_EQ(report.total, 1u) << diff_text(report);
  EXPECT_EQ(report.rank, 1);
}

TEST(Diff, AKeyIsKnownByThePageItWasOfferedFor) {
  const auto lines = [](const std::string& first, const std::string& second,
                        const std::string& hit) {
    const auto key = [](const std::string& page, const std::string& name) {
      return R"({"ev":"prefix_key","pool":"F","page":)" + page + R"(,"key":")" + name + "\"}\n";
    };
    return kSetup + of_request("A", "1,2") + key("1", first) + key("2", second) +
           R"({"ev":"prefix_hit","pool":"F","req":"B","page":1,"key":")" + hit + "\"}\n";
  };
  EXPECT_EQ(diff_lines(lines("k1", "k2", "k1"), lines("x1", "x2", "x1")).total, 0u);
  const DiffReport report = diff_lines(lines("k1", "k2", "k1"), lines("x1", "x2", "x2"));
  ASSERT_EQ(report.total, 1u);
  EXPECT_EQ(report.in_good->text, "prefix hit of F A#0, by the key of F A#0");
  EXPECT_EQ(report.in_bad->text, "prefix hit of F A#0, by the key of F A#1");
}

TEST(Diff, RefusesTracesOfDifferentEngines) {
  const std::string rest = kSetup + of_request("A", "1");
  const DiffReport report = diff_lines(R"({"ev":"header","format":1,"engine":"x"})"
                                       "\n" +
                                           rest,
                                       R"({"ev":"header","format":1,"engine":"y"})"
                                       "\n" +
                                           rest);
  EXPECT_EQ(report.status.code(), Code::kUsage);
}

TEST(Diff, RefusesATraceWithNothingToCompare) {
  const DiffReport report = diff_lines("{\"ev\":\"note\",\"text\":\"a\"}\n", kSetup);
  EXPECT_EQ(report.status.code(), Code::kUsage);
  EXPECT_NE(report.status.message().find("good.jsonl"), std::string::npos);
}

}  // namespace
}  // namespace pagetape
