// SPDX-License-Identifier: Apache-2.0
// The debugger's commands, each condition, and each thing that it shows.
#include "verify/debugger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/verify/verify_fixture.h"

namespace pagetape {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr const char* kDefect = "traces/golden/sglang-0.5.19-defect.ptape";

// Two pools with a map, two backends, a table, a graph, an operation, and a page that is read out
// of bounds.
constexpr const char* kLines =
    R"({"ev":"pool","pool":"F","pages":8,"page_size":4}
{"ev":"pool","pool":"S","pages":4,"page_size":4,"reserved":[{"page":0,"role":"pad"}]}
{"ev":"map","map":"f2s","from":"F","to":"S","unit":"page"}
{"ev":"buffer","buffer":"t","rows":2,"cols":4}
{"ev":"backend","backend":"b","role":"draft"}
{"ev":"pool_swap","backend":"b","layers":[3],"pool":"F"}
{"ev":"layer_remap","backend":"b","layer":"a0","to":3}
{"ev":"swa_state","backend":"b","uses_swa":false,"swa_pool":null,"derived_from":"F"}
{"ev":"step","step":0,"mode":"decode"}
{"ev":"request","req":"A","state":"arrive"}
{"ev":"alloc","pool":"F","req":"A","pages":[1,2],"first":0}
{"ev":"fill","pool":"F","req":"A","pages":[1,2],"digest":"x"}
{"ev":"prefix_key","pool":"F","page":1,"key":"x"}
{"ev":"map_set","map":"f2s","pairs":[[1,3]]}
{"ev":"table","buffer":"t","row":0,"col":0,"pages":[1,2],"space":"F"}
{"ev":"lens","buffer":"t","values":[8]}
{"ev":"graph_capture","graph":"g","buffers":["t"],"scalars":{"n":1},"inputs":["t"],)"
    R"("launches":[{"ev":"attention","backend":"b","layer":"a0","table":"t",)"
    R"("rows":[{"req":"A","row":0,"len":8}]}]}
{"ev":"async_begin","op":"o","kind":"read","pool":"F","pages":[2],"by":"#c"}
{"ev":"refresh","buffer":"t"}
{"ev":"graph_launch","graph":"g"}
{"ev":"table","buffer":"t","row":0,"col":1,"pages":[9],"space":"F"}
{"ev":"graph_launch","graph":"g"}
{"ev":"free","pool":"F","req":"A","pages":[1]}
{"ev":"scalar","name":"n","value":2}
{"ev":"note","text":"the last"}
)";

class Prompt {
 public:
  explicit Prompt(const std::string& path) {
    Status status;
    timeline = Timeline::open(path, names, {.memory = 1 << 20, .spacing = 20}, status);
    EXPECT_TRUE(timeline != nullptr) << status.message();
    debugger.emplace(*timeline, names);
  }
  // What a command says that must not fail.
  std::string operator()(const std::string& line) {
    const Debugger::Reply reply = debugger->run(line);
    EXPECT_TRUE(reply.ok) << line << ": " << reply.text;
    return reply.text;
  }
  std::string error(const std::string& line) {
    const Debugger::Reply reply = debugger->run(line);
    EXPECT_FALSE(reply.ok) << line << ": " << reply.text;
    return reply.text;
  }
  EventIndex at() const { return timeline->at(); }

  Names names;
  std::unique_ptr<Timeline> timeline;
  std::optional<Debugger> debugger;
};

class DebuggerTest : public testing::Test {
 protected:
  ScratchFolder folder_;
  Prompt prompt{folder_.write("x.jsonl", kLines)};
};

TEST_F(DebuggerTest, GoesForwardsAndBack) {
  EXPECT_THAT(prompt("next"), StartsWith("event 1: pool S was declared"));
  EXPECT_THAT(prompt("next 9"), StartsWith("event 10, step 0: pages 1, 2 of pool F given to A"));
  EXPECT_THAT(prompt("back"), StartsWith("event 9"));
  EXPECT_THAT(prompt("back 5"), StartsWith("event 4"));
  EXPECT_THAT(prompt("goto 0"), StartsWith("event 0"));
  EXPECT_THAT(prompt("back"), StartsWith("the beginning\n"));
  EXPECT_THAT(prompt("goto end"), StartsWith("the end, behind 25 events"));
  EXPECT_THAT(prompt("next"), StartsWith("the end"));
  EXPECT_THAT(prompt("back 1000"), StartsWith("event 0"));
}

TEST_F(DebuggerTest, StopsBeforeWhatMeetsACondition) {
  const std::pair<const char*, EventIndex> kStops[] = {
      {"until kind step", 8},   {"until request A", 9},   {"until page F:1", 10},
      {"until request #c", 17}, {"until layer 3", 19},    {"until finding OOB_PAGE", 21},
      {"until page F:1", 22},   {"until kind table", 25},
  };
  for (const auto& [command, at] : kStops) {
    prompt(command);
    EXPECT_EQ(prompt.at(), at) << command;
  }
  prompt("goto 0");
  prompt("until layer a0");
  EXPECT_EQ(prompt.at(), 6u) << "the remap";
  prompt("until page S:3");
  EXPECT_EQ(prompt.at(), 13u) << "the map's entry";
}

TEST_F(DebuggerTest, ContinuesBetweenBreaksBothWays) {
  EXPECT_EQ(prompt("break finding"), "break 1: finding\n");
  EXPECT_EQ(prompt("break kind free"), "break 2: kind free\n");
  EXPECT_THAT(prompt("continue"), StartsWith("break: finding\nevent 21"));
  EXPECT_THAT(prompt("continue"), StartsWith("break: kind free\nevent 22"));
  EXPECT_THAT(prompt("continue"), StartsWith("the end"));
  EXPECT_THAT(prompt("reverse-continue"), StartsWith("break: kind free\nevent 22"));
  EXPECT_THAT(prompt("delete 2"), "");
  EXPECT_EQ(prompt("breaks"), "break 1: finding\n");
  EXPECT_THAT(prompt("reverse-continue"), StartsWith("break: finding\nevent 21"));
  EXPECT_THAT(prompt("reverse-continue"), StartsWith("event 0"));
  EXPECT_EQ(prompt("break layer 3"), "break 3: layer 3\n") << "a number is given once";
}

TEST_F(DebuggerTest, SaysWhereItStands) {
  EXPECT_FALSE(prompt.debugger->found());
  prompt("goto 21");
  const std::string where = prompt("where");
  EXPECT_THAT(where, StartsWith("event 21 of 25, step 0 (decode)\n"
                                "{\"ev\": \"graph_launch\", \"graph\": \"g\"}\n"
                                "launch: graph g launch 0, attention of backend b, layer 3 "
                                "(logical a0) in pool F, 1 lane\n"
                                "-> OOB_PAGE at event 21"));
  EXPECT_THAT(where, HasSubstr("because of events 5, 6, 16, 20"));
  EXPECT_TRUE(prompt.debugger->found());
  prompt("goto 19");
  EXPECT_THAT(prompt("where"), Not(HasSubstr("->")));
  EXPECT_EQ(prompt.at(), 19u);
}

TEST_F(DebuggerTest, ShowsObjectsAndSinceWhen) {
  prompt("goto 22");
  EXPECT_EQ(prompt("show backend b"),
            "backend b (draft) since event 4\n"
            "  layer 3: pool F since event 5\n"
            "  logical layer a0: layer 3 since event 6\n"
            "  sliding-window state derived from F version 0: uses no sliding-window pool since "
            "event 7\n");
  EXPECT_EQ(prompt("show table t 0"),
            "table t, 2 rows of 4 columns, version 0 since event 3\n"
            "  column 0: page 1 of space F since event 14\n"
            "  column 1: page 9 of space F since event 20\n"
            "  length 8 since event 15\n");
  EXPECT_THAT(prompt("show table t 1"), HasSubstr("row 1 was never written"));
  EXPECT_EQ(prompt("show page F 1"),
            "page 1 of pool F, 8 pages of 4 tokens since event 0\n"
            "  owned by A, logical page 0 since event 10\n"
            "  4 of 4 tokens written since event 11\n"
            "  digest x\n"
            "  prefix key x since event 12\n"
            "  map f2s: leads to page 3 of pool S since event 13\n");
  EXPECT_THAT(prompt("show page F 2"),
              HasSubstr("pending: o of #c reads it on stream 1 since event 17"));
  EXPECT_THAT(prompt("show page S 3"), HasSubstr("map f2s: led here from page 1 of pool F"));
  EXPECT_THAT(prompt("show page S 0"), HasSubstr("reserved: pad"));
  EXPECT_THAT(prompt("show page S 9"), HasSubstr("outside the pool"));
  EXPECT_THAT(prompt("show map f2s 1"), HasSubstr("  page 1: page 3 since event 13\n"));
  EXPECT_THAT(prompt("show map f2s 2"), HasSubstr("  page 2: never set\n"));
  EXPECT_EQ(prompt("show request A"),
            "request A\n"
            "  space F: owns 2 pages\n"
            "    logical pages 0-1: pages 1, 2 since event 10\n");
}

TEST_F(DebuggerTest, ShowsWhatAGraphFroze) {
  prompt("goto end");
  EXPECT_EQ(prompt("show graph g"),
            "graph g since event 16\n"
            "  launched last by event 21\n"
            "  buffer t version 0\n"
            "  scalar n = 1, today 2 since event 23\n"
            "  input t: rewritten since event 20\n"
            "  launch 0: attention, layer 3 of pool F since event 5\n"
            "    frozen: sliding-window state derived from F version 0: uses no sliding-window "
            "pool since event 7\n");
  EXPECT_THAT(prompt("show"), HasSubstr("  backend: b\n  table: t\n  page: F S\n"));
}

TEST_F(DebuggerTest, SaysWhatIsWrongWithACommand) {
  EXPECT_THAT(prompt.error("fly"), HasSubstr("\"fly\""));
  EXPECT_THAT(prompt.error("next x"), HasSubstr("next [N]"));
  EXPECT_THAT(prompt.error("next 1 2"), HasSubstr("next [N]"));
  EXPECT_THAT(prompt.error("goto 26"), HasSubstr("no event 26"));
  EXPECT_THAT(prompt.error("until"), HasSubstr("a condition is"));
  EXPECT_THAT(prompt.error("until rule NO_SUCH"), HasSubstr("NO_SUCH"));
  EXPECT_THAT(prompt.error("break page F"), HasSubstr("POOL:NUMBER"));
  EXPECT_THAT(prompt.error("break kind nope"), HasSubstr("nope"));
  EXPECT_THAT(prompt.error("show backend nope"), HasSubstr("no backend \"nope\""));
  EXPECT_THAT(prompt.error("show table t"), HasSubstr("show table BUFFER ROW"));
  EXPECT_THAT(prompt.error("show page F 99999999999"), HasSubstr("31 bits"));
  EXPECT_THAT(prompt.error("delete 7"), HasSubstr("no break 7"));
  EXPECT_EQ(prompt("# a remark"), "");
  EXPECT_EQ(prompt("  "), "");
  EXPECT_TRUE(prompt.debugger->run("quit").quit);
}

TEST_F(DebuggerTest, CompletesWhatMayFollow) {
  const auto complete = [&](const char* line) { return prompt.debugger->complete(line); };
  EXPECT_THAT(complete("g"), ElementsAre("goto"));
  EXPECT_THAT(complete("break pa"), ElementsAre("page"));
  EXPECT_THAT(complete("until rule O"), ElementsAre("OOB_PAGE", "OFFSET_OVERFLOW"));
  EXPECT_THAT(complete("until kind graph_l"), ElementsAre("graph_launch"));
  EXPECT_THAT(complete("show "), Contains("backend"));
  EXPECT_THAT(complete("show backend "), ElementsAre()) << "none is declared yet";
  prompt("goto 20");
  EXPECT_THAT(complete("show backend "), ElementsAre("b"));
  EXPECT_THAT(complete("until page "), ElementsAre("F:", "S:"));
  EXPECT_THAT(complete("show request "), ElementsAre("A"));
  EXPECT_THAT(complete("nonsense "), ElementsAre());
}

TEST(DebuggerRanks, AreShownByTheEventsOrAsAsked) {
  const ScratchFolder folder;
  Prompt prompt(folder.write("x.jsonl", R"({"ev":"backend","backend":"b","rank":0}
{"ev":"backend","backend":"c","rank":1}
{"ev":"note","text":"n","rank":1}
)"));
  prompt("goto 2");
  EXPECT_THAT(prompt("show"), HasSubstr("backend: c"));
  prompt("rank 0");
  EXPECT_THAT(prompt("show"), HasSubstr("backend: b"));
}

// The events with findings, by going forward, going back, or by the verifier.
std::vector<EventIndex> stops(Prompt& prompt, const char* command) {
  std::vector<EventIndex> out;
  for (;;) {
    const std::string said = prompt(command);
    if (said.find("break: finding") == std::string::npos) return out;
    EXPECT_NE(said.find("->"), std::string::npos) << "at " << prompt.at();
    out.push_back(prompt.at());
  }
}

class DebuggerFindings : public testing::TestWithParam<std::string> {};

TEST_P(DebuggerFindings, AreThoseOfVerifyBothWays) {
  VerifyOptions options;
  options.judge.max_findings = 0;
  std::vector<EventIndex> want;
  for (const Finding& finding : verify_trace(GetParam(), options).findings) {
    if (want.empty() || want.back() != finding.event) want.push_back(finding.event);
  }
  Prompt prompt(GetParam());
  prompt("break finding");
  EXPECT_EQ(stops(prompt, "continue"), want);
  prompt("goto end");
  std::ranges::reverse(want);
  EXPECT_EQ(stops(prompt, "reverse-continue"), want);
}

std::vector<std::string> traces() {
  std::vector<std::string> out = golden_traces();
  out.emplace_back(kDefect);
  return out;
}

INSTANTIATE_TEST_SUITE_P(All, DebuggerFindings, testing::ValuesIn(traces()),
                         [](const testing::TestParamInfo<std::string>& info) {
                           return case_name(info.param);
                         });

}  // namespace
}  // namespace pagetape
