// SPDX-License-Identifier: Apache-2.0
// Every golden trace, a test case of its own: it breaks just the rules that its index or its name
// says, with just the findings of traces/golden/findings.txt, in either form of the trace, in every
// run alike.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tests/replay/replay_fixture.h"
#include "traces/writer.h"
#include "verify/report.h"

namespace pagetape {
namespace {

using Json = nlohmann::json;

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

std::string stem_of(const std::string& path) { return std::filesystem::path(path).stem().string(); }

Json index_of(const char* folder) {
  std::ifstream in(std::string(kGolden) + '/' + folder + "/index.json");
  return Json::parse(in);
}

VerifyOptions all_findings() {
  VerifyOptions options;
  options.judge.max_findings = 0;
  return options;
}

std::set<std::string> rules_found(const Report& report) {
  std::set<std::string> out;
  for (std::size_t r = 0; r < kRuleCount; ++r) {
    if (report.counts[r] > 0) out.insert(std::string(kRules[r].name));
  }
  return out;
}

// The rule of which rules/bad_<rule>_<what> or ok_<rule>_<what> speaks; "" where there is none.
std::string rule_of(const std::string& path) {
  const std::string rest = stem_of(path).substr(stem_of(path).find('_') + 1);
  std::string found;
  for (const RuleInfo& rule : kRules) {
    if (rest.starts_with(lower(rule.name) + '_')) found = rule.name;
  }
  return found;
}

std::string outcome_of(const std::string& path) {
  const std::string rest = stem_of(path).substr(stem_of(path).find('_') + 1);
  std::string found;
  for (const OutcomeInfo& outcome : kOutcomes) {
    if (rest.starts_with(std::string(outcome.name) + '_')) found = outcome.name;
  }
  return found;
}

bool is_bad(const std::string& path) { return stem_of(path).starts_with("bad_"); }

std::vector<Finding> finding_list(const std::string& path) {
  return verify_trace(path, all_findings()).findings;
}

void expect_rules(const std::string& path, const std::set<std::string>& rules) {
  const Report report = verify_trace(path, all_findings());
  ASSERT_TRUE(report.status.ok()) << report.status.message();
  EXPECT_EQ(rules_found(report), rules) << report_text(report);
  EXPECT_EQ(report.exit_code(), rules.empty() ? 0 : 1);
  EXPECT_EQ(report.verdict, rules.empty() ? Verdict::kPass : Verdict::kFail);
}

class Golden : public testing::TestWithParam<std::string> {};
class GoldenCorpus : public Golden {};
class GoldenFlow : public Golden {};
class GoldenRule : public Golden {};
class GoldenOutcome : public Golden {};

// "S01.bug": the rule and those beside it; "S01.ok": none.
TEST_P(GoldenCorpus, BreaksJustTheRulesOfItsIndex) {
  const std::string stem = stem_of(GetParam());
  const bool bug = stem.ends_with(".bug");
  ASSERT_TRUE(bug || stem.ends_with(".ok")) << stem;
  const std::string id = stem.substr(0, stem.find('.'));
  bool found = false;
  for (const Json& entry : index_of("corpus")) {
    if (entry.at("id") != id) continue;
    found = true;
    std::set<std::string> rules;
    if (bug) {
      rules = entry.at("also").get<std::set<std::string>>();
      rules.insert(entry.at("rule").get<std::string>());
    }
    expect_rules(GetParam(), rules);
  }
  EXPECT_TRUE(found) << id << " is not in the index";
}

TEST_P(GoldenFlow, BreaksJustTheRulesOfItsIndex) {
  const std::string file = std::filesystem::path(GetParam()).filename().string();
  bool found = false;
  for (const Json& entry : index_of("flows")) {
    if (entry.at("file") != file) continue;
    found = true;
    expect_rules(GetParam(), entry.at("rules").get<std::set<std::string>>());
  }
  EXPECT_TRUE(found) << file << " is not in the index";
}

TEST_P(GoldenRule, BreaksJustTheRuleThatItIsNamedFor) {
  const std::string rule = rule_of(GetParam());
  ASSERT_FALSE(rule.empty()) << "named for no rule";
  expect_rules(GetParam(), is_bad(GetParam()) ? std::set{rule} : std::set<std::string>{});
}

TEST_P(GoldenOutcome, IsRefusedByTheOutcomeThatItIsNamedFor) {
  const std::string outcome = outcome_of(GetParam());
  ASSERT_FALSE(outcome.empty()) << "named for no outcome";
  const Report report = verify_trace(GetParam(), all_findings());
  if (!is_bad(GetParam())) {
    EXPECT_TRUE(report.status.ok()) << report.status.message();
    EXPECT_EQ(report.exit_code(), 0);
    return;
  }
  EXPECT_EQ(report.exit_code(), 2);
  EXPECT_EQ(report.status.code(), Code::kUsage);
  if (outcome == "applied") return;  // Its opposite is any other outcome.
  EXPECT_NE(report.status.message().find("): " + outcome), std::string::npos)
      << report.status.message();
}

// Writes the events of a text trace as a binary one.
void import_trace(const std::string& from, const std::string& to) {
  Names names;
  const std::vector<Event> events = events_of(from, names);
  Status status;
  const std::unique_ptr<Writer> writer = create_trace(to, names, {.segment_events = 5}, status);
  ASSERT_TRUE(writer != nullptr) << status.message();
  for (const Event& event : events) ASSERT_TRUE(writer->add(event).ok());
  ASSERT_TRUE(writer->close().ok());
}

Json json_of(const std::string& path) {
  Json json = Json::parse(report_json(verify_trace(path, all_findings())));
  json.erase("trace");
  if (json.contains("error")) json["error"].erase("message");  // It begins with the trace's name.
  return json;
}

TEST_P(Golden, GivesTheSameReportThroughTheBinaryForm) {
  const ScratchFolder folder;
  ASSERT_NO_FATAL_FAILURE(import_trace(GetParam(), folder.file("x.ptape")));
  const Json text = json_of(GetParam()), binary = json_of(folder.file("x.ptape"));
  EXPECT_EQ(text, binary) << Json::diff(text, binary).dump(1);
}

// What findings.txt has of each trace; traces without a finding have no line.
std::map<std::string, std::string> listed_findings() {
  std::map<std::string, std::string> out;
  std::ifstream in(std::string(kGolden) + "/findings.txt");
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with('#')) out[line.substr(0, line.find(' '))] += line + '\n';
  }
  return out;
}

std::string short_path(const std::string& path) {
  return path.substr(std::string(kGolden).size() + 1);
}

// A line a finding: the trace and the rule, then what is known of it but for its sentence.
std::string found_lines(const std::string& path) {
  const Report report = verify_trace(path, all_findings());
  std::string out;
  for (const Finding& finding : report.findings) {
    out += short_path(path) + ' ' + std::string(info(finding.rule).name);
    const nlohmann::ordered_json json = finding_json(finding, *report.names);
    for (const auto& [key, value] : json.items()) {
      if (key == "id" || key == "rule" || key == "message" || value.is_null()) continue;
      out += ' ' + key + '=' + (value.is_string() ? value.get<std::string>() : value.dump());
    }
    out += '\n';
  }
  return out;
}

TEST_P(Golden, HasJustTheFindingsThatAreListed) {
  EXPECT_EQ(found_lines(GetParam()), listed_findings()[short_path(GetParam())]);
}

TEST_P(Golden, GivesTheSameFindingsInOrderInEveryRun) {
  const std::vector<Finding> once = finding_list(GetParam()), again = finding_list(GetParam());
  EXPECT_EQ(once, again);
  EXPECT_TRUE(std::ranges::is_sorted(once, earlier));
}

TEST_P(Golden, GivesEveryFindingAnIdOfItsOwn) {
  const Report report = verify_trace(GetParam(), all_findings());
  std::set<std::string> ids;
  for (const Finding& finding : report.findings) {
    EXPECT_TRUE(ids.insert(finding.id(*report.names)).second) << finding.id(*report.names);
  }
}

TEST_P(Golden, HasCausesThatComeBeforeTheFinding) {
  for (const Finding& finding : finding_list(GetParam())) {
    EXPECT_TRUE(std::ranges::is_sorted(finding.cause));
    for (EventIndex cause : finding.cause) EXPECT_LT(cause, finding.event);
  }
}

TEST_P(Golden, IsJudgedAlikeWithoutReuse) {
  VerifyOptions anew = all_findings();
  anew.judge.reuse = false;
  EXPECT_EQ(finding_list(GetParam()), verify_trace(GetParam(), anew).findings);
}

std::string name_of(const testing::TestParamInfo<std::string>& info) {
  return case_name(info.param);
}

INSTANTIATE_TEST_SUITE_P(All, Golden, testing::ValuesIn(golden_traces()), name_of);
INSTANTIATE_TEST_SUITE_P(All, GoldenCorpus, testing::ValuesIn(golden_traces("corpus")), name_of);
INSTANTIATE_TEST_SUITE_P(All, GoldenFlow, testing::ValuesIn(golden_traces("flows")), name_of);
INSTANTIATE_TEST_SUITE_P(All, GoldenRule, testing::ValuesIn(golden_traces("rules")), name_of);
INSTANTIATE_TEST_SUITE_P(All, GoldenOutcome, testing::ValuesIn(golden_traces("outcomes")), name_of);

// Recorded of SGLang's prefix caches on a CPU: tests/engines/gpu_engines.py holds a GPU to them.
TEST(GoldenCaches, AreCleanButForThePageGivenBack) {
  std::size_t n = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(kGolden) + "/caches")) {
    const std::string path = entry.path().string();
    ++n;
    expect_rules(path, stem_of(path).ends_with("-freed")
                           ? std::set<std::string>{"FREED_PAGE", "ALIASED_WRITE"}
                           : std::set<std::string>{});
  }
  EXPECT_EQ(n, 7u);
}

// Recorded of SGLang's server on an H200: tests/engines/server_engines.py.
TEST(GoldenServers, AFrozenDraftIsCleanWhereItsIdsAreTranslated) {
  const std::string folder = std::string(kGolden) + "/servers/sglang-0.5.20-frozen-kv";
  expect_rules(folder + ".ptape", {});
  const Report clean = verify_trace(folder + ".ptape", {});
  EXPECT_EQ(clean.launches, 5328u);
  for (Rule rule : {Rule::kOobPage, Rule::kWrongSpace, Rule::kWrongOwner, Rule::kUninitRead}) {
    EXPECT_GT(clean.judged[static_cast<std::size_t>(rule)], 6'000'000u) << info(rule).name;
  }
  const Report report = verify_trace(folder + "-untranslated.ptape", {});
  EXPECT_EQ(rules_found(report), (std::set<std::string>{"OOB_PAGE", "WRONG_SPACE"}));
  ASSERT_EQ(report.firsts.size(), 2u);
  const Finding& outside = report.firsts[0];
  EXPECT_EQ(outside.rule, Rule::kOobPage);
  EXPECT_EQ(report.names->text(outside.backend), "backend1");
  EXPECT_EQ(report.names->text(outside.pool), "swa0");
  EXPECT_EQ(outside.page, 13108);
  EXPECT_EQ(outside.bound, 13108);
}

TEST(GoldenTable, EveryRuleHasATraceThatKeepsItAndOneThatBreaksIt) {
  std::set<std::pair<std::string, bool>> have;
  for (const std::string& path : golden_traces("rules")) {
    have.insert({rule_of(path), is_bad(path)});
  }
  for (const RuleInfo& rule : kRules) {
    EXPECT_TRUE(have.contains({std::string(rule.name), false})) << "no ok_ of " << rule.name;
    EXPECT_TRUE(have.contains({std::string(rule.name), true})) << "no bad_ of " << rule.name;
  }
}

TEST(GoldenTable, EveryOutcomeHasATraceThatGoesOnAndOneThatEndsInIt) {
  std::set<std::pair<std::string, bool>> have;
  for (const std::string& path : golden_traces("outcomes")) {
    have.insert({outcome_of(path), is_bad(path)});
  }
  for (const OutcomeInfo& outcome : kOutcomes) {
    EXPECT_TRUE(have.contains({std::string(outcome.name), false})) << "no ok_ of " << outcome.name;
    EXPECT_TRUE(have.contains({std::string(outcome.name), true})) << "no bad_ of " << outcome.name;
  }
}

// Where this fails, the list as it would be is left in outputs.zip: look at what changed, and where
// it is right,
//     unzip -p bazel-testlogs/tests/golden_test/test.outputs/outputs.zip >
//     traces/golden/findings.txt
TEST(GoldenTable, FindingsAreListedInTheOrderOfTheTraces) {
  std::string found =
      "# Every finding of the golden text traces; tests/verify/golden_test.cc says how to write "
      "this.\n";
  for (const std::string& path : golden_traces()) found += found_lines(path);
  std::ostringstream listed;
  listed << std::ifstream(std::string(kGolden) + "/findings.txt").rdbuf();
  if (found == listed.str()) return;
  if (const char* folder = std::getenv("TEST_UNDECLARED_OUTPUTS_DIR")) {
    std::ofstream(std::string(folder) + "/findings.txt") << found;
  }
  ADD_FAILURE() << "findings.txt is not what is found: see the cases of each trace";
}

TEST(GoldenTable, EveryEntryOfAnIndexHasItsTraces) {
  for (const Json& entry : index_of("corpus")) {
    for (const char* end : {".bug.jsonl", ".ok.jsonl"}) {
      const std::string file = entry.at("id").get<std::string>() + end;
      EXPECT_TRUE(std::filesystem::exists(std::string(kGolden) + "/corpus/" + file)) << file;
    }
  }
  for (const Json& entry : index_of("flows")) {
    const std::string file = entry.at("file");
    EXPECT_TRUE(std::filesystem::exists(std::string(kGolden) + "/flows/" + file)) << file;
  }
}

}  // namespace
}  // namespace pagetape
