// SPDX-License-Identifier: Apache-2.0
// Variants of a recording: what is read under each, and how far outputs are off.
#include "verify/what_if.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "capture/sim/synth.h"

namespace pagetape {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

class WhatIfTest : public ::testing::Test {
 protected:
  ~WhatIfTest() override {
    std::remove(path_.c_str());
    std::remove(edits_.c_str());
  }

  void synth(const char* bug) {
    sim::Config config;
    config.model = sim::find_model("tiny");
    config.bug = sim::find_bug(bug)->bug;
    ASSERT_EQ(sim::synthesize(config, path_).error, "");
  }
  WhatIfReport run(const std::vector<std::string>& words, const ReplayOptions& options = {}) {
    std::vector<Variant> variants;
    for (const std::string& word : words) {
      EXPECT_TRUE(make_variant(word, variants.emplace_back()).ok()) << word;
    }
    const auto machine = make_cpu_machine(2);
    return what_if(path_, variants, options, *machine);
  }
  VariantReport run_one(const std::string& word) {
    const WhatIfReport report = run({word});
    EXPECT_TRUE(report.status.ok()) << report.status.message();
    return report.variants.at(0);
  }
  const std::string& edits(const std::string& lines) {
    std::ofstream(edits_) << lines;
    return edits_;
  }

  std::string path_ = testing::TempDir() + "/what_if_test.trace";
  std::string edits_ = testing::TempDir() + "/what_if_test.edits";
};

TEST_F(WhatIfTest, TheDefectReadsOutsideAndTheClampReadsWrongPagesInstead) {
  synth("stale-swa");
  const VariantReport none = run_one("none"), clamp = run_one("clamp");
  EXPECT_GT(none.oob_reads, 0u);
  EXPECT_GT(none.wrong_reads, 0u);
  EXPECT_EQ(clamp.oob_reads, 0u);
  EXPECT_EQ(clamp.wrong_reads, none.oob_reads + none.wrong_reads);
  EXPECT_EQ(clamp.affected, none.affected);
  EXPECT_EQ(clamp.errors.count(), clamp.affected);
  EXPECT_GT(clamp.errors.quantile(0.5), 0.01);
}

TEST_F(WhatIfTest, CountingAloneCountsTheSame) {
  synth("stale-swa");
  const VariantReport whole = run_one("none");
  Variant none;
  ASSERT_TRUE(make_variant("none", none).ok());
  VariantReport counted;
  ASSERT_TRUE(count_reads(path_, none, {}, counted).ok());
  EXPECT_EQ(counted.oob_reads, whole.oob_reads);
  EXPECT_EQ(counted.wrong_reads, whole.wrong_reads);
  EXPECT_EQ(counted.first, whole.first);
  EXPECT_EQ(counted.errors.count(), 0u);
}

TEST_F(WhatIfTest, StopsWhereItIsTold) {
  synth("stale-swa");
  Variant none;
  ASSERT_TRUE(make_variant("none", none).ok());
  VariantReport out;
  const Status status = count_reads(
      path_, none, [](std::uint64_t) { return false; }, out);
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(out.oob_reads, 0u);
}

TEST_F(WhatIfTest, TheWholeRepairIsCleanOfBoth) {
  synth("stale-swa");
  for (const char* word : {"swap-swa-state", "resolve-per-call"}) {
    const VariantReport v = run_one(word);
    EXPECT_EQ(v.oob_reads + v.wrong_reads + v.affected + v.requests, 0u) << word;
    EXPECT_FALSE(v.first.has_value()) << word;
    EXPECT_GT(v.queries, 100u) << word;
  }
}

TEST_F(WhatIfTest, EachPartOfTheRepairIsNeeded) {
  synth("stale-swa");
  const VariantReport none = run_one("none"), flags = run_one("swap-swa-state-flags"),
                      buffer = run_one("swap-swa-state-buffer"),
                      graph = run_one("swap-swa-state-graph");
  // Graphs do most of the reading, and freeze the full table without the one or the other.
  EXPECT_GT(buffer.oob_reads, 0u);
  EXPECT_EQ(buffer.oob_reads, graph.oob_reads);
  EXPECT_LE(graph.oob_reads, none.oob_reads);
  // Without the flags they read a table that nobody writes: page 0, all zeros.
  EXPECT_GT(flags.wrong_reads, none.wrong_reads);
  EXPECT_DOUBLE_EQ(flags.errors.max(), 1.0);
}

TEST_F(WhatIfTest, AHealthyRunStaysHealthy) {
  synth("none");
  for (const char* word : {"none", "clamp", "swap-swa-state", "swap-swa-state-graph"}) {
    const VariantReport v = run_one(word);
    EXPECT_EQ(v.oob_reads + v.wrong_reads, 0u) << word;
  }
}

TEST_F(WhatIfTest, ThreadsAndMemoryChangeNoFigure) {
  synth("stale-swa");
  ReplayOptions options;
  options.memory = 1;
  options.executor.chunk_shift = 5;
  const std::string json = what_if_json(run({"none", "clamp"}));
  EXPECT_EQ(json, what_if_json(run({"none", "clamp"}, options)));
  const Json parsed = Json::parse(json);
  EXPECT_EQ(parsed["variants"][1]["name"], "clamp");
  EXPECT_EQ(parsed["variants"][1]["oob_reads"], 0);
  EXPECT_GT(parsed["variants"][1]["rel_err"]["p99"], parsed["variants"][1]["rel_err"]["median"]);
}

// One request whose window pool is read with an id of the full pool, without a graph.
constexpr const char* kEager = R"({"ev": "pool", "pool": "F", "pages": 32, "page_size": 16}
{"ev": "pool", "pool": "S", "pages": 8, "page_size": 16}
{"ev": "map", "map": "F>S", "from": "F", "to": "S", "unit": "page"}
{"ev": "backend", "backend": "d", "role": "draft"}
{"ev": "pool_swap", "backend": "d", "layers": "*", "pool": "S"}
{"ev": "swa_state", "backend": "d", "uses_swa": false, "swa_pool": null, "derived_from": "F"}
{"ev": "alloc", "pool": "F", "req": "r", "pages": [9, 5], "first": 0}
{"ev": "alloc", "pool": "S", "req": "r", "pages": [3, 4], "first": 0}
{"ev": "map_set", "map": "F>S", "pairs": [[9, 3], [5, 4]]}
{"ev": "fill", "pool": "S", "req": "r", "pages": [3, 4]}
{"ev": "attention", "backend": "d", "layer": 0, "space": "F", "rows": [)"
                               R"({"req": "r", "len": 20, "pages": [9, 5]}]}
)";

TEST_F(WhatIfTest, PartsThatConcernGraphsDoNotApplyWhereNoneIsRecorded) {
  std::ofstream(path_) << kEager;
  EXPECT_EQ(run_one("none").oob_reads, 1u);
  EXPECT_EQ(run_one("none").wrong_reads, 1u);
  EXPECT_EQ(run_one("swap-swa-state").oob_reads, 0u);
  EXPECT_EQ(run_one("swap-swa-state-flags").oob_reads, 1u);
  const WhatIfReport report = run({"swap-swa-state-graph"});
  EXPECT_EQ(report.variants[0].not_applicable, "no graph is recorded");
  EXPECT_THAT(what_if_text(report), HasSubstr("not applicable"));
  EXPECT_TRUE(Json::parse(what_if_json(report))["variants"][0]["oob_reads"].is_null());
}

TEST_F(WhatIfTest, AFileOfEditsChangesFields) {
  std::ofstream(path_) << kEager;
  const auto rows = [](const char* pages) {
    return std::string(R"({"at": 10, "set": {"space": "S", "rows": [{"req": "r", "len": 20, )") +
           R"("pages": )" + pages + "}]}}\n";
  };
  const VariantReport right = run_one(edits(rows("[3, 4]")));
  EXPECT_EQ(right.oob_reads + right.wrong_reads, 0u);
  const VariantReport wrong = run_one(edits(rows("[4, 4]")));
  EXPECT_EQ(wrong.oob_reads, 0u);
  EXPECT_EQ(wrong.wrong_reads, 1u);
  EXPECT_EQ(run_one(edits(R"({"at": 10, "drop": true})")).queries, 0u);
  const std::string clear =
      R"({"at": 10, "insert": {"ev": "pool_swap", "backend": "d", "layers": "*", "pool": "F"}})";
  EXPECT_EQ(run_one(edits(clear)).oob_reads, 0u);
}

TEST_F(WhatIfTest, AnEditInErrorSaysWhichAndWhy) {
  std::ofstream(path_) << kEager;
  Variant variant;
  EXPECT_THAT(make_variant(edits("{\"at\": 1}\n"), variant).message(), HasSubstr(":1: expected"));
  EXPECT_THAT(make_variant(edits("\n{\"at\": -1}\n"), variant).message(), HasSubstr(":2: \"at\""));
  EXPECT_THAT(make_variant("swap-swa-flags", variant).message(), HasSubstr("neither a file"));
  for (const auto& [line, said] : {
           std::pair{R"({"at": 10, "set": {"layer": "x", "layers": [1]}})", "edit at event 10"},
           {R"({"at": 10, "insert": {"ev": "free_count", "pool": "Q", "free": 1}})", "inserts"},
           {R"({"at": 10, "insert": {"ev": "nonsense"}})", "unknown event"},
       }) {
    const WhatIfReport report = run({edits(line)});
    EXPECT_THAT(report.status.message(), HasSubstr(said));
  }
}

TEST_F(WhatIfTest, ADamagedTraceEndsWithItsStatus) {
  std::ofstream(path_) << kEager << "{\"ev\": \"alloc\", \"pool\": 3}\n";
  EXPECT_THAT(run({"none"}).status.message(), HasSubstr(":12"));
}

TEST(ErrorHistogramTest, QuantilesAreThoseOfWhatWasAdded) {
  ErrorHistogram histogram;
  EXPECT_EQ(histogram.quantile(0.5), 0.0);
  for (int i = 1; i <= 1000; ++i) histogram.add(i / 1000.0);
  EXPECT_NEAR(histogram.quantile(0.5), 0.5, 0.5 / 1000);
  EXPECT_NEAR(histogram.quantile(0.99), 0.99, 0.99 / 1000);
  EXPECT_EQ(histogram.max(), 1.0);
  EXPECT_EQ(histogram.count(), 1000u);
}

}  // namespace
}  // namespace pagetape
