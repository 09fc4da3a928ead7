// SPDX-License-Identifier: Apache-2.0
// What reading the contents of wide tables costs, of which few cells change from step to step: in
// bytes of the page ids that Reader::next gives, beside a plain copy of as many.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "traces/reader.h"
#include "traces/writer.h"

namespace pagetape {
namespace {

constexpr std::int64_t kRows = 64;
constexpr std::size_t kIds = 16u << 20;  // Of a trace: 64 MiB.

void check(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.message().c_str());
  std::abort();
}

// Writes each row of a table of `cols` columns again and again, of which `changes` differ each
// time.
void write_tables(const std::string& path, std::size_t cols, std::size_t changes) {
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
  for (std::size_t written = 0; written < kIds; written += cols) {
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

// Traces by columns and changes, written once and removed at the end.
class Traces {
 public:
  ~Traces() {
    for (const auto& [key, path] : paths_) std::filesystem::remove(path);
  }
  const std::string& of(std::int64_t cols, std::int64_t changes) {
    std::string& path = paths_[{cols, changes}];
    if (!path.empty()) return path;
    path = std::filesystem::temp_directory_path() /
           ("table_bench_" + std::to_string(cols) + "_" + std::to_string(changes) + ".ptape");
    write_tables(path, static_cast<std::size_t>(cols), static_cast<std::size_t>(changes));
    return path;
  }

 private:
  std::map<std::pair<std::int64_t, std::int64_t>, std::string> paths_;
};

Traces& traces() {
  static Traces all;
  return all;
}

void read_tables(benchmark::State& state) {
  const std::string& path = traces().of(state.range(0), state.range(1));
  std::size_t ids = 0, events = 0;
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
  state.SetBytesProcessed(static_cast<std::int64_t>(ids * sizeof(PageId)));
  state.SetItemsProcessed(static_cast<std::int64_t>(events));
  state.counters["file_bytes"] = static_cast<double>(std::filesystem::file_size(path));
}

void copy_ids(benchmark::State& state) {
  const Pages from(kIds);
  Pages to(kIds);
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), kIds * sizeof(PageId));
    benchmark::DoNotOptimize(to.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(kIds * sizeof(PageId)) * state.iterations());
}

BENCHMARK(copy_ids)->Unit(benchmark::kMillisecond);
BENCHMARK(read_tables)
    ->ArgNames({"cols", "changes"})
    ->ArgsProduct({{512, 4096}, {1, 8, 64}})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace pagetape
