// SPDX-License-Identifier: Apache-2.0
// What a seek costs anywhere in a trace with keyframes, beside reading and applying as many events
// as lie between two of them. PAGETAPE_BENCH_TRACE names a compacted trace; without it, one of the
// simulated engine is made: 14,000 steps of E4B, a tenth of an hour.
#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "capture/sim/models.h"
#include "capture/sim/synth.h"
#include "replay/compact.h"
#include "replay/timeline.h"

namespace pagetape {
namespace {

// CPU time of this thread: what a seek takes where no one else wants the core.
double now_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::abort();
}

// The trace with keyframes; removed at the end where it was made.
class Compacted {
 public:
  Compacted() {
    if (const char* given = std::getenv("PAGETAPE_BENCH_TRACE")) {
      path_ = given;
      return;
    }
    made_ = true;
    const std::filesystem::path folder = std::filesystem::temp_directory_path();
    path_ = folder / "timeline_bench.ptape";
    const std::string bare = folder / "timeline_bench_bare.ptape";
    sim::Config config;
    config.model = sim::find_model("gemma4-e4b");
    config.requests = 1'000'000;
    config.concurrency = 64;
    config.steps = 14'000;
    const sim::SynthResult result = sim::synthesize(config, bare);
    if (!result.error.empty()) give_up(result.error);
    std::uint64_t keyframes = 0;
    const Status status = compact_trace(bare, path_, {}, kKeyframeWeight, keyframes);
    std::filesystem::remove(bare);
    if (!status.ok()) give_up(status.message());
  }
  ~Compacted() {
    if (made_) std::filesystem::remove(path_);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool made_ = false;
};

const std::string& trace() {
  static const Compacted compacted;
  return compacted.path();
}

std::unique_ptr<Timeline> opened(Names& names, std::uint64_t memory) {
  Status status;
  auto timeline = Timeline::open(trace(), names, {.memory = memory}, status);
  if (timeline == nullptr) give_up(status.message());
  return timeline;
}

class Random {
 public:
  std::uint64_t below(std::uint64_t n) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ >> 33) % n;
  }

 private:
  std::uint64_t state_ = 1;
};

void report(benchmark::State& state, std::vector<double> ms) {
  std::ranges::sort(ms);
  const auto at = [&](std::size_t percent) { return ms[(ms.size() - 1) * percent / 100]; };
  state.counters["p50_ms"] = at(50);
  state.counters["p99_ms"] = at(99);
  state.counters["max_ms"] = ms.back();
}

// 500 seeks. `memory` 0: nothing is kept on the way, each is as the first.
void seek_anywhere(benchmark::State& state, std::uint64_t memory) {
  for (auto _ : state) {
    Names names;
    const auto timeline = opened(names, memory);
    Random random;
    std::vector<double> ms;
    for (int i = 0; i < 500; ++i) {
      const EventIndex to = random.below(timeline->end());
      const double begin = now_ms();
      if (!timeline->seek(to).ok()) give_up("a seek failed");
      ms.push_back(now_ms() - begin);
    }
    report(state, std::move(ms));
    state.counters["kept_MiB"] = static_cast<double>(timeline->kept_bytes() >> 10) / 1024;
  }
}

// 500 steps back, one after another, from the middle.
void step_back(benchmark::State& state) {
  for (auto _ : state) {
    Names names;
    const auto timeline = opened(names, std::uint64_t{256} << 20);
    if (!timeline->seek(timeline->end() / 2).ok()) give_up("a seek failed");
    std::vector<double> ms;
    for (int i = 0; i < 500; ++i) {
      const double begin = now_ms();
      timeline->back();
      ms.push_back(now_ms() - begin);
    }
    report(state, std::move(ms));
  }
}

// Going forward over as many events as lie between two keyframes: what a seek to the last of them
// cannot do without.
void between_keyframes(benchmark::State& state) {
  Names names;
  Status status;
  const auto source = open_trace(trace(), names, status);
  if (source == nullptr || source->keyframes().size() < 2) give_up("no keyframes");
  const std::uint64_t events = source->events() / (source->keyframes().size() + 1);
  for (auto _ : state) {
    const auto timeline = opened(names, 0);
    if (!timeline->seek(timeline->end() / 2).ok()) give_up("a seek failed");
    const double begin = now_ms();
    for (std::uint64_t i = 0; i < events; ++i) timeline->step();
    state.counters["ms"] = now_ms() - begin;
    state.counters["events"] = static_cast<double>(events);
  }
}

// The parts of a seek that do not depend on the distance.
void load_state(benchmark::State& state) {
  Names names;
  const auto timeline = opened(names, 0);
  if (!timeline->seek(timeline->end() / 2).ok()) give_up("a seek failed");
  const std::string bytes = timeline->state().save();
  State loaded(names);
  for (auto _ : state) {
    if (!loaded.load(bytes, names).ok()) give_up("a state failed to load");
  }
  state.counters["KiB"] = static_cast<double>(bytes.size() >> 10);
}

void save_state(benchmark::State& state) {
  Names names;
  const auto timeline = opened(names, 0);
  if (!timeline->seek(timeline->end() / 2).ok()) give_up("a seek failed");
  for (auto _ : state) benchmark::DoNotOptimize(timeline->state().save());
}

BENCHMARK_CAPTURE(seek_anywhere, cold, 0)->Iterations(1)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(seek_anywhere, 256_MiB, std::uint64_t{256} << 20)
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);
BENCHMARK(step_back)->Iterations(1)->Unit(benchmark::kMillisecond);
BENCHMARK(between_keyframes)->Iterations(3)->Unit(benchmark::kMillisecond);
BENCHMARK(load_state)->Unit(benchmark::kMillisecond);
BENCHMARK(save_state)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace pagetape
