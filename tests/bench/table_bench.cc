// SPDX-License-Identifier: Apache-2.0
// What reading the contents of wide tables costs, of which few cells change from step to step: in
// bytes of the page ids that Reader::next gives, beside a plain copy of as many. Counters:
//   of_copy  the time over that of a copy of the ids (64 MB of them again and again)
//   growth   the time over that of the trace of 1 time the ids, where there is one
#include <benchmark/benchmark.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "traces/reader.h"
#include "traces/writer.h"

namespace pagetape {
namespace {

constexpr std::int64_t kRows = 64;
constexpr std::size_t kIds = 1'600'000;  // Of the least trace: 6.4 MB.

void check(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.message().c_str());
  std::abort();
}

// CPU time of this thread, s.
double now() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Writes each row of a table of `cols` columns again and again, of which `changes` differ each
// time, up to so many ids.
void write_tables(const std::string& path, std::size_t cols, std::size_t changes, std::size_t ids) {
  Names names;
  Status status;
  const std::unique_ptr<Writer> writer = create_trace(path, names, {}, status);
  check(status);
  Event event;
  ev::Table& table = event.body.emplace<ev::Table>();
  table.buffer = names.intern("b");
  std::vector<Pages> rows(kRows, Pages(cols));
  std::int32_t next = 0;
  std::uint64_t random = 1;
  for (Pages& row : rows) {
    for (PageId& page : row) page = PageId{next++};
  }
  for (std::size_t written = 0; written < ids; written += cols) {
    table.row = static_cast<std::int64_t>(written / cols) % kRows;
    Pages& row = rows[static_cast<std::size_t>(table.row)];
    for (std::size_t i = 0; i < changes; ++i) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      row[(random >> 33) % cols] = PageId{next++ % (1 << 20)};
    }
    table.pages = row;
    check(writer->add(event));
  }
  check(writer->close());
}

// Traces by columns, changes and times kIds, written once and removed at the end.
class Traces {
 public:
  ~Traces() {
    for (const auto& [key, path] : paths_) std::filesystem::remove(path);
  }
  const std::string& of(std::int64_t cols, std::int64_t changes, std::int64_t times) {
    std::string& path = paths_[{cols, changes, times}];
    if (!path.empty()) return path;
    path = std::filesystem::temp_directory_path() /
           ("table_bench_" + std::to_string(cols) + "_" + std::to_string(changes) + "_" +
            std::to_string(times) + ".ptape");
    write_tables(path, static_cast<std::size_t>(cols), static_cast<std::size_t>(changes),
                 static_cast<std::size_t>(times) * kIds);
    return path;
  }

 private:
  std::map<std::array<std::int64_t, 3>, std::string> paths_;
};

Traces& traces() {
  static Traces all;
  return all;
}

// Copies ids from one place to another, 64 MB each time.
class Copy {
 public:
  void run() {
    std::memcpy(to_.data(), from_.data(), kBytes);
    benchmark::DoNotOptimize(to_.data());
    benchmark::ClobberMemory();
  }
  // Of as many bytes, in the mean of a few runs.
  double seconds(double bytes) {
    constexpr int kRuns = 8;
    run();
    const double begin = now();
    for (int i = 0; i < kRuns; ++i) run();
    return (now() - begin) / kRuns * bytes / static_cast<double>(kBytes);
  }
  static constexpr std::size_t kBytes = 10 * kIds * sizeof(PageId);

 private:
  Pages from_ = Pages(10 * kIds), to_ = Pages(10 * kIds);
};

void read_tables(benchmark::State& state) {
  const std::int64_t cols = state.range(0), changes = state.range(1), times = state.range(2);
  const std::string& path = traces().of(cols, changes, times);
  std::size_t ids = 0, events = 0;
  const double begin = now();
  for (auto _ : state) {
    Names names;
    Status status;
    const std::unique_ptr<Reader> reader = Reader::open(path, names, status);
    check(status);
    Event event;
    while (reader->next(event)) {
      ids += std::get<ev::Table>(event.body).pages.size();
      ++events;
    }
    check(reader->status());
  }
  const auto runs = static_cast<double>(state.iterations());
  const double seconds = (now() - begin) / runs;
  static std::map<std::pair<std::int64_t, std::int64_t>, double> least;
  if (times == 1) least[{cols, changes}] = seconds;
  if (const auto found = least.find({cols, changes}); found != least.end()) {
    state.counters["growth"] = seconds / found->second;
  }
  const double bytes = static_cast<double>(ids * sizeof(PageId)) / runs;
  state.counters["of_copy"] = seconds / Copy().seconds(bytes);
  state.SetBytesProcessed(static_cast<std::int64_t>(ids * sizeof(PageId)));
  state.SetItemsProcessed(static_cast<std::int64_t>(events));
  state.counters["file_bytes"] = static_cast<double>(std::filesystem::file_size(path));
}

void copy_ids(benchmark::State& state) {
  Copy copy;
  for (auto _ : state) copy.run();
  state.SetBytesProcessed(static_cast<std::int64_t>(Copy::kBytes) * state.iterations());
}

BENCHMARK(copy_ids)->Unit(benchmark::kMillisecond);
BENCHMARK(read_tables)
    ->ArgNames({"cols", "changes", "times"})
    ->ArgsProduct({{512, 4096}, {8}, {1, 10, 100}})
    ->ArgsProduct({{512, 4096}, {1, 64}, {10}})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace pagetape
