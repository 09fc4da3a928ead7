// SPDX-License-Identifier: Apache-2.0
// What becomes of CUDA's calls, told by a driver that is played here.
#include "capture/cupti_source.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <regex>
#include <string>
#include <thread>
#include <vector>

namespace pagetape {
namespace {

const void* handle(std::uint64_t address) { return reinterpret_cast<const void*>(address); }

const void* const kMain = handle(0x7f00'0000'1000);
const void* const kSide = handle(0x7f00'0000'2000);
const void* const kEvent = handle(0x7f00'0000'3000);
const void* const kGraph = handle(0x7f00'0000'4000);

// The stream that is captured.
const void* captured_stream = nullptr;

constexpr DriverApi kDriver = {[](const void* stream, int* status) {
                                 *status = stream == captured_stream ? 1 : 0;
                                 return 0;
                               },
                               [](int code, const char** name) {
                                 *name = code == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS"
                                                     : "CUDA_ERROR_INVALID_VALUE";
                                 return 0;
                               },
                               [](int, const char** text) {
                                 *text = "an \"illegal\" access";
                                 return 0;
                               }};

const std::string& own_path() {
  static const std::string path = testing::TempDir() + "/cupti_own.jsonl";
  return path;
}

// The C interface, but that what the source opens is a file of the test's.
constexpr CaptureApi kCapture = {ptape_abi_version,
                                 [](const ptape_options* asked) {
                                   ptape_options options = *asked;
                                   options.path = own_path().c_str();
                                   return ptape_open(&options);
                                 },
                                 ptape_close,
                                 ptape_last_error,
                                 ptape_borrow,
                                 ptape_give_back,
                                 ptape_intern,
                                 ptape_json,
                                 ptape_kernel,
                                 ptape_graph_launch,
                                 ptape_stream,
                                 ptape_stream_wait,
                                 ptape_copied};

std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    lines.push_back(std::regex_replace(line, std::regex(R"(, "t": \d+)"), ""));
  }
  std::remove(path.c_str());
  return lines;
}

class Cupti : public testing::Test {
 protected:
  // As an engine's hooks do, of a source that opens nothing.
  void SetUp() override {
    captured_stream = nullptr;
    hooks_ = open_hooks("cupti_hooks");
    make_source(false);
    (void)ptape_stream(kMain), (void)ptape_stream(kSide);
  }
  void TearDown() override {
    if (source_ != nullptr) source_->close();
    if (hooks_ != nullptr) (void)ptape_close(hooks_);
  }

  void make_source(bool opens) {
    source_ = std::make_unique<CuptiSource>(kCapture, kDriver, opens);
  }
  ptape_recorder* open_hooks(const std::string& name) {
    path_ = testing::TempDir() + "/" + name + ".jsonl";
    ptape_options options{};
    options.size = sizeof(options);
    options.path = path_.c_str();
    options.rank = -1;
    return ptape_open(&options);
  }
  std::vector<std::string> written() {
    EXPECT_EQ(ptape_close(std::exchange(hooks_, nullptr)), PTAPE_OK) << ptape_last_error(nullptr);
    std::vector<std::string> lines = lines_of(path_);
    EXPECT_EQ(lines.back(), R"({"ev": "end"})");
    lines.pop_back();
    return lines;
  }
  void launch(const char* name, const void* stream, std::int64_t correlation = 1) {
    source_->kernel({name, {4, 2, 1}, {128, 1, 1}, stream, correlation});
  }
  // How an event of that stream ends.
  static std::string end(std::int64_t stream) {
    return ", \"stream\": " + std::to_string(stream) + "}";
  }
  static std::string end(const void* cuda_stream) { return end(ptape_stream(cuda_stream)); }

  std::unique_ptr<CuptiSource> source_;
  ptape_recorder* hooks_ = nullptr;
  std::string path_;
};

TEST_F(Cupti, AKernelIsRecordedWithWhatItWasLaunchedWith) {
  launch("decode", kMain, 7);
  launch(nullptr, nullptr);
  const std::string sizes = R"("grid": [4, 2, 1], "block": [128, 1, 1], )";
  EXPECT_EQ(
      written(),
      (std::vector<std::string>{
          R"({"ev": "kernel", "name": "decode", )" + sizes + R"("correlation": 7)" + end(kMain),
          R"({"ev": "kernel", "name": "?", )" + sizes + R"("correlation": 1)" + end(nullptr)}));
}

TEST_F(Cupti, AKernelThatIsCapturedDoesNotRun) {
  captured_stream = kSide;
  source_->capture_began();
  launch("captured", kSide);
  launch("beside", kMain);
  source_->copied(0, 64, kSide);
  source_->event_recorded(kEvent, kSide);
  captured_stream = nullptr;
  source_->capture_ended();
  source_->stream_waited(kMain, kEvent);  // Its record was captured: CUDA would refuse.
  launch("after", kSide);
  const std::vector<std::string> got = written();
  ASSERT_EQ(got.size(), 2u);
  EXPECT_NE(got[0].find("beside"), std::string::npos);
  EXPECT_NE(got[1].find("after"), std::string::npos);
}

TEST_F(Cupti, WithoutTheDriversAnswerNothingIsRecordedDuringACapture) {
  source_ = std::make_unique<CuptiSource>(kCapture, DriverApi{}, false);
  source_->capture_began();
  launch("perhaps", kMain);
  source_->capture_ended();
  source_->capture_ended();  // One that never began.
  launch("after", kMain);
  source_->returned(1, "cuLaunchKernel");
  const std::vector<std::string> got = written();
  ASSERT_EQ(got.size(), 2u);
  EXPECT_NE(got[0].find("after"), std::string::npos);
  EXPECT_NE(got[1].find(R"("name": "unknown", "message": "cuLaunchKernel: )"), std::string::npos);
}

TEST_F(Cupti, GraphsAreNotedWhereHooksRecord) {
  source_->graph_made(kGraph, true);
  source_->graph_launch(kGraph, kMain);
  EXPECT_EQ(written(), (std::vector<std::string>{
                           R"({"ev": "note", "text": "cuda_graph:1 was made"})",
                           R"({"ev": "note", "text": "cuda_graph:1 is launched")" + end(kMain)}));
}

TEST_F(Cupti, AnEventStandsForWhatItsStreamWasGivenByThen) {
  source_->stream_waited(kSide, kEvent);  // Never recorded: waits for nothing.
  source_->event_recorded(kEvent, kMain);
  source_->stream_waited(kSide, kEvent);
  source_->event_recorded(kEvent, kMain);
  source_->event_recorded(kEvent, kSide);  // What it stood for before counts no more.
  source_->stream_waited(kMain, kEvent);
  const std::int64_t first = 1 << 30, second = first + 1;
  const std::int64_t main = ptape_stream(kMain), side = ptape_stream(kSide);
  const auto wait = [](std::int64_t who, std::int64_t on) {
    return R"({"ev": "stream_wait", "on": )" + std::to_string(on) + end(who);
  };
  EXPECT_EQ(written(),
            (std::vector<std::string>{wait(first, main), wait(side, first), wait(first, main),
                                      wait(second, side), wait(main, second)}));
}

TEST_F(Cupti, ACopyOntoATableRefreshesIt) {
  const std::string buffer = R"({"ev": "buffer", "buffer": "block_tables"})";
  ASSERT_EQ(ptape_json(hooks_, buffer.data(), buffer.size()), PTAPE_OK);
  std::vector<std::int32_t> cells(8 * 16);
  ptape_table_view view{};
  view.size = sizeof(view);
  view.cells = cells.data();
  view.cell_bytes = 4;
  view.rows = 8;
  view.cols = 15;  // The last of each row is not its own.
  view.row_stride = 16;
  view.col_stride = 1;
  view.on_host = 1;
  ptape_device_table* table =
      ptape_table_open(hooks_, &view, PTAPE_PAGES, ptape_intern(hooks_, "block_tables"), 0, 0, 0);
  ASSERT_NE(table, nullptr) << ptape_last_error(nullptr);
  const auto at = reinterpret_cast<std::uint64_t>(cells.data());
  source_->copied(at + 64, 64, kMain);
  source_->copied(at - 64, 64, kMain);                // Before it.
  source_->copied(at + (7 * 16 + 15) * 4, 4, kMain);  // Behind its last cell.
  source_->copied(at + (7 * 16 + 14) * 4, 4, nullptr);
  ASSERT_EQ(ptape_table_close(table), PTAPE_OK);
  source_->copied(at, 64, kMain);
  EXPECT_EQ(written(), (std::vector<std::string>{
                           buffer, R"({"ev": "refresh", "buffer": "block_tables")" + end(kMain),
                           R"({"ev": "refresh", "buffer": "block_tables")" + end(nullptr)}));
}

TEST_F(Cupti, AnErrorThatEndsTheContextIsRecordedOnce) {
  source_->returned(0, "cuLaunchKernel");
  source_->returned(600, "cuEventQuery");  // Not ready.
  source_->returned(1, "cuMemcpyAsync");
  source_->returned(700, "cuStreamSynchronize");
  source_->returned(700, "cuLaunchKernel");
  EXPECT_EQ(written(),
            (std::vector<std::string>{
                R"({"ev": "cuda_error", "code": 1, "name": "CUDA_ERROR_INVALID_VALUE", )"
                R"("message": "cuMemcpyAsync: an 'illegal' access", "sticky": false})",
                R"({"ev": "cuda_error", "code": 700, "name": "CUDA_ERROR_ILLEGAL_ADDRESS", )"
                R"("message": "cuStreamSynchronize: an 'illegal' access", "sticky": true})"}));
}

TEST_F(Cupti, WhereNobodyRecordsItOpensARecorderOfItsOwn) {
  (void)written();
  make_source(true);
  source_->graph_made(kGraph, true);
  source_->graph_launch(kGraph, kMain);
  launch("decode", kMain);
  source_->graph_made(kGraph, true);  // The address came back: another graph.
  source_->graph_launch(kGraph, kMain);
  source_->graph_made(kGraph, false);  // It was updated.
  source_->close();
  launch("too late", kMain);
  EXPECT_EQ(lines_of(own_path()),
            (std::vector<std::string>{
                R"({"ev": "header", "format": 1, "clock": "monotonic"})",
                R"({"ev": "graph_capture", "graph": "cuda_graph:1"})",
                R"({"ev": "graph_launch", "graph": "cuda_graph:1")" + end(kMain),
                R"({"ev": "kernel", "name": "decode", "grid": [4, 2, 1], "block": [128, 1, 1], )"
                R"("correlation": 1)" +
                    end(kMain),
                R"({"ev": "graph_capture", "graph": "cuda_graph:2"})",
                R"({"ev": "graph_launch", "graph": "cuda_graph:2")" + end(kMain),
                R"({"ev": "graph_capture", "graph": "cuda_graph:2"})", R"({"ev": "end"})"}));
}

TEST_F(Cupti, HooksThatComeLaterAreJoined) {
  (void)written();
  make_source(true);
  source_->graph_made(kGraph, true);
  launch("before", kMain);
  hooks_ = open_hooks("cupti_late");
  launch("before", kMain);
  source_->graph_launch(kGraph, nullptr);
  const std::vector<std::string> got = written();
  ASSERT_EQ(got.size(), 3u);  // The graph is told again, and the name is this recorder's.
  EXPECT_NE(got[0].find(R"("name": "before")"), std::string::npos);
  EXPECT_NE(got[1].find("cuda_graph:1 was made"), std::string::npos);
  EXPECT_NE(got[2].find("cuda_graph:1 is launched"), std::string::npos);
  source_->close();
  EXPECT_EQ(lines_of(own_path()).size(), 4u);
}

TEST_F(Cupti, AfterTheHooksHaveEndedNoTraceIsBegun) {
  make_source(true);
  launch("during", kMain);
  EXPECT_EQ(written().size(), 1u);
  launch("after", kMain);
  source_->close();
  EXPECT_TRUE(lines_of(own_path()).empty());
}

TEST_F(Cupti, ThreadsRecordAtOnce) {
  constexpr int kThreads = 4, kEach = 500;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        launch(("kernel" + std::to_string(i % 50)).c_str(), handle(0x9000u + 64u * t), i);
        source_->event_recorded(handle(0xa000u + 64u * t), handle(0x9000u + 64u * t));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(written().size(), std::size_t{2} * kThreads * kEach);
}

}  // namespace
}  // namespace pagetape
