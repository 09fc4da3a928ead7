// SPDX-License-Identifier: Apache-2.0
// What reading, applying and judging a trace cost, for 1, 10 and 100 times the work, beside a plain
// copy of the file's bytes. The trace is the simulated engine's, with E4B's numbers. Counters:
//   of_read     the time over that of a plain read of the file, from the system's cache
//   growth      the time over that of the smallest trace
//   file_bytes  of the trace
//   peak_MiB    of the process's memory meanwhile
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <ctime>
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

constexpr std::int64_t kLeastSteps = 140;

// CPU time of this thread, s.
double now() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

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

// Of a plain read of the file, in the mean of as many as take a while.
double seconds_to_read(const std::string& path) {
  std::vector<char> to(1u << 20);
  int runs = 0;
  const double begin = now();
  for (; now() - begin < 0.05; ++runs) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) std::abort();
    while (::read(file, to.data(), to.size()) > 0) {
    }
    ::close(file);
  }
  return (now() - begin) / runs;
}

// The most memory that the process has had since forget_peak().
void forget_peak() {
  ::malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";
}
double peak_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word != "VmHWM:") continue;
    double kib = 0;
    status >> kib;
    return kib / 1024;
  }
  return 0;
}

// Does work(path of the trace) as often as it takes.
template <class F>
void measure(benchmark::State& state, const char* name, F&& work) {
  const std::string& path = traces().of(state.range(0));
  forget_peak();
  const double begin = now();
  for (auto _ : state) work(path);
  const double seconds = (now() - begin) / static_cast<double>(state.iterations());
  state.counters["peak_MiB"] = peak_mib();
  state.counters["of_read"] = seconds / seconds_to_read(path);
  state.counters["file_bytes"] = static_cast<double>(std::filesystem::file_size(path));
  static std::map<std::string, double> least;
  if (state.range(0) == kLeastSteps) least[name] = seconds;
  if (least.contains(name)) state.counters["growth"] = seconds / least[name];
}

void copy_bytes(benchmark::State& state) {
  std::ifstream file(traces().of(state.range(0)), std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  std::vector<char> to(bytes.size());
  measure(state, "copy_bytes", [&](const std::string&) {
    std::memcpy(to.data(), bytes.data(), bytes.size());
    benchmark::DoNotOptimize(to.data());
    benchmark::ClobberMemory();
  });
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
  measure(state, "read", [&](const std::string& path) { events += read_all(path, false); });
  state.SetItemsProcessed(events);
}

void read_and_apply(benchmark::State& state) {
  std::int64_t events = 0;
  measure(state, "read_and_apply",
          [&](const std::string& path) { events += read_all(path, true); });
  state.SetItemsProcessed(events);
}

void verify(benchmark::State& state) {
  std::int64_t events = 0, launches = 0;
  measure(state, "verify", [&](const std::string& path) {
    const Report report = verify_trace(path, {});
    if (report.exit_code() != 0) std::abort();
    events += static_cast<std::int64_t>(report.events);
    launches += static_cast<std::int64_t>(report.launches);
  });
  state.SetItemsProcessed(events);
  state.counters["launches/s"] =
      benchmark::Counter(static_cast<double>(launches), benchmark::Counter::kIsRate);
}

void steps(benchmark::internal::Benchmark* bench) {
  for (const std::int64_t times : {1, 10, 100}) bench->Arg(times * kLeastSteps);
}

BENCHMARK(copy_bytes)->Apply(steps);
BENCHMARK(read)->Apply(steps)->Unit(benchmark::kMillisecond);
BENCHMARK(read_and_apply)->Apply(steps)->Unit(benchmark::kMillisecond);
BENCHMARK(verify)->Apply(steps)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace pagetape
