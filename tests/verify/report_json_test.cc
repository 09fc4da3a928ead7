// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/verify/json_fixture.h"
#include "tests/verify/verify_fixture.h"

namespace pagetape {
namespace {

using Json = nlohmann::json;

std::vector<std::string> keys(const Json& object) {
  std::vector<std::string> out;
  for (const auto& [key, value] : object.items()) out.push_back(key);
  return out;
}

Json crash() { return json_of_report(verify_trace("traces/golden/corpus/S01.bug.jsonl", {})); }

// The example of the model's section 5.
TEST(ReportJson, TheHybridWindowCrashReadsAsInTheModel) {
  const Json json = crash();
  EXPECT_EQ(json.at("schema"), 1);
  EXPECT_EQ(json.at("trace"), "traces/golden/corpus/S01.bug.jsonl");
  EXPECT_EQ(json.at("verdict"), "fail");
  EXPECT_EQ(json.at("events"), 10);
  EXPECT_EQ(json.at("launches"), 1);
  EXPECT_EQ(json.at("damaged"), nullptr);
  EXPECT_EQ(json.at("rules").at("OOB_PAGE"), Json({{"judged", 2}, {"findings", 1}}));
  EXPECT_EQ(json.at("counts").at("OOB_PAGE"), 1);
}

TEST(ReportJson, TheFindingOfTheCrashHasTheFieldsOfTheModel) {
  const Json json = crash();
  Json finding;
  for (const Json& f : json.at("findings")) {
    if (f.at("rule") == "OOB_PAGE") finding = f;
  }
  ASSERT_FALSE(finding.is_null());
  const Json expected = {{"rule", "OOB_PAGE"}, {"event", 9},          {"launch", nullptr},
                         {"rank", nullptr},    {"step", nullptr},     {"backend", "d"},
                         {"layer", 22},        {"logical_layer", 22}, {"req", "A"},
                         {"column", 1},        {"page", 40},          {"bound", 8},
                         {"pool", "S"},        {"cause", {5, 8}}};
  for (const auto& [key, value] : expected.items()) EXPECT_EQ(finding.at(key), value) << key;
  EXPECT_TRUE(finding.at("id").is_string());
  EXPECT_FALSE(finding.at("message").get<std::string>().empty());
}

TEST(ReportJson, EveryRuleIsListedAndOnlyThoseWithFindingsAreCounted) {
  const Json json = crash();
  EXPECT_EQ(json.at("rules").size(), kRuleCount);
  for (const auto& [rule, n] : json.at("counts").items()) {
    EXPECT_GT(n, 0) << rule;
    EXPECT_EQ(json.at("rules").at(rule).at("findings"), n);
  }
}

TEST(ReportJson, TheFieldsStandInTheOrderOfTheModel) {
  const std::string text = report_json(verify_lines(std::string(kSmallTrace) + kBadLaunch));
  std::size_t last = 0;
  for (const char* key :
       {"\"schema\"",   "\"trace\"",          "\"verdict\"", "\"events\"",
        "\"launches\"", "\"damaged\"",        "\"rules\"",   "\"not_checked\"",
        "\"counts\"",   "\"findings\":[",     "\"id\"",      "\"rule\":\"OOB_PAGE\",\"event\"",
        "\"launch\":",  "\"rank\":",          "\"step\":",   "\"backend\":",
        "\"layer\":",   "\"logical_layer\":", "\"req\":",    "\"column\":",
        "\"page\":",    "\"bound\":",         "\"pool\":",   "\"message\":",
        "\"cause\":"}) {
    const std::size_t at = text.find(key, last);
    ASSERT_NE(at, std::string::npos) << key << " is missing or out of order in " << text;
    last = at;
  }
}

TEST(ReportJson, AnUncheckedRuleNamesItsObjectAndWhatItNeeds) {
  const Json json = json_of_report(verify_lines(std::string(kSmallTrace) + kGoodLaunch));
  bool found = false;
  for (const Json& line : json.at("not_checked")) {
    if (line.at("rule") != "STALE_CONTENT") continue;
    found = true;
    EXPECT_EQ(line, Json({{"rule", "STALE_CONTENT"}, {"object", "F"}, {"needs", "fill.digest"}}));
  }
  EXPECT_TRUE(found);
  for (const Json& line : json.at("not_applicable")) EXPECT_NE(line.at("rule"), "STALE_CONTENT");
}

TEST(ReportJson, FurtherFieldsStandWhereTheyApply) {
  const Json store = json_of_report(
      verify_lines(std::string(kSmallTrace) +
                   R"({"ev":"store","backend":"t","layer":0,"rows":[{"req":"A","slots":[12]}]})"));
  EXPECT_EQ(store.at("findings").at(0).at("slot"), 12);
  const Json graph = json_of_report(verify_lines(
      R"({"ev":"buffer","buffer":"b"}
{"ev":"graph_capture","graph":"G","buffers":["b"]}
{"ev":"buffer","buffer":"b"}
{"ev":"graph_launch","graph":"G"})"));
  EXPECT_EQ(graph.at("findings").at(0).at("graph"), "G");
  const Json map = json_of_report(verify_lines(
      R"({"ev":"pool","pool":"F","pages":8,"page_size":4}
{"ev":"map","map":"m","from":"F","to":"F","unit":"page"}
{"ev":"map_free","map":"m","req":"A","from":[3]})"));
  EXPECT_EQ(map.at("findings").at(0).at("map"), "m");
  const Json table = json_of_report(verify_lines(
      R"({"ev":"buffer","buffer":"b","cols":1}
{"ev":"table","buffer":"b","row":0,"col":0,"pages":[1,2]})"));
  EXPECT_EQ(table.at("findings").at(0).at("buffer"), "b");
  const Json op = json_of_report(
      verify_lines(std::string(kSmallTrace) +
                   R"({"ev":"async_begin","op":"x","kind":"write","pool":"F","pages":[1],"by":"nic"}
)" + kGoodLaunch));
  EXPECT_EQ(op.at("findings").at(0).at("rule"), "INFLIGHT_HAZARD");
  EXPECT_EQ(op.at("findings").at(0).value("op", ""), "x");
}

TEST(ReportJson, WhatIsNotKnownIsNull) {
  const Json json = json_of_report(
      verify_lines("{\"ev\":\"view\",\"object\":\"o\",\"allocator\":1,\"kernel\":2}\n"));
  const Json& finding = json.at("findings").at(0);
  for (const char* key : {"launch", "rank", "step", "backend", "layer", "logical_layer", "req",
                          "column", "page", "bound", "pool"}) {
    EXPECT_EQ(finding.at(key), nullptr) << key;
  }
}

TEST(ReportJson, AnErrorSaysWhereReadingEnded) {
  const Json json = json_of_report(verify_lines(std::string(kSmallTrace) + "{}\n"));
  EXPECT_EQ(json.at("damaged"), nullptr);
  EXPECT_EQ(json.at("error").at("event"), 5);
  EXPECT_FALSE(json.at("error").at("message").get<std::string>().empty());
}

TEST(ReportJson, StepAndRankAreThoseOfTheEvent) {
  const Json json = json_of_report(verify_lines(R"({"ev":"step","step":7,"rank":1}
{"ev":"access","object":"o","used":2,"capacity":1,"rank":1})"));
  EXPECT_EQ(json.at("findings").at(0).at("rank"), 1);
  EXPECT_EQ(json.at("findings").at(0).at("step"), 7);
}

TEST(ReportJson, OneLineAFindingThenTheRest) {
  const Report report = verify_lines(std::string(kSmallTrace) + kBadLaunch + kBadLaunch);
  const std::string text = report_jsonl(report);
  std::vector<Json> lines;
  for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
    lines.push_back(Json::parse(text.substr(at, text.find('\n', at) - at)));
  }
  ASSERT_EQ(lines.size(), 3u);
  Json whole = json_of_report(report);
  EXPECT_EQ(lines[0], whole.at("findings").at(0));
  EXPECT_EQ(lines[1], whole.at("findings").at(1));
  whole.erase("findings");
  EXPECT_EQ(lines[2], whole);
}

TEST(ReportJson, TheReportIsOneLine) {
  const std::string text = report_json(verify_lines(std::string(kSmallTrace) + kBadLaunch));
  EXPECT_EQ(text.find('\n'), text.size() - 1);
  EXPECT_FALSE(keys(Json::parse(text)).empty());
}

}  // namespace
}  // namespace pagetape
