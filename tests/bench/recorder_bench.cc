// SPDX-License-Identifier: Apache-2.0
// What a recorded event costs its caller, beside a plain copy of the same bytes, and what it costs
// the writer's thread.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <vector>

#include "capture/pagetape_capture.h"
#include "capture/recorder.h"

namespace pagetape {
namespace {

class NullWriter final : public Writer {
 public:
  Status add(const Event&) override { return ++events_, Status(); }
  Status add_keyframe(std::string_view, std::uint64_t) override { return {}; }
  Status flush() override { return {}; }
  Status close() override { return {}; }
  std::uint64_t events() const override { return events_; }
  std::uint64_t bytes() const override { return 0; }

 private:
  std::uint64_t events_ = 0;
};

constexpr int kBurst = 20'000;  // Events between two flushes, which are not timed.

std::unique_ptr<Recorder> open_recorder() {
  RecorderOptions options;
  options.block = true;
  return std::make_unique<Recorder>(options, std::make_unique<Names>(),
                                    std::make_unique<NullWriter>());
}

Record alloc_record(Recorder& recorder, std::size_t n) {
  Record record;
  record.kind = kKindOf<ev::Alloc>;
  record.names[0] = recorder.intern("F");
  record.names[1] = recorder.intern("A");
  record.n = static_cast<std::uint32_t>(n);
  return record;
}

// Bursts with pauses, as a scheduler step has them: the writer's thread catches up in between.
void BM_Append(benchmark::State& state) {
  const auto recorder = open_recorder();
  const std::vector<std::int32_t> pages(static_cast<std::size_t>(state.range(0)), 7);
  Record record = alloc_record(*recorder, pages.size());
  const std::size_t bytes = pages.size() * sizeof(pages[0]);
  int left = kBurst;
  for (auto _ : state) {
    recorder->append(record, bytes, [&](char* to) { std::memcpy(to, pages.data(), bytes); });
    if (--left == 0) {
      state.PauseTiming();
      (void)recorder->flush();
      left = kBurst;
      state.ResumeTiming();
    }
  }
  state.SetBytesProcessed(state.iterations() * record.bytes);
}
BENCHMARK(BM_Append)->Arg(1)->Arg(16)->Arg(128);

void BM_CopyOfTheSameBytes(benchmark::State& state) {
  const std::size_t payload = padded(static_cast<std::size_t>(state.range(0)) * 4);
  const std::vector<char> from(sizeof(Record) + payload, 1);
  std::vector<char> to(from.size() * kBurst);
  std::size_t at = 0;
  for (auto _ : state) {
    std::memcpy(to.data() + at, from.data(), from.size());
    benchmark::ClobberMemory();
    at = at + from.size() == to.size() ? 0 : at + from.size();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(from.size()));
}
BENCHMARK(BM_CopyOfTheSameBytes)->Arg(1)->Arg(16)->Arg(128);

// A verify step's launch of 64 lanes, through the C interface's structures.
void BM_Launch64Lanes(benchmark::State& state) {
  const auto recorder = open_recorder();
  std::vector<ptape_row> rows(64);
  for (ptape_row& row : rows) {
    ptape_row_init(&row);
    row.req = recorder->intern("A");
    row.row = &row - rows.data();
  }
  Record record;
  record.kind = kKindOf<ev::GraphLaunch>;
  record.names[0] = recorder->intern("g");
  record.flag = 1;
  record.n = 64;
  int left = kBurst / 10;
  for (auto _ : state) {
    recorder->append(record, rows_bytes(rows.data(), rows.size()),
                     [&](char* to) { write_rows(to, rows.data(), rows.size()); });
    if (--left == 0) {
      state.PauseTiming();
      (void)recorder->flush();
      left = kBurst / 10;
      state.ResumeTiming();
    }
  }
}
BENCHMARK(BM_Launch64Lanes);

// The writer's thread: from record to event, with the checks of the model.
void BM_Decode(benchmark::State& state) {
  Names names;
  RecordDecoder decoder(names);
  decoder.add_name("F");
  decoder.add_name("A");
  const std::vector<std::int32_t> pages(static_cast<std::size_t>(state.range(0)), 7);
  Record record;
  record.kind = kKindOf<ev::Alloc>;
  record.names[0] = 1;
  record.names[1] = 2;
  record.n = static_cast<std::uint32_t>(pages.size());
  Event event;
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        decoder.decode(record, reinterpret_cast<const char*>(pages.data()), event).ok());
  }
}
BENCHMARK(BM_Decode)->Arg(1)->Arg(16)->Arg(128);

}  // namespace
}  // namespace pagetape
