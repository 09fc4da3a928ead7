// SPDX-License-Identifier: Apache-2.0
// What reading, applying and judging a trace cost, for 1, 10 and 100 times the work, beside a plain
// copy of the file's bytes. The trace is the simulated engine's, with E4B's numbers: its layers are
// launched in graphs. verify_eager: steps whose layers are each told by themselves, a store and an
// attention, as an engine without graphs tells them. Counters:
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
#include <memory>
#include <string>
#include <vector>

#include "capture/sim/models.h"
#include "capture/sim/synth.h"
#include "replay/state.h"
#include "traces/source.h"
#include "traces/text.h"
#include "traces/writer.h"
#include "verify/verify.h"

namespace pagetape {
namespace {

constexpr std::int64_t kLeastSteps = 140, kLeastEager = 7;

// CPU time of this thread, s.
double now() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Steps of decoding for as many requests as E4B's at a time, over two pools whose tables are alike.
// Each layer of each step is a store and an attention.
class EagerTrace {
 public:
  explicit EagerTrace(const std::string& path) : writer_(create_trace(path, names_, {}, status_)) {}

  void write(std::int64_t steps) {
    say(R"({"ev":"backend","backend":"b"})");
    say(R"({"ev":"buffer","buffer":"l"})");
    for (const std::string pool : {"F", "S"}) {
      say(R"({"ev":"pool","pages":1025,"page_size":64,"pool":")" + pool + "\"}");
      say(R"({"ev":"buffer","buffer":"table )" + pool + "\"}");
    }
    for (std::int64_t layer = 0; layer < kLayers; ++layer) {
      say(R"({"ev":"pool_swap","backend":"b","layers":[)" + std::to_string(layer) +
          R"(],"pool":")" + pool_of(layer) + "\"}");
    }
    for (std::int64_t r = 0; r < kRequests; ++r) begin_request(r);
    for (std::int64_t step = 0; step < steps; ++step) {
      const std::int64_t past = kPrompt + step;
      add(event(ev::Lens{name("l"), Ints(kRequests, past + 1), {}}));
      for (std::int64_t layer = 0; layer < kLayers; ++layer) {
        std::vector<ev::Row> stored(kRequests), read(kRequests);
        for (std::int64_t r = 0; r < kRequests; ++r) {
          const auto i = static_cast<std::size_t>(r);
          stored[i].req = read[i].req = request(r);
          stored[i].slots = {SlotId{slot(r, past)}};
          read[i].row = r;
        }
        launch(layer, stored, read, name("l"));
      }
    }
    if (!status_.ok() || !writer_->close().ok()) std::abort();
  }

 private:
  static constexpr std::int64_t kRequests = 64, kLayers = 42, kPage = 64, kPagesEach = 16,
                                kPrompt = 300;

  template <class T>
  static Event event(const T& body) {
    Event out;
    out.body = body;
    return out;
  }
  Name name(const std::string& text) { return names_.intern(text); }
  Name request(std::int64_t r) { return name("r" + std::to_string(r)); }
  static Layer number(std::int64_t layer) {
    return Layer::number(static_cast<std::int32_t>(layer));
  }
  static const char* pool_of(std::int64_t layer) { return layer % 6 == 5 ? "F" : "S"; }
  static std::string table_of(const std::string& pool) { return "table " + pool; }
  static std::int64_t slot(std::int64_t r, std::int64_t position) {
    return (1 + r * kPagesEach) * kPage + position;
  }
  void say(const std::string& line) {
    Event event;
    if (!parse_event(line, names_, event).ok()) std::abort();
    add(event);
  }
  void add(const Event& event) {
    if (!status_.ok() || !writer_->add(event).ok()) std::abort();
  }
  void begin_request(std::int64_t r) {
    Pages pages;
    for (std::int64_t i = 0; i < kPagesEach; ++i) {
      pages.push_back(PageId{static_cast<std::int32_t>(1 + r * kPagesEach + i)});
    }
    for (const char* pool : {"F", "S"}) {
      add(event(ev::Alloc{name(pool), request(r), pages, 0}));
      add(event(ev::Table{name(table_of(pool)), r, 0, pages, kNone, kNone, kNone}));
    }
    std::vector<ev::Row> stored(1), read(1);
    stored[0].req = read[0].req = request(r);
    stored[0].slots.emplace();
    for (std::int64_t t = 0; t < kPrompt; ++t) stored[0].slots->push_back(SlotId{slot(r, t)});
    read[0].row = r;
    read[0].len = read[0].q_len = kPrompt;
    for (std::int64_t layer = 0; layer < kLayers; ++layer) launch(layer, stored, read, kNone);
  }
  void launch(std::int64_t layer, const std::vector<ev::Row>& stored,
              const std::vector<ev::Row>& read, Name lens) {
    ev::Store store;
    ev::Attention attention;
    store.backend = attention.backend = name("b");
    store.layer = attention.layer = number(layer);
    store.space = attention.space = name(pool_of(layer));
    store.rows = ev::Rows(stored);
    attention.rows = ev::Rows(read);
    attention.table = name(table_of(pool_of(layer)));
    attention.lens = lens;
    add(event(store));
    add(event(attention));
  }

  Names names_;
  Status status_;
  std::unique_ptr<Writer> writer_;
};

// A trace of so many steps of decoding, written once and removed at the end.
class Traces {
 public:
  ~Traces() {
    for (const auto& [steps, path] : paths_) std::filesystem::remove(path);
    for (const auto& [steps, path] : eager_) std::filesystem::remove(path);
  }
  const std::string& eager(std::int64_t steps) {
    std::string& path = eager_[steps];
    if (!path.empty()) return path;
    path = file("verify_bench_eager_", steps);
    EagerTrace(path).write(steps);
    return path;
  }
  const std::string& of(std::int64_t steps) {
    std::string& path = paths_[steps];
    if (!path.empty()) return path;
    path = file("verify_bench_", steps);
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
  static std::string file(const std::string& begin, std::int64_t steps) {
    return std::filesystem::temp_directory_path() / (begin + std::to_string(steps) + ".ptape");
  }

  std::map<std::int64_t, std::string> paths_, eager_;
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
void measure(benchmark::State& state, const char* name, const std::string& path, std::int64_t once,
             F&& work) {
  forget_peak();
  const double begin = now();
  for (auto _ : state) work(path);
  const double seconds = (now() - begin) / static_cast<double>(state.iterations());
  state.counters["peak_MiB"] = peak_mib();
  state.counters["of_read"] = seconds / seconds_to_read(path);
  state.counters["file_bytes"] = static_cast<double>(std::filesystem::file_size(path));
  static std::map<std::string, double> least;
  if (state.range(0) == once) least[name] = seconds;
  if (least.contains(name)) state.counters["growth"] = seconds / least[name];
}

template <class F>
void measure(benchmark::State& state, const char* name, F&& work) {
  measure(state, name, traces().of(state.range(0)), kLeastSteps, work);
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

void verify(benchmark::State& state, const char* name, const std::string& path, std::int64_t once) {
  std::int64_t events = 0, launches = 0;
  measure(state, name, path, once, [&](const std::string& trace) {
    const Report report = verify_trace(trace, {});
    if (report.exit_code() != 0) std::abort();
    events += static_cast<std::int64_t>(report.events);
    launches += static_cast<std::int64_t>(report.launches);
  });
  state.SetItemsProcessed(events);
  state.counters["launches/s"] =
      benchmark::Counter(static_cast<double>(launches), benchmark::Counter::kIsRate);
}

void verify(benchmark::State& state) {
  verify(state, "verify", traces().of(state.range(0)), kLeastSteps);
}

void verify_eager(benchmark::State& state) {
  verify(state, "verify_eager", traces().eager(state.range(0)), kLeastEager);
}

void steps(benchmark::internal::Benchmark* bench) {
  for (const std::int64_t times : {1, 10, 100}) bench->Arg(times * kLeastSteps);
}

BENCHMARK(copy_bytes)->Apply(steps);
BENCHMARK(read)->Apply(steps)->Unit(benchmark::kMillisecond);
BENCHMARK(read_and_apply)->Apply(steps)->Unit(benchmark::kMillisecond);
BENCHMARK(verify)->Apply(steps)->Unit(benchmark::kMillisecond);
BENCHMARK(verify_eager)
    ->Arg(kLeastEager)
    ->Arg(10 * kLeastEager)
    ->Arg(100 * kLeastEager)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace pagetape
