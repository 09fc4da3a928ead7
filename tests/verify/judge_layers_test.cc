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

}  // namespace
}  // namespace pagetape
