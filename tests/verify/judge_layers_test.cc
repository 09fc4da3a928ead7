// SPDX-License-Identifier: Apache-2.0
// Stores and attentions told layer by layer: what was judged for a layer stands for those that
// follow, and what comes between them is found.
#include <gtest/gtest.h>

#include "tests/verify/reuse_fixture.h"

namespace pagetape {
namespace {

constexpr const char* kLayered[] = {
    R"({"ev":"pool","pool":"F","pages":8,"page_size":4,"reserved":[{"page":0,"role":"pad"}]})",
    R"({"ev":"backend","backend":"t"})",
    R"({"ev":"pool_swap","backend":"t","layers":"*","pool":"F"})",
    R"({"ev":"buffer","buffer":"b","rows":2,"cols":4})",
    R"({"ev":"buffer","buffer":"l"})",
    R"({"ev":"buffer","buffer":"s"})",
    R"({"ev":"alloc","pool":"F","req":"A","pages":[1,2],"first":0})",
    R"({"ev":"alloc","pool":"F","req":"B","pages":[3,4],"first":0})",
    R"({"ev":"store","backend":"t","layers":[0,1,2],"unit":"slot","rows":[
        {"req":"A","slots":[4,5,6,7,8]},{"req":"B","slots":[12,13,14,15,16]}]})",
    R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[1,2]})",
    R"({"ev":"table","buffer":"b","row":1,"col":0,"pages":[3,4]})",
};

// A token of A and of B is stored and read.
Lines step_by_layer(std::int64_t len, int layers) {
  Lines lines;
  const std::string n = std::to_string(len);
  lines.push_back(R"({"ev":"lens","buffer":"l","values":[)" + n + ',' + n + "]}");
  // The last token of each stands in its second page.
  lines.push_back(R"({"ev":"slots","buffer":"s","values":[)" + std::to_string(2 * 4 + len - 5) +
                  ',' + std::to_string(4 * 4 + len - 5) + R"(],"row":0})");
  for (int layer = 0; layer < layers; ++layer) {
    const std::string of = R"("backend":"t","layer":)" + std::to_string(layer);
    lines.push_back(R"({"ev":"store",)" + of +
                    R"(,"slots":"s","unit":"slot","rows":[{"req":"A","row":0,"n":1},)"
                    R"({"req":"B","row":1,"n":1}]})");
    lines.push_back(R"({"ev":"attention",)" + of +
                    R"(,"table":"b","lens":"l","rows":[{"req":"A","row":0},{"req":"B","row":1}]})");
  }
  return lines;
}

// Two such steps of three layers, with these lines in the second one `before_end` lines from its
// end, of which the last ones are left out: what is found, and lanes that stood.
struct Layered {
  std::string found;
  std::uint64_t stood = 0;
};
Layered layered(const Lines& between, std::size_t before_end, std::size_t left_out = 0) {
  Lines lines(std::begin(kLayered), std::end(kLayered));
  for (const std::int64_t len : {6, 7}) {
    const Lines step = step_by_layer(len, 3);
    lines.insert(lines.end(), step.begin(), step.end());
  }
  const auto at = lines.end() - static_cast<long>(before_end);
  const auto next = lines.erase(at, at + static_cast<long>(left_out));
  lines.insert(next, between.begin(), between.end());
  const JudgedLines reused = judge(lines, true), anew = judge(lines, false);
  EXPECT_EQ(reused.text, anew.text);
  EXPECT_EQ(reused.covered, anew.covered);
  EXPECT_EQ(reused.digest, anew.digest);
  Layered out{.found = {}, .stood = reused.stood};
  for (const Finding& f : reused.findings) {
    out.found += (out.found.empty() ? "" : " ") + std::string(info(f.rule).name) + '@' +
                 std::to_string(f.column) + " of layer " + std::to_string(f.layer.v);
  }
  return out;
}

TEST(JudgeLayers, ALayerIsAsCleanAsTheOneBefore) {
  const Layered undisturbed = layered({}, 0);
  EXPECT_EQ(undisturbed.found, "");
  EXPECT_GE(undisturbed.stood, 6u) << "the lanes of the second step";
}

TEST(JudgeLayers, ALayerWhoseStoreIsMissingIsFound) {
  EXPECT_EQ(layered({}, 2, 1).found, "UNINIT_READ@1 of layer 2 UNINIT_READ@1 of layer 2");
  // Nor had it that of the step before.
  EXPECT_EQ(layered({}, 4, 1).found, "UNINIT_READ@1 of layer 1 UNINIT_READ@1 of layer 1");
}

TEST(JudgeLayers, ACellRewrittenBetweenLayersIsFound) {
  const std::string cell = R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[3]})";
  EXPECT_EQ(layered({cell}, 1).found, "WRONG_OWNER@0 of layer 2");
  EXPECT_EQ(layered({cell}, 3).found, "WRONG_OWNER@0 of layer 1 WRONG_OWNER@0 of layer 2");
}

TEST(JudgeLayers, ALengthRewrittenBetweenLayersIsFound) {
  EXPECT_EQ(layered({R"({"ev":"lens","buffer":"l","values":[8],"row":1})"}, 1).found,
            "UNINIT_READ@1 of layer 2");
}

TEST(JudgeLayers, APageFreedBetweenLayersIsFound) {
  EXPECT_EQ(layered({R"({"ev":"free","pool":"F","req":"A","pages":[1]})"}, 2).found,
            "FREED_PAGE@0 of layer 2");
}

TEST(JudgeLayers, APageFreedBetweenStepsIsFoundByTheSameLaunch) {
  const Lines step = step_by_layer(7, 1);
  EXPECT_EQ(
      layered({R"({"ev":"free","pool":"F","req":"A","pages":[1]})", step[2], step[3]}, 0).found,
      "FREED_PAGE@0 of layer 0");
}

TEST(JudgeLayers, AGraphThatIsLaunchedForOthersWritesTheirs) {
  Lines lines(std::begin(kLayered), std::end(kLayered));
  const Lines step = step_by_layer(6, 0);
  lines.insert(lines.end(), step.begin(), step.end());
  const std::string rows = R"("rows":[{"req":null,"row":0,"n":1},{"req":null,"row":1,"n":1}]})";
  const std::string store = R"({"ev":"store","backend":"t","slots":"s","unit":"slot",)" + rows;
  std::string launches;
  for (const char* layer : {"0", "1"}) {
    launches += (launches.empty() ? "" : ",") + store.substr(0, store.size() - 1) + R"(,"layer":)" +
                layer + '}';
  }
  lines.push_back(R"({"ev":"graph_capture","graph":"G","launches":[)" + launches + "]}");
  const auto launch = [](const std::string& first, const std::string& second) {
    return R"({"ev":"graph_launch","graph":"G","rows":[{"req":")" + first +
           R"(","row":0},{"req":")" + second + R"(","row":1}]})";
  };
  lines.push_back(launch("A", "B"));
  EXPECT_EQ(judge(lines, true).text, "");
  lines.push_back(launch("B", "A"));
  const JudgedLines reused = judge(lines, true), anew = judge(lines, false);
  EXPECT_EQ(reused.text, anew.text);
  EXPECT_EQ(reused.findings.size(), 4u) << "two lanes, two layers";
}

TEST(JudgeLayers, SlotsRewrittenBetweenLayersAreWritten) {
  // A's token goes to B's page.
  EXPECT_EQ(layered({R"({"ev":"slots","buffer":"s","values":[19],"row":0})"}, 2).found,
            "WRONG_OWNER@0 of layer 2 UNINIT_READ@1 of layer 2");
}

TEST(JudgeLayers, AnotherAttentionBetweenLayersIsJudgedAsItself) {
  const Lines window = {R"({"ev":"attention","backend":"t","layer":1,"table":"b","lens":"l",
                            "window":2,"rows":[{"req":"A","row":0},{"req":"B","row":0}]})"};
  EXPECT_EQ(layered(window, 2).found, "WRONG_OWNER@1 of layer 1");
}

// Pages of one token, as SGLang has by default: A and B have the first two, which they share, and
// three each. Then a step of two tokens each with padding beside them, layer by layer, of which
// `but` is left out.
Lines single_tokens(std::size_t but = SIZE_MAX) {
  Lines lines = {
      R"({"ev":"pool","pool":"F","pages":32,"page_size":1,"reserved":[{"page":0,"role":"pad"}]})",
      R"({"ev":"backend","backend":"t"})",
      R"({"ev":"pool_swap","backend":"t","layers":"*","pool":"F"})",
      R"({"ev":"buffer","buffer":"b","rows":2,"cols":8})",
      R"({"ev":"buffer","buffer":"l"})",
      R"({"ev":"buffer","buffer":"s"})",
      R"({"ev":"alloc","pool":"F","req":"A","pages":[1,2,3,4,5],"first":0})",
      R"({"ev":"fill","pool":"F","req":"A","pages":[1,2]})",
      R"({"ev":"share","pool":"F","req":"B","pages":[1,2],"first":0})",
      R"({"ev":"alloc","pool":"F","req":"B","pages":[6,7,8],"first":2})",
      R"({"ev":"store","backend":"t","layers":[0,1,2,3],"unit":"slot","rows":[
          {"req":"A","slots":[3,4,5]},{"req":"B","slots":[6,7,8]}]})",
      R"({"ev":"table","buffer":"b","row":0,"col":0,"pages":[1,2,3,4,5,9,10]})",
      R"({"ev":"table","buffer":"b","row":1,"col":0,"pages":[1,2,6,7,8,11,12]})",
      R"({"ev":"alloc","pool":"F","req":"A","pages":[9,10],"first":5})",
      R"({"ev":"alloc","pool":"F","req":"B","pages":[11,12],"first":5})",
      R"({"ev":"slots","buffer":"s","values":[9,10,11,12,0,0],"row":0})",
      R"({"ev":"lens","buffer":"l","values":[7,7,1]})"};
  for (const char* layer : {"0", "1", "2"}) {
    const std::string of = R"("backend":"t","layer":)" + std::string(layer);
    lines.push_back(R"({"ev":"store",)" + of +
                    R"(,"slots":"s","unit":"slot","rows":[{"req":"A","row":0,"n":2},)"
                    R"({"req":"B","row":2,"n":2},{"req":null,"row":4,"n":2}]})");
    lines.push_back(R"({"ev":"attention",)" + of +
                    R"(,"table":"b","lens":"l","rows":[{"req":"A","row":0},{"req":"B","row":1}]})");
  }
  if (but < lines.size()) lines.erase(lines.begin() + static_cast<long>(but));
  return lines;
}

JudgedLines same_either_way(const Lines& lines) {
  JudgedLines reused = judge(lines, true);
  const JudgedLines anew = judge(lines, false);
  EXPECT_EQ(reused.text, anew.text);
  EXPECT_EQ(reused.covered, anew.covered);
  EXPECT_EQ(reused.digest, anew.digest);
  return reused;
}

TEST(JudgeLayers, PagesThatAreWholeByAFrontAloneAreLookedAtOnceAFront) {
  const JudgedLines all = same_either_way(single_tokens());
  EXPECT_EQ(all.text, "");
  EXPECT_EQ(all.stood, 4u) << "the lanes of the second layer and of the third";
}

TEST(JudgeLayers, PaddingOfAnAttentionStandsToo) {
  for (const char* slot : {"0", "-1"}) {
    Lines lines = single_tokens();
    lines[15] = R"({"ev":"slots","buffer":"s","values":[9,10,11,12,)" + std::string(slot) +
                ",0],\"row\":0}";
    for (std::string& line : lines) {
      if (line.find("attention") == std::string::npos) continue;
      line.replace(line.rfind("]}"), 2, R"(,{"req":null,"row":2}]})");
    }
    const JudgedLines out = same_either_way(lines);
    EXPECT_EQ(out.text, "") << slot;
    EXPECT_EQ(out.stood, 6u) << slot;
  }
}

// Where numbers below 0 count from the end, it is another store.
TEST(JudgeLayers, AStoreThatWrapsIsNoneOfAFrontThatDoesNot) {
  Lines lines = single_tokens();
  lines[15] = R"({"ev":"slots","buffer":"s","values":[9,10,11,12,-1,0],"row":0})";
  std::string& store = lines[19];
  store.insert(store.size() - 1, R"(,"negative":"wrap")");
  EXPECT_NE(same_either_way(lines).text, "");
}

TEST(JudgeLayers, APageThatAFrontDoesNotWriteInALayerIsFound) {
  // The stores of the first, the second and the third layer.
  for (const std::size_t store : {17u, 19u, 21u}) {
    EXPECT_EQ(same_either_way(single_tokens(store)).findings.size(), 4u) << "two lanes, two pages";
  }
}

TEST(JudgeLayers, WhatAFrontWroteIsLookedAtAgainBehindIt) {
  Lines lines = single_tokens();
  const std::string attention = lines.back();
  // Of the last layer, which none of the stores wrote; then of one that they did.
  lines.push_back(R"({"ev":"request","req":"C","state":"arrive"})");
  lines.push_back(attention);
  EXPECT_EQ(same_either_way(lines).text, "");
  lines.back().replace(attention.find(R"("layer":2)"), 9, R"("layer":3)");
  EXPECT_EQ(same_either_way(lines).findings.size(), 4u);
}

TEST(JudgeLayers, ASharedPageThatIsFreedOrRewoundBetweenStepsIsFound) {
  for (const char* event : {R"({"ev":"free","pool":"F","req":"B","pages":[2]})",
                            R"({"ev":"rewind","pool":"F","req":"A","len":1})"}) {
    Lines lines = single_tokens();
    const std::string attention = lines.back();
    lines.push_back(event);
    lines.push_back(attention);
    const JudgedLines out = same_either_way(lines);
    EXPECT_FALSE(out.findings.empty()) << event;
  }
}

TEST(JudgeLayers, PaddingThatWritesElsewhereIsFoundInEachLayer) {
  Lines lines = single_tokens();
  lines[15] = R"({"ev":"slots","buffer":"s","values":[9,10,11,12,0,20],"row":0})";
  const JudgedLines out = same_either_way(lines);
  EXPECT_EQ(out.findings.size(), 3u);
  EXPECT_NE(out.text.find("PAD_LANE"), std::string::npos);
}

// As SGLang's kernels for prompts: new tokens are at hand, and of the pool those before are read.
TEST(JudgeLayers, LanesThatSayTheirLengthsStand) {
  Lines lines = single_tokens();
  for (std::string& line : lines) {
    const auto at = line.find(R"(,"lens":"l")");
    if (at == std::string::npos) continue;
    line.replace(at, line.size() - at,
                 R"(,"window":4,"rows":[{"req":"A","row":0,"len":5,"q_pos":5,"q_len":2,"n":5},)"
                 R"({"req":"B","row":1,"len":5,"q_pos":5,"q_len":2,"n":5}]})");
  }
  const JudgedLines out = same_either_way(lines);
  EXPECT_EQ(out.text, "");
  EXPECT_EQ(out.stood, 4u);
}

}  // namespace
}  // namespace pagetape
