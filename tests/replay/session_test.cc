// SPDX-License-Identifier: Apache-2.0
// A replay as a whole, on the CPU. That a GPU gives the same bits is cuda_machine_test's.
#include "replay/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <set>
#include <sstream>

#include "capture/sim/synth.h"
#include "verify/verify.h"

namespace pagetape {
namespace {

using ::testing::HasSubstr;

class SessionTest : public ::testing::Test {
 protected:
  ~SessionTest() override { std::remove(path_.c_str()); }

  const std::string& synth(const char* bug) {
    sim::Config config;
    config.model = sim::find_model("tiny");
    config.bug = sim::find_bug(bug)->bug;
    EXPECT_EQ(sim::synthesize(config, path_).error, "");
    return path_;
  }
  const std::string& text(const std::string& lines) {
    std::ofstream(path_) << lines;
    return path_;
  }
  ReplayReport replay(const ReplayOptions& options = {}, unsigned threads = 2) {
    const auto machine = make_cpu_machine(threads);
    return replay_trace(path_, options, *machine);
  }

  std::string path_ = testing::TempDir() + "/session_test.trace";
};

// A use of an id that is wrong: event, launch in a graph, row, column, id. Once a layer.
using Use = std::tuple<EventIndex, std::int64_t, std::int64_t, std::int64_t, std::int64_t>;

// What the verifier says of the ids that attention reads.
std::multiset<Use> judged(const std::string& path) {
  VerifyOptions options;
  options.judge.max_findings = 0;
  std::multiset<Use> uses;
  for (const Finding& f : verify_trace(path, options).findings) {
    const bool of_ids =
        f.rule == Rule::kOobPage || f.rule == Rule::kFreedPage || f.rule == Rule::kWrongOwner;
    if (of_ids && f.column >= 0) uses.insert({f.event, f.launch, f.row, f.column, f.page});
  }
  return uses;
}

std::multiset<Use> found(const ReplayReport& report) {
  std::multiset<Use> uses;
  for (const ReplayFinding& f : report.findings) {
    for (std::uint32_t layer = 0; layer < f.layers; ++layer) {
      uses.insert({f.event, f.launch, f.row, f.column, f.id});
    }
  }
  return uses;
}

TEST_F(SessionTest, ACleanRunHasNoFindingAndNothingLeftOut) {
  synth("none");
  const ReplayReport report = replay();
  EXPECT_TRUE(report.status.ok()) << report.status.message();
  EXPECT_TRUE(report.findings.empty());
  EXPECT_TRUE(report.not_executed.empty());
  EXPECT_TRUE(report.assumed.empty());
  EXPECT_GT(report.launches, 1000u);
  EXPECT_NE(report.digest, 0u);
}

TEST_F(SessionTest, MemoryThreadsAndChunksChangeNoBit) {
  synth("none");
  const ReplayReport first = replay();
  ReplayOptions options;
  options.memory = 1;  // A layer at a time.
  options.executor.chunk_shift = 5;
  const ReplayReport again = replay(options, 5);
  EXPECT_EQ(first.passes, 1);
  EXPECT_GT(again.passes, 4);
  EXPECT_EQ(first.steps, again.steps);
  EXPECT_EQ(first.digest, again.digest);
  EXPECT_EQ(first.launches, again.launches);
}

// A machine that others have filled.
struct FullMachine final : Machine {
  std::string_view name() const override { return "full"; }
  std::size_t room() const override { return 1; }
  void* allocate(std::size_t) override { return nullptr; }
  void* allocate_visible(std::size_t) override { return nullptr; }
  void release(void*) override {}
  void upload(void*, const void*, std::size_t) override {}
  void download(void*, const void*, std::size_t) override {}
  void clear(void*, std::size_t) override {}
  void store(const StoreArgs&) override {}
  void copy(const CopyArgs&) override {}
  std::int32_t tile_rows(const AttentionArgs&, const std::vector<AttentionLane>&) const override {
    return 1;
  }
  void attend(const AttentionArgs&) override {}
  Status finish() override { return {}; }
};

TEST_F(SessionTest, WhereTheMachineFailsTheCpuDoesTheWorkIfItMay) {
  synth("none");
  const auto work = [&](Machine& machine) { return replay_trace(path_, {}, machine); };
  std::string told;
  const auto tell = [&](const Status& why) { told += why.message(); };
  std::unique_ptr<Machine> machine = std::make_unique<FullMachine>();
  const ReplayReport failed = work_on(machine, false, 2, work, tell);
  EXPECT_EQ(failed.status.code(), Code::kSystem);
  EXPECT_THAT(failed.status.message(), HasSubstr("full: not enough memory"));
  EXPECT_EQ(told, "");
  const ReplayReport done = work_on(machine, true, 2, work, tell);
  EXPECT_TRUE(done.status.ok()) << done.status.message();
  EXPECT_EQ(done.digest, replay().digest);
  EXPECT_EQ(told, failed.status.message());
  EXPECT_EQ(machine->name(), "cpu");
}

TEST_F(SessionTest, AFaultOfTheTraceIsNoReasonForAnotherMachine) {
  text("{\"ev\":\"step\"}\n");
  int times = 0;
  std::unique_ptr<Machine> machine = std::make_unique<FullMachine>();
  const auto work = [&](Machine& on) {
    ++times;
    return replay_trace(path_, {}, on);
  };
  EXPECT_EQ(work_on(machine, true, 2, work, [](const Status&) {}).status.code(), Code::kUsage);
  EXPECT_EQ(times, 1);
}

TEST_F(SessionTest, LayersAddUpAndSeedsDiffer) {
  synth("none");
  const ReplayReport all = replay();
  ReplayOptions options;
  options.executor.seed = 2;
  EXPECT_NE(replay(options).digest, all.digest);
  options = {};
  std::uint64_t launches = 0;
  for (std::int32_t layer = 0; layer < 6; ++layer) {
    options.layers = {layer};
    const ReplayReport one = replay(options);
    EXPECT_THAT(one.digest_name, HasSubstr("layers " + std::to_string(layer)));
    launches += one.launches;
  }
  EXPECT_EQ(launches, all.launches);
}

TEST_F(SessionTest, FindsOnTheMachineWhatTheVerifierJudges) {
  for (const char* bug : {"stale-swa", "clamp", "none"}) {
    synth(bug);
    const std::multiset<Use> uses = judged(path_);
    EXPECT_EQ(found(replay()), uses) << bug;
    EXPECT_EQ(uses.empty(), std::string(bug) == "none") << bug;
  }
}

TEST_F(SessionTest, AWrongPageChangesWhatIsComputedFromThereOn) {
  synth("none");
  const ReplayReport good = replay();
  ReplayOptions options;
  options.lanes = true;
  synth("stale-swa");
  const ReplayReport bad = replay(options);
  ASSERT_FALSE(bad.findings.empty());
  EXPECT_FALSE(bad.lanes.empty());
  options.executor.on_oob = OnOob::kClamp;
  const ReplayReport clamped = replay(options);
  EXPECT_GE(clamped.findings.size(), bad.findings.size());
  EXPECT_NE(clamped.digest, bad.digest);
}

// One request of 20 tokens on pages of 16, read in one launch.
std::string trace_of(const std::string& geometry, const std::string& lane) {
  return R"({"ev": "pool", "pool": "P", "pages": 8, "page_size": 16)" + geometry + R"(}
{"ev": "backend", "backend": "b"}
{"ev": "pool_swap", "backend": "b", "layers": "*", "pool": "P"}
{"ev": "alloc", "pool": "P", "req": "r", "pages": [3, 5], "first": 0}
{"ev": "fill", "pool": "P", "req": "r", "pages": [3], "layers": [0]}
{"ev": "store", "backend": "b", "layer": 0, "rows": [{"req": "r", "slots": [80, 81, 82, 83]}]}
{"ev": "attention", "backend": "b", "layer": 0, "rows": [)" +
         lane + R"(]}
)";
}

TEST_F(SessionTest, ContentsFollowTheSequenceNotThePage) {
  const std::string geometry = R"(, "kv_heads": 2, "head_dim": 64)";
  text(trace_of(geometry, R"({"req": "r", "len": 20, "pages": [3, 5]})"));
  const std::uint64_t digest = replay().digest;
  std::string moved = trace_of(geometry, R"({"req": "r", "len": 20, "pages": [6, 1]})");
  const auto swap = [&](const std::string& from, const std::string& to) {
    for (std::size_t at = 0; (at = moved.find(from, at)) != moved.npos; at += to.size()) {
      moved.replace(at, from.size(), to);
    }
  };
  swap("[3, 5]", "[6, 1]");
  swap("\"pages\": [3]", "\"pages\": [6]");
  swap("[80, 81, 82, 83]", "[16, 17, 18, 19]");
  text(moved);
  const ReplayReport report = replay();
  EXPECT_TRUE(report.findings.empty());
  EXPECT_EQ(report.digest, digest);
}

TEST_F(SessionTest, SaysWhatItAssumesAndWhatItDoesNotExecute) {
  const std::string lane = R"({"req": "r", "len": 20, "pages": [3, 5]})";
  text(trace_of("", lane));
  const ReplayReport assumed = replay();
  EXPECT_THAT(assumed.assumed, ::testing::ElementsAre("P"));
  EXPECT_EQ(assumed.launches, 1u);
  text(trace_of(R"(, "kv_heads": 2, "head_dim": 84)", lane));
  const ReplayReport refused = replay();
  EXPECT_EQ(refused.launches, 0u);
  ASSERT_EQ(refused.not_executed.size(), 1u);
  EXPECT_THAT(refused.not_executed.begin()->first, HasSubstr("heads of 84"));
  EXPECT_EQ(refused.not_executed.begin()->second.first, 6u);
}

// Every rank has pools and pages of its own, under the same names.
TEST_F(SessionTest, RanksAreExecutedApart) {
  const std::string geometry = R"(, "kv_heads": 2, "head_dim": 64)";
  const std::string right = trace_of(geometry, R"({"req": "r", "len": 20, "pages": [3, 5]})");
  const std::string wrong = trace_of(geometry, R"({"req": "r", "len": 20, "pages": [3, 7]})");
  const auto both = [&](const std::string& first, const std::string& second) {
    std::istringstream a(first), b(second);
    std::string out, line;
    while (std::getline(a, line)) {
      out += R"({"rank": 0, )" + line.substr(1) + '\n';
      std::getline(b, line);
      out += R"({"rank": 1, )" + line.substr(1) + '\n';
    }
    return out;
  };
  text(right);
  const ReplayReport alone = replay();
  text(both(right, right));
  const ReplayReport clean = replay();
  EXPECT_EQ(clean.launches, 2 * alone.launches);
  EXPECT_TRUE(clean.findings.empty());
  text(both(right, wrong));
  const ReplayReport report = replay();
  EXPECT_EQ(report.launches, 2u);
  ASSERT_EQ(report.findings.size(), 1u);
  EXPECT_EQ(report.findings[0].event, 13u);  // The last one, which is rank 1's.
  EXPECT_EQ(found(report), judged(path_));
  EXPECT_NE(report.digest, clean.digest);
}

// Their heads have 16 numbers: fewer than any kernel's.
TEST_F(SessionTest, ExecutesTheRecordedRunsOfAnEngine) {
  const auto machine = make_cpu_machine();
  const std::string defect = "traces/golden/sglang-0.5.19-defect.ptape";
  const ReplayReport bad = replay_trace(defect, {}, *machine);
  EXPECT_EQ(bad.launches, 200u);
  EXPECT_TRUE(bad.not_executed.empty());
  EXPECT_FALSE(bad.findings.empty());
  EXPECT_EQ(found(bad), judged(defect));
  const ReplayReport good = replay_trace("traces/golden/sglang-0.5.20-fixed.ptape", {}, *machine);
  EXPECT_EQ(good.launches, 200u);
  EXPECT_TRUE(good.not_executed.empty());
  EXPECT_TRUE(good.findings.empty());
}

TEST_F(SessionTest, HostileNumbersCostNoMemory) {
  text(R"({"ev": "pool", "pool": "P", "pages": 2147483647, "page_size": 16}
{"ev": "backend", "backend": "b"}
{"ev": "pool_swap", "backend": "b", "layers": "*", "pool": "P"}
{"ev": "alloc", "pool": "P", "req": "r", "pages": [2147483646], "first": 0}
{"ev": "store", "backend": "b", "layer": 0, "rows": [{"req": "r", "slots": [34359738336]}]}
{"ev": "attention", "backend": "b", "layer": 0,)"
       R"( "rows": [{"req": "r", "len": 140000000000, "pages": [2147483646]}]}
{"ev": "attention", "backend": "b", "layer": 0,)"
       R"( "rows": [{"req": "r", "len": 1, "pages": [2147483646]}]}
)");
  const ReplayReport report = replay();
  EXPECT_TRUE(report.status.ok()) << report.status.message();
  EXPECT_EQ(report.launches, 0u);
  EXPECT_FALSE(report.not_executed.empty());
}

TEST_F(SessionTest, AFileThatCannotBeReadOrAppliedIsAnError) {
  path_ = testing::TempDir() + "/no_such.trace";
  EXPECT_FALSE(replay().status.ok());
  text(R"({"ev": "alloc", "pool": "P", "req": "r", "pages": [1]})");
  EXPECT_THAT(replay().status.message(), HasSubstr("undeclared_pool"));
}

}  // namespace
}  // namespace pagetape
