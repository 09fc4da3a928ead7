// SPDX-License-Identifier: Apache-2.0
#include "replay/compact.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/replay/replay_fixture.h"
#include "traces/reader.h"
#include "verify/report.h"

namespace pagetape {
namespace {

std::vector<std::string> traces_that_apply() {
  std::vector<std::string> out;
  for (const std::string& path : golden_traces()) {
    if (path.find("outcomes/bad_") == std::string::npos) out.push_back(path);
  }
  return out;
}

class Compact : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    std::uint64_t keyframes = 0;
    const Status status = compact_trace(GetParam(), out(), {.segment_events = 4}, 2, keyframes);
    ASSERT_TRUE(status.ok()) << status.message();
    keyframes_ = keyframes;
  }
  std::string out() const { return folder_.file("x.ptape"); }

  ScratchFolder folder_;
  std::uint64_t keyframes_ = 0;
};

std::string report_of(const std::string& path) {
  VerifyOptions options;
  options.judge.max_findings = 0;
  auto json = nlohmann::json::parse(report_json(verify_trace(path, options)));
  json.erase("trace");
  return json.dump(1);
}

TEST_P(Compact, VerifiesAlike) { EXPECT_EQ(report_of(out()), report_of(GetParam())); }

TEST_P(Compact, EveryKeyframeGoesOnToTheSameEnd) {
  Names names;
  const std::vector<Event> events = events_of(GetParam(), names);
  State through(names);
  for (const Event& event : events) ASSERT_TRUE(through.apply(event).applied());

  Names other;
  Status status;
  const std::unique_ptr<Reader> reader = Reader::open(out(), other, status);
  ASSERT_TRUE(reader != nullptr) << status.message();
  ASSERT_EQ(reader->events(), events.size());
  ASSERT_EQ(reader->keyframes().size(), keyframes_);
  for (const KeyframeInfo& keyframe : reader->keyframes()) {
    std::string bytes;
    ASSERT_TRUE(reader->keyframe_state(keyframe, bytes).ok());
    State state(other);
    ASSERT_TRUE(state.load(bytes, other).ok());
    ASSERT_TRUE(reader->seek(state.next_event()).ok());
    Event event;
    while (reader->next(event)) ASSERT_TRUE(state.apply(event).applied());
    EXPECT_TRUE(reader->status().ok()) << reader->status().message();
    EXPECT_EQ(state.digest(), through.digest());
  }
}

INSTANTIATE_TEST_SUITE_P(All, Compact, testing::ValuesIn(traces_that_apply()),
                         [](const testing::TestParamInfo<std::string>& info) {
                           return case_name(info.param);
                         });

constexpr const char* kThree =
    "{\"ev\":\"pool\",\"pool\":\"F\",\"pages\":8,\"page_size\":4}\n"
    "{\"ev\":\"alloc\",\"pool\":\"F\",\"req\":\"A\",\"pages\":[1,2]}\n"
    "{\"ev\":\"free\",\"pool\":\"F\",\"req\":\"A\",\"pages\":[1]}\n";

TEST(CompactTrace, TheSameTraceGivesTheSameFile) {
  const ScratchFolder folder;
  const std::string in = folder.write("in.jsonl", kThree);
  std::string bytes[2];
  for (int i = 0; i < 2; ++i) {
    std::uint64_t keyframes = 0;
    ASSERT_TRUE(compact_trace(in, folder.file("x"), {}, 3, keyframes).ok());
    std::ifstream file(folder.file("x"), std::ios::binary);
    bytes[i].assign(std::istreambuf_iterator<char>(file), {});
    EXPECT_EQ(keyframes, 1u);
  }
  EXPECT_EQ(bytes[0], bytes[1]);
}

TEST(CompactTrace, ATraceLighterThanAKeyframeGetsNone) {
  const ScratchFolder folder;
  std::uint64_t keyframes = 9;
  ASSERT_TRUE(compact_trace(folder.write("in.jsonl", kThree), folder.file("x"), {}, kKeyframeWeight,
                            keyframes)
                  .ok());
  EXPECT_EQ(keyframes, 0u);
}

TEST(CompactTrace, ATraceThatCannotApplyLeavesNothing) {
  const ScratchFolder folder;
  const std::string in =
      folder.write("in.jsonl", std::string(kThree) +
                                   "{\"ev\":\"free\",\"pool\":\"X\",\"req\":\"A\","
                                   "\"pages\":[1]}\n");
  std::uint64_t keyframes = 0;
  const Status status = compact_trace(in, folder.file("x"), {}, 1, keyframes);
  EXPECT_EQ(status.code(), Code::kUsage);
  EXPECT_NE(status.message().find("event 3 (free): undeclared_pool \"X\""), std::string::npos)
      << status.message();
  EXPECT_FALSE(std::filesystem::exists(folder.file("x")));
  EXPECT_FALSE(std::filesystem::exists(folder.file("x.unfinished")));
}

TEST(CompactTrace, AnEventWeighsWhatItCarries) {
  TextState m;
  const auto weight = [&](const char* line) { return apply_weight(m.event(line)); };
  EXPECT_EQ(weight(R"({"ev":"note","text":"n"})"), 1u);
  EXPECT_EQ(weight(R"({"ev":"alloc","pool":"F","req":"A","pages":[1,2,3]})"), 4u);
  EXPECT_EQ(weight(R"({"ev":"lens","buffer":"l","values":[1,2]})"), 3u);
  EXPECT_EQ(weight(R"({"ev":"map_set","map":"m","pairs":[[1,2]]})"), 2u);
  EXPECT_EQ(weight(R"({"ev":"store","backend":"t","layer":0,"slots":"s",
                       "rows":[{"req":"A","slots":[1,2]},{"req":"B","row":0,"n":5}]})"),
            10u);
}

}  // namespace
}  // namespace pagetape
