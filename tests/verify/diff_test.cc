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
