// SPDX-License-Identifier: Apache-2.0
#include "verify/blame_trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "replay/compact.h"
#include "tests/verify/json_fixture.h"
#include "tests/verify/verify_fixture.h"

namespace pagetape {
namespace {

using testing::HasSubstr;

constexpr const char* kCrash = "traces/golden/corpus/S01.bug.jsonl";

const std::string kRewritten = std::string(kSmallTrace) +
                               R"({"ev":"buffer","buffer":"pt"}
{"ev":"step","step":7}
{"ev":"table","buffer":"pt","row":0,"col":0,"pages":[1,2]}
{"ev":"table","buffer":"pt","row":0,"col":1,"pages":[1],"src":"engine.py:12"}
{"ev":"attention","backend":"t","layer":0,"table":"pt",)"
                               R"("rows":[{"req":"A","len":4,"row":0},{"req":"A","len":8,"row":0}]}
)";

BlameReport blame_lines(const std::string& lines, EventIndex at, const Question& question = {}) {
  const ScratchFolder folder;
  return blame_trace(folder.write("trace.jsonl", lines), at, question);
}

const Link* link_of(const BlameReport& report, LinkKind kind) {
  for (const Link& link : report.links) {
    if (link.spot.kind == kind) return &link;
  }
  return nullptr;
}

TEST(BlameTrace, WithoutAQuestionTheEventsFindingsAreBlamed) {
  const BlameReport report = blame_trace(kCrash, 9, {});
  ASSERT_TRUE(report.status.ok()) << report.status.message();
  EXPECT_EQ(report.exit_code(), 0);
  EXPECT_EQ(report.findings[0].rule, Rule::kOobPage);
  const std::string text = blame_text(report);
  EXPECT_THAT(text, HasSubstr("event 6, 3 events before\n    pages 7, 40 of pool F given to A"));
  EXPECT_THAT(text, HasSubstr("allocation  F page 40: of A; before: free"));
  EXPECT_THAT(text, HasSubstr("binding     d layer 22: pool S; before: pool D"));
}

TEST(BlameTrace, ALinkHasItsStepCallSiteAndTheValueBefore) {
  Question question;
  question.row = 1;
  const BlameReport report = blame_lines(kRewritten, 9, question);
  const Link* cell = link_of(report, LinkKind::kTableCell);
  ASSERT_NE(cell, nullptr) << report.status.message();
  EXPECT_EQ(cell->event, 8u);
  EXPECT_EQ(cell->step, 7);
  EXPECT_EQ(cell->src, "engine.py:12");
  EXPECT_EQ(cell->value, "id 1");
  EXPECT_EQ(cell->value_before, "id 2");
  EXPECT_THAT(blame_text(report), HasSubstr("event 8, step 7, 1 event before"));
  question.before = false;
  const BlameReport less = blame_lines(kRewritten, 9, question);
  ASSERT_NE(link_of(less, LinkKind::kTableCell), nullptr);
  EXPECT_EQ(link_of(less, LinkKind::kTableCell)->value_before, "");
  EXPECT_EQ(link_of(less, LinkKind::kTableCell)->step, 7);
}

TEST(BlameTrace, TheLastLiveEntryOfTheFirstLaneIsTheDefault) {
  Question question;
  question.row = 0;
  EXPECT_THAT(blame_lines(kRewritten, 9, question).subject, HasSubstr("row 0, column 0 of"));
  question.row = 1;
  EXPECT_THAT(blame_lines(kRewritten, 9, question).subject, HasSubstr("row 1, column 1 of"));
}

TEST(BlameTrace, KeyframesDoNotChangeTheAnswer) {
  const ScratchFolder folder;
  const std::string text = folder.write("x.jsonl", kRewritten), binary = folder.file("x.ptape");
  std::uint64_t keyframes = 0;
  ASSERT_TRUE(compact_trace(text, binary, {}, 1, keyframes).ok());
  ASSERT_GT(keyframes, 5u);
  for (EventIndex at = 0; at < 10; ++at) {
    for (const bool before : {true, false}) {
      Question question;
      question.before = before;
      BlameReport a = blame_trace(text, at, question), b = blame_trace(binary, at, question);
      EXPECT_EQ(a.status.ok(), b.status.ok()) << at;
      a.trace = b.trace;
      EXPECT_EQ(blame_text(a), blame_text(b)) << at;
    }
  }
}

// With keyframes, what does not bear on the question is passed over; from a text all is read.
TEST(BlameTrace, WhatIsPassedOverDoesNotChangeTheAnswer) {
  std::uint64_t asked = 0;
  for (const std::string& text : golden_traces("flows")) {
    const ScratchFolder folder;
    const std::string binary = folder.file("x.ptape");
    std::uint64_t keyframes = 0;
    if (!compact_trace(text, binary, {.segment_events = 5}, 12, keyframes).ok()) continue;
    Question lane, page;
    lane.row = 0;
    page.page = "F:1";
    for (const Question& question : {lane, page}) {
      for (EventIndex at = 0;; ++at) {
        BlameReport a = blame_trace(text, at, question), b = blame_trace(binary, at, question);
        ASSERT_EQ(a.status.ok(), b.status.ok()) << text << ' ' << at;
        if (a.status.message().find("has no event") != std::string::npos) break;
        if (!a.status.ok()) continue;
        ++asked;
        a.trace = b.trace;
        ASSERT_EQ(blame_text(a), blame_text(b)) << text << ' ' << at;
      }
    }
  }
  EXPECT_GT(asked, 200u);
}

TEST(BlameTrace, APageABindingAndAScalarCanBeAsked) {
  Question page, binding, scalar;
  page.page = "F:40";
  binding.binding = "d:22";
  scalar.scalar = "n";
  EXPECT_EQ(blame_trace(kCrash, 9, page).subject, "page 40 of pool F");
  const BlameReport bound = blame_trace(kCrash, 9, binding);
  ASSERT_NE(link_of(bound, LinkKind::kBinding), nullptr);
  EXPECT_EQ(link_of(bound, LinkKind::kBinding)->value_before, "pool D");
  const BlameReport set = blame_lines(R"({"ev":"scalar","name":"n","value":1}
{"ev":"scalar","name":"n","value":2}
{"ev":"note","text":"x"}
)",
                                      2, scalar);
  ASSERT_EQ(set.links.size(), 2u);
  EXPECT_EQ(set.links[0].value, "2");
  EXPECT_EQ(set.links[0].value_before, "1");
}

TEST(BlameTrace, WhatIsNotThereIsWrongUsageAndSaid) {
  const auto message = [](EventIndex at, const Question& question) {
    const BlameReport report = blame_trace(kCrash, at, question);
    EXPECT_EQ(report.exit_code(), 2);
    EXPECT_TRUE(report.links.empty());
    return report.status.message();
  };
  Question q;
  EXPECT_THAT(message(99, q), HasSubstr("has no event 99, only 10"));
  EXPECT_THAT(message(3, q), HasSubstr("event 3 (backend) breaks no rule"));
  q.page = "40";
  EXPECT_THAT(message(9, q), HasSubstr("say which pool"));
  q.page = "S:8";
  EXPECT_THAT(message(9, q), HasSubstr("pages 0 to 7"));
  q = {};
  q.binding = "x:0";
  EXPECT_THAT(message(9, q), HasSubstr("no backend \"x\""));
  q = {};
  q.scalar = "n";
  EXPECT_THAT(message(9, q), HasSubstr("no scalar \"n\""));
  q = {};
  q.row = 5;
  EXPECT_THAT(message(9, q), HasSubstr("1 lanes, no row 5"));
  EXPECT_THAT(message(3, q), HasSubstr("neither lanes nor cells"));
  q.row = 0;
  q.layer = "7";
  EXPECT_THAT(message(9, q), HasSubstr("no such launch or layer"));
}

TEST(BlameTrace, JsonNamesTheEventsToGoTo) {
  const auto json = nlohmann::json::parse(blame_json(blame_trace(kCrash, 9, {})));
  EXPECT_EQ(json.at("at"), 9);
  const auto& links = json.at("blame");
  EXPECT_EQ(links.back().at("kind"), "launch");
  EXPECT_EQ(links.back().at("event"), 9);
  EXPECT_EQ(links[0].at("age"), 8);
  for (const char* key :
       {"kind", "event", "step", "age", "t", "src", "sentence", "place", "value", "value_before"}) {
    EXPECT_TRUE(links[0].contains(key)) << key;
  }
}

TEST(BlameTrace, VerifyBlamesTheFirstFindingOfEachRule) {
  const Report report = verify_lines(std::string(kSmallTrace) + kBadLaunch + kBadLaunch);
  ASSERT_EQ(report.findings.size(), 2u);
  EXPECT_FALSE(report.findings[0].blame.empty());
  EXPECT_TRUE(report.findings[1].blame.empty());
  const auto json = json_of_report(report);
  EXPECT_TRUE(json.at("findings")[0].contains("blame"));
  EXPECT_FALSE(json.at("findings")[1].contains("blame"));
}

}  // namespace
}  // namespace pagetape
