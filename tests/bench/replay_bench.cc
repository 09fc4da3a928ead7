// SPDX-License-Identifier: Apache-2.0
// What the replay of some recorded seconds costs, and where its time goes: the state machine and
// the plans of the launches, the calls of the machine, and waiting for it. The trace is one given,
// or the simulated engine's with E4B's numbers.
//   replay_bench [cuda|cpu [TRACE [MIB_OF_K_AND_V]]]
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "capture/sim/models.h"
#include "capture/sim/synth.h"
#include "replay/session.h"
#include "traces/source.h"

namespace pagetape {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

enum Call : std::size_t { kMemory, kTransfer, kStore, kAttend, kFinish, kCalls };
constexpr std::array<const char*, kCalls> kCallNames = {"memory", "transfers", "stores, copies",
                                                        "attention", "waiting"};

struct Tally {
  Clock::duration took{};
  std::uint64_t calls = 0;
};

struct Timer {
  explicit Timer(Tally& tally) : to(tally) {}
  ~Timer() {
    to.took += Clock::now() - start;
    ++to.calls;
  }
  Tally& to;
  const Clock::time_point start = Clock::now();
};

// A machine that adds up what its calls take. A GPU's return before the work is done, but finish().
class TimedMachine final : public Machine {
 public:
  explicit TimedMachine(std::unique_ptr<Machine> machine) : machine_(std::move(machine)) {}

  std::string_view name() const override { return machine_->name(); }
  std::size_t room() const override { return machine_->room(); }
  void* allocate(std::size_t bytes) override {
    const Timer timer(tallies[kMemory]);
    return machine_->allocate(bytes);
  }
  void* allocate_visible(std::size_t bytes) override {
    const Timer timer(tallies[kMemory]);
    return machine_->allocate_visible(bytes);
  }
  void release(void* memory) override {
    const Timer timer(tallies[kMemory]);
    machine_->release(memory);
  }
  void upload(void* to, const void* from, std::size_t bytes) override {
    const Timer timer(tallies[kTransfer]);
    machine_->upload(to, from, bytes);
  }
  void download(void* to, const void* from, std::size_t bytes) override {
    const Timer timer(tallies[kTransfer]);
    machine_->download(to, from, bytes);
  }
  void clear(void* memory, std::size_t bytes) override {
    const Timer timer(tallies[kTransfer]);
    machine_->clear(memory, bytes);
  }
  void store(const StoreArgs& args) override {
    const Timer timer(tallies[kStore]);
    machine_->store(args);
  }
  void copy(const CopyArgs& args) override {
    const Timer timer(tallies[kStore]);
    machine_->copy(args);
  }
  std::int32_t tile_rows(const AttentionArgs& args,
                         const std::vector<AttentionLane>& lanes) const override {
    return machine_->tile_rows(args, lanes);
  }
  void attend(const AttentionArgs& args) override {
    const Timer timer(tallies[kAttend]);
    machine_->attend(args);
  }
  Status finish() override {
    const Timer timer(tallies[kFinish]);
    return machine_->finish();
  }

  std::array<Tally, kCalls> tallies;

 private:
  std::unique_ptr<Machine> machine_;
};

[[noreturn]] void fail(const std::string& why) {
  std::fprintf(stderr, "replay_bench: %s\n", why.c_str());
  std::exit(2);
}

std::string synthesized() {
  const std::string path = std::filesystem::temp_directory_path() / "replay_bench.ptape";
  sim::Config config;
  config.model = sim::find_model("gemma4-e4b");
  config.requests = 1'000'000;
  config.concurrency = 64;
  config.steps = 1'400;
  const sim::SynthResult result = sim::synthesize(config, path);
  if (!result.error.empty()) fail(result.error);
  return path;
}

// Of the recorder's clock, from the first event that has a time to the last.
double recorded_seconds(const std::string& path) {
  Names names;
  Status status;
  const std::unique_ptr<Source> source = open_trace(path, names, status);
  if (source == nullptr) fail(status.message());
  OptInt first, last;
  Event event;
  while (source->next(event)) {
    if (!event.t.has_value()) continue;
    if (!first.has_value()) first = event.t;
    last = event.t;
  }
  return first.has_value() ? static_cast<double>(*last - *first) * 1e-9 : 0;
}

void run(const std::string& path, const ReplayOptions& options, std::string_view device) {
  Status status;
  std::unique_ptr<Machine> machine =
      device == "cuda" ? make_cuda_machine(0, status) : make_cpu_machine();
  if (machine == nullptr) fail(status.message());
  TimedMachine timed(std::move(machine));
  const Clock::time_point start = Clock::now();
  const ReplayReport report = replay_trace(path, options, timed);
  const double all = seconds(Clock::now() - start);
  if (!report.status.ok()) fail(report.status.message());
  std::printf("%s: %.2f s, %llu launches, %.0f a second, %d pass(es), digest %016llx\n",
              std::string(timed.name()).c_str(), all,
              static_cast<unsigned long long>(report.launches),
              static_cast<double>(report.launches) / all, report.passes,
              static_cast<unsigned long long>(report.digest));
  double rest = all;
  for (std::size_t call = 0; call < kCalls; ++call) {
    const double took = seconds(timed.tallies[call].took);
    rest -= took;
    std::printf("  %-15s %7.3f s  %5.1f %%  %llu calls\n", kCallNames[call], took, 100 * took / all,
                static_cast<unsigned long long>(timed.tallies[call].calls));
  }
  std::printf("  %-15s %7.3f s  %5.1f %%\n", "state, plans", rest, 100 * rest / all);
}

int bench(int argc, char** argv) {
  const std::string device = argc > 1 ? argv[1] : "cpu";
  const std::string path = argc > 2 ? argv[2] : synthesized();
  ReplayOptions options;
  if (argc > 3) options.memory = std::strtoull(argv[3], nullptr, 10) << 20;
  std::printf("%s: %.1f recorded seconds\n", path.c_str(), recorded_seconds(path));
  constexpr int kRuns = 3;
  for (int i = 0; i < kRuns; ++i) run(path, options, device);
  if (argc <= 2) std::filesystem::remove(path);
  return 0;
}

}  // namespace
}  // namespace pagetape

int main(int argc, char** argv) { return pagetape::bench(argc, argv); }
