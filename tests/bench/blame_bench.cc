// SPDX-License-Identifier: Apache-2.0
// What a look-up costs at random events of a trace with keyframes: the simulated engine's, with
// E4B's numbers, or the one that PAGETAPE_BENCH_TRACE names. Counters: milliseconds by the clock.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "capture/sim/models.h"
#include "capture/sim/synth.h"
#include "replay/compact.h"
#include "traces/reader.h"
#include "verify/blame_trace.h"

namespace pagetape {
namespace {

void check(bool good, const std::string& what) {
  if (good) return;
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

// A compacted trace of 1,400 steps, removed at the end.
class Trace {
 public:
  Trace() {
    if (const char* given = std::getenv("PAGETAPE_BENCH_TRACE")) {
      path = given;
      return;
    }
    path = std::filesystem::temp_directory_path() / "blame_bench.ptape";
    made_ = true;
    sim::Config config;
    config.model = sim::find_model("gemma4-e4b");
    config.requests = 1'000'000;
    config.concurrency = 64;
    config.steps = 1'400;
    const sim::SynthResult result = sim::synthesize(config, path + ".raw");
    check(result.error.empty(), result.error);
    std::uint64_t keyframes = 0;
    const Status status = compact_trace(path + ".raw", path, {}, kKeyframeWeight, keyframes);
    check(status.ok(), status.message());
    std::filesystem::remove(path + ".raw");
  }
  ~Trace() {
    if (made_) std::filesystem::remove(path);
  }
  std::string path;

 private:
  bool made_ = false;
};

// Random events, the same in each run; or the first graph launches behind them.
std::vector<EventIndex> random_events(const std::string& path, bool launches) {
  Names names;
  Status status;
  const std::unique_ptr<Reader> reader = Reader::open(path, names, status);
  check(reader != nullptr, status.message());
  std::vector<EventIndex> out;
  std::uint64_t state = 1;
  while (out.size() < 200) {
    state = state * 6364136223846793005 + 1442695040888963407;
    if (!reader->seek((state >> 16) % reader->events()).ok()) continue;
    Event event;
    while (reader->next(event)) {
      if (launches && !std::holds_alternative<ev::GraphLaunch>(event.body)) continue;
      out.push_back(reader->position() - 1);
      break;
    }
  }
  return out;
}

enum Asked { kEvent, kEntry, kEntryWithoutBefore };

void blame(benchmark::State& state) {
  static const Trace trace;
  const bool entry = state.range(0) != kEvent;
  Question question;
  if (entry) question.row = 3;
  question.before = state.range(0) != kEntryWithoutBefore;
  std::vector<double> times;
  for (auto _ : state) {
    for (EventIndex at : random_events(trace.path, entry)) {
      const auto begin = std::chrono::steady_clock::now();
      const BlameReport report = blame_trace(trace.path, at, question);
      const std::chrono::duration<double, std::milli> time =
          std::chrono::steady_clock::now() - begin;
      check(!entry || report.status.ok(), report.status.message());
      check(!entry || report.links.size() > 2, "a chain without links");
      times.push_back(time.count());
    }
  }
  std::ranges::sort(times);
  const auto at = [&](double q) {
    return times[static_cast<std::size_t>(q * static_cast<double>(times.size() - 1))];
  };
  state.counters["p50"] = at(0.5);
  state.counters["p99"] = at(0.99);
  state.counters["max"] = times.back();
}

BENCHMARK(blame)
    ->Arg(kEvent)
    ->Arg(kEntry)
    ->Arg(kEntryWithoutBefore)
    ->Unit(benchmark::kMillisecond)
    ->Iterations(1);

}  // namespace
}  // namespace pagetape
