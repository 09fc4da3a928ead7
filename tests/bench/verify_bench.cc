// SPDX-License-Identifier: Apache-2.0
// What reading, applying and judging a trace cost, for 1, 10 and 100 times the work, beside a plain
// copy of the file's bytes. The trace is the simulated engine's, with E4B's numbers.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "capture/sim/models.h"
#include "capture/sim/synth.h"
#include "replay/state.h"
#include "traces/source.h"
#include "verify/verify.h"

namespace pagetape {
namespace {

// A trace of so many steps of decoding, written once and removed at the end.
class Traces {
 public:
  ~Traces() {
    for (const auto& [steps, path] : paths_) std::filesystem::remove(path);
  }
  const std::string& of(std::int64_t steps) {
    std::string& path = paths_[steps];
    if (!path.empty()) return path;
    path = std::filesystem::temp_directory_path() /
           ("verify_bench_" + std::to_string(steps) + ".ptape");
    sim::Config config;
    config.model = sim::find_model("gemma4-e4b");
    config.requests = 1'000'000;
    config.concurrency = 64;
    config.steps = steps;
    const sim::SynthResult result = sim::synthesize(config, path);
    if (!result.error.empty()) {
      std::fprintf(stderr, "%s\n", result.error.c_str());
      std::abort();
    }
    return path;
  }

 private:
  std::map<std::int64_t, std::string> paths_;
};

Traces& traces() {
  static Traces all;
  return all;
}

void copy_bytes(benchmark::State& state) {
  std::ifstream file(traces().of(state.range(0)), std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  std::vector<char> to(bytes.size());
  for (auto _ : state) {
    std::memcpy(to.data(), bytes.data(), bytes.size());
    benchmark::DoNotOptimize(to.data());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes.size()) * state.iterations());
}

// Reads all events; with `apply`, through the state machine as well.
std::int64_t read_all(const std::string& path, bool apply) {
  Names names;
  Status status;
  std::unique_ptr<Source> source = open_trace(path, names, status);
  State machine(names);
  Event event;
  std::int64_t events = 0;
  while (source->next(event)) {
    ++events;
    if (apply && !machine.apply(event).applied()) std::abort();
  }
  return events;
}

void read(benchmark::State& state) {
  std::int64_t events = 0;
  for (auto _ : state) events += read_all(traces().of(state.range(0)), false);
  state.SetItemsProcessed(events);
}

void read_and_apply(benchmark::State& state) {
  std::int64_t events = 0;
  for (auto _ : state) events += read_all(traces().of(state.range(0)), true);
  state.SetItemsProcessed(events);
}

void verify(benchmark::State& state) {
  std::int64_t events = 0, launches = 0;
  for (auto _ : state) {
    const Report report = verify_trace(traces().of(state.range(0)), {});
    if (report.exit_code() != 0) std::abort();
    events += static_cast<std::int64_t>(report.events);
    launches += static_cast<std::int64_t>(report.launches);
  }
  state.SetItemsProcessed(events);
  state.counters["launches/s"] =
      benchmark::Counter(static_cast<double>(launches), benchmark::Counter::kIsRate);
}

BENCHMARK(copy_bytes)->Arg(140)->Arg(1'400)->Arg(14'000);
BENCHMARK(read)->Arg(140)->Arg(1'400)->Arg(14'000)->Unit(benchmark::kMillisecond);
BENCHMARK(read_and_apply)->Arg(140)->Arg(1'400)->Arg(14'000)->Unit(benchmark::kMillisecond);
BENCHMARK(verify)->Arg(140)->Arg(1'400)->Arg(14'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace pagetape
