// SPDX-License-Identifier: Apache-2.0
// What a recorded event costs its caller, through the C interface. Counters, each of one event:
//   bytes      of its record in the ring
//   copy_ns    of a plain copy of as many bytes, in bursts between those of the events
//   of_copy    its time over that
//   writer_ns  of the writer's thread, which makes the event, checks, encodes and compresses it
//   event_ns   of one event, where a call records several
// The file is /dev/null.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "capture/pagetape_capture.h"
#include "capture/record.h"
#include "capture/ring.h"

namespace pagetape {
namespace {

// What is recorded before the writer's thread catches up, which is not timed. An engine's step
// leaves less; the buffer has room for more.
constexpr std::size_t kBurstBytes = 1u << 20;

void* aligned(void* memory) {
  return reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(memory) + 63) / 64 * 64);
}

double seconds(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Copies of the same bytes, side by side as records stand.
class Copies {
 public:
  Copies(std::size_t bytes, std::size_t n) : from_(bytes, 1), to_(n * bytes) { run(); }

  void run() {
    const double before = seconds(CLOCK_THREAD_CPUTIME_ID);
    for (std::size_t at = 0; at < to_.size(); at += from_.size()) {
      std::memcpy(to_.data() + at, from_.data(), from_.size());
      benchmark::ClobberMemory();
    }
    seconds_ += seconds(CLOCK_THREAD_CPUTIME_ID) - before;
    bytes_ += to_.size();
  }
  double ns_a_copy() const {
    return seconds_ * 1e9 * static_cast<double>(from_.size()) / static_cast<double>(bytes_);
  }

 private:
  std::vector<char> from_, to_;
  double seconds_ = 0;
  std::size_t bytes_ = 0;
};

// An event of so many names and integers, and a payload of so many bytes.
struct Shape {
  std::uint16_t names, ints;
  std::size_t payload;
  std::size_t bytes() const {
    Record like;
    like.n_names = names;
    like.n_ints = ints;
    return sizeof(std::uint64_t) + record_bytes(like, payload);
  }
};

// Times `call(recorder)`, which records so many events of so many bytes each, in bursts, as a
// scheduler's steps have them.
template <class F>
void record_many(benchmark::State& state, ptape_recorder* recorder, std::size_t bytes,
                 std::size_t events, F&& call) {
  const std::size_t burst = std::max<std::size_t>(kBurstBytes / bytes / events, 1);
  Copies copies(bytes, burst * events);
  const double before = seconds(CLOCK_PROCESS_CPUTIME_ID), mine = seconds(CLOCK_THREAD_CPUTIME_ID);
  double taken = 0, begin = mine;  // By the bursts; the one at hand began.
  std::size_t left = burst;
  int failed = PTAPE_OK;
  for (auto _ : state) {
    failed |= call(recorder);
    if (--left == 0) {
      state.PauseTiming();
      taken += seconds(CLOCK_THREAD_CPUTIME_ID) - begin;
      failed |= ptape_flush(recorder);
      copies.run();
      left = burst;
      begin = seconds(CLOCK_THREAD_CPUTIME_ID);
      state.ResumeTiming();
    }
  }
  taken += seconds(CLOCK_THREAD_CPUTIME_ID) - begin;
  failed |= ptape_flush(recorder);
  const double writer =
      seconds(CLOCK_PROCESS_CPUTIME_ID) - before - (seconds(CLOCK_THREAD_CPUTIME_ID) - mine);
  failed |= ptape_close(recorder);
  if (failed != PTAPE_OK) state.SkipWithError(ptape_last_error(nullptr));
  const double all = static_cast<double>(state.iterations()) * static_cast<double>(events);
  state.counters["bytes"] = static_cast<double>(bytes);
  state.counters["copy_ns"] = copies.ns_a_copy();
  state.counters["of_copy"] = taken * 1e9 / all / copies.ns_a_copy();
  state.counters["writer_ns"] = writer * 1e9 / all;
  if (events > 1) state.counters["event_ns"] = taken * 1e9 / all;
}
template <class F>
void record(benchmark::State& state, ptape_recorder* recorder, const Shape& shape, F&& event) {
  record_many(state, recorder, shape.bytes(), 1, event);
}

ptape_recorder* open_recorder() {
  ptape_options options{};
  options.size = sizeof(options);
  options.path = "/dev/null";
  options.rank = -1;
  options.block = 1;
  return ptape_open(&options);
}

void say(ptape_recorder* recorder, const std::string& line) {
  ptape_json(recorder, line.data(), line.size());
}

void alloc(benchmark::State& state) {
  const std::vector<std::int32_t> pages(static_cast<std::size_t>(state.range(0)), 7);
  ptape_recorder* recorder = open_recorder();
  say(recorder, R"({"ev": "pool", "pool": "F", "pages": 8, "page_size": 16})");
  const ptape_name pool = ptape_intern(recorder, "F"), req = ptape_intern(recorder, "A");
  record(state, recorder, {2, 1, pages.size() * sizeof(pages[0])}, [&](ptape_recorder* to) {
    return ptape_alloc(to, nullptr, pool, req, pages.data(), pages.size(), 0);
  });
}

// For 1, 10 and 100 times the events. Counter: the time of all over that of the first.
void alloc_more(benchmark::State& state) {
  alloc(state);
  const double event_ns = state.counters["of_copy"].value * state.counters["copy_ns"].value;
  const double all = event_ns * static_cast<double>(state.iterations());
  static const double least = all;
  state.counters["growth"] = all / least;
}

void table(benchmark::State& state) {
  const std::vector<std::int32_t> pages(static_cast<std::size_t>(state.range(0)), 7);
  ptape_recorder* recorder = open_recorder();
  const ptape_name buffer = ptape_intern(recorder, "b");
  record(state, recorder, {4, 2, pages.size() * sizeof(pages[0])}, [&](ptape_recorder* to) {
    return ptape_table(to, nullptr, buffer, 3, 0, pages.data(), pages.size(), 0, 0, 0);
  });
}

void lens(benchmark::State& state) {
  const std::vector<std::int64_t> values(static_cast<std::size_t>(state.range(0)), 7);
  ptape_recorder* recorder = open_recorder();
  const ptape_name buffer = ptape_intern(recorder, "b");
  record(state, recorder, {1, 1, values.size() * sizeof(values[0])}, [&](ptape_recorder* to) {
    return ptape_lens(to, nullptr, buffer, 0, values.data(), values.size());
  });
}

std::vector<ptape_row> lanes(std::int64_t n, ptape_name req) {
  std::vector<ptape_row> rows(static_cast<std::size_t>(n));
  for (ptape_row& row : rows) {
    ptape_row_init(&row);
    row.req = req;
    row.row = &row - rows.data();
  }
  return rows;
}

void graph_launch(benchmark::State& state) {
  ptape_recorder* recorder = open_recorder();
  const std::vector<ptape_row> rows = lanes(state.range(0), ptape_intern(recorder, "A"));
  const ptape_name graph = ptape_intern(recorder, "g");
  record(state, recorder, {1, 0, rows.size() * sizeof(rows[0])}, [&](ptape_recorder* to) {
    return ptape_graph_launch(to, nullptr, graph, rows.data(), rows.size());
  });
}

// Of a batch: they came in this order, some of others' meanwhile.
std::vector<ptape_name> requests(ptape_recorder* recorder, std::size_t n) {
  std::vector<ptape_name> reqs;
  for (std::size_t i = 0; reqs.size() < n; ++i) {
    const ptape_name req = ptape_intern(recorder, ("r" + std::to_string(i)).c_str());
    if (i % 5 != 3) reqs.push_back(req);
  }
  return reqs;
}

// The same lanes by column.
void graph_launch_lanes(benchmark::State& state) {
  ptape_recorder* recorder = open_recorder();
  const auto n = static_cast<std::size_t>(state.range(0));
  const std::vector<ptape_name> req = requests(recorder, n);
  std::vector<std::int64_t> row(n);
  std::iota(row.begin(), row.end(), 0);
  ptape_lanes lanes{};
  lanes.size = sizeof(lanes);
  lanes.n_lanes = n;
  lanes.req = req.data();
  lanes.row = row.data();
  const ptape_name graph = ptape_intern(recorder, "g");
  record(state, recorder, {1, 0, plan_lanes(lanes).value().bytes},
         [&](ptape_recorder* to) { return ptape_graph_launch_lanes(to, nullptr, graph, &lanes); });
}

// A launch of one layer with what it is given, as an adapter has it: its lanes by column. Of so
// many launches in a row the lanes are the same, then each is a token longer, as in a step of so
// many layers; by 1 each launch has lanes that none before it had.
void attention(benchmark::State& state) {
  ptape_recorder* recorder = open_recorder();
  const auto n = static_cast<std::size_t>(state.range(0));
  const auto layers = static_cast<std::size_t>(state.range(1));
  const std::vector<ptape_name> req = requests(recorder, n);
  std::vector<std::int64_t> row(n);
  std::iota(row.begin(), row.end(), 0);
  // Of some steps, so that a step costs the bench no more than a pointer.
  constexpr std::size_t kSteps = 4 * kLanesRemembered;
  std::vector<std::vector<std::int64_t>> lens(kSteps, std::vector<std::int64_t>(n));
  for (std::size_t step = 0; step < kSteps; ++step) {
    for (std::size_t i = 0; i < n; ++i) {
      lens[step][i] = static_cast<std::int64_t>(100 + step + i * i * 37 % 9000);
    }
  }
  ptape_lanes lanes{};
  lanes.size = sizeof(lanes);
  lanes.n_lanes = n;
  lanes.req = req.data();
  lanes.row = row.data();
  lanes.len = lanes.n = lens[0].data();
  const std::int32_t layer = 3;
  ptape_launch launch{};
  ptape_launch_init(&launch);
  launch.size = sizeof(launch);
  launch.backend = ptape_intern(recorder, "b");
  launch.table = ptape_intern(recorder, "t");
  launch.layers = &layer;
  launch.n_layers = 1;
  launch.lanes = &lanes;
  const std::size_t columns = plan_lanes(lanes).value().bytes;
  std::size_t step = 0, layer_of_step = 0;
  record(state, recorder, {0, 0, launch_head_bytes(launch).value() + columns},
         [&](ptape_recorder* to) {
           if (++layer_of_step >= layers) {
             layer_of_step = 0;
             lanes.len = lanes.n = lens[++step % kSteps].data();
           }
           return ptape_attention(to, nullptr, &launch);
         });
}

// A decode step of 64 requests as adapters tell it: lengths and slots, a page of one of them, for
// each of so many layers a store and an attention, and what was accepted of each draft and taken
// back in two pools. What an event takes in a steady state is what one of these does.
void step(benchmark::State& state) {
  constexpr std::size_t kLanes = 64;
  ptape_recorder* recorder = open_recorder();
  say(recorder, R"({"ev": "pool", "pool": "F", "pages": 8, "page_size": 64})");
  say(recorder, R"({"ev": "pool", "pool": "S", "pages": 8, "page_size": 64})");
  const auto layers = static_cast<std::int32_t>(state.range(0));
  const std::vector<ptape_name> req = requests(recorder, kLanes);
  const auto name = [&](const char* text) { return ptape_intern(recorder, text); };
  const ptape_name full = name("F"), window = name("S"), mode = name("decode"), space = name("F");
  const ptape_name lens = name("l"), slots = name("s"), table = name("t"), backend = name("b");
  std::vector<std::int64_t> row(kLanes), len(kLanes), at(kLanes);
  const std::vector<std::int64_t> one(kLanes, 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 0; i < kLanes; ++i) len[i] = static_cast<std::int64_t>(i * i * 37 % 9000);
  ptape_lanes read{}, written{};
  read.size = written.size = sizeof(ptape_lanes);
  read.n_lanes = written.n_lanes = kLanes;
  read.req = written.req = req.data();
  read.row = written.row = row.data();
  read.len = len.data();
  written.n = one.data();
  std::int32_t layer = 0;
  ptape_launch attention{}, store{};
  for (ptape_launch* launch : {&attention, &store}) {
    ptape_launch_init(launch);
    launch->size = sizeof(*launch);
    launch->backend = backend;
    launch->layers = &layer;
    launch->n_layers = 1;
  }
  attention.table = table;
  attention.lens = lens;
  attention.lanes = &read;
  store.slots = slots;
  store.lanes = &written;
  const auto call = [&](ptape_recorder* to) {
    const std::int64_t now = ++len[0];
    for (std::size_t i = 1; i < kLanes; ++i) ++len[i];
    for (std::size_t i = 0; i < kLanes; ++i) at[i] = len[i] * 3;
    const auto page = static_cast<std::int32_t>(now % 8);
    int failed = ptape_step(to, nullptr, now, mode, kLanes);
    failed |= ptape_lens(to, nullptr, lens, 0, len.data(), kLanes);
    failed |= ptape_slots(to, nullptr, slots, 0, at.data(), kLanes);
    failed |= ptape_alloc(to, nullptr, full, req[5], &page, 1, now);
    failed |= ptape_table(to, nullptr, table, 5, now % 128, &page, 1, req[5], space, 0);
    for (layer = 0; layer < layers; ++layer) {
      failed |= ptape_store(to, nullptr, &store);
      failed |= ptape_attention(to, nullptr, &attention);
    }
    for (std::size_t i = 0; i < kLanes; ++i) {
      failed |= ptape_accept(to, nullptr, req[i], 3, 2);
      failed |= ptape_rewind(to, nullptr, full, req[i], len[i]);
      failed |= ptape_rewind(to, nullptr, window, req[i], len[i]);
    }
    return failed;
  };
  // The first two of a kind hold their lanes, the others say where those stand.
  std::size_t launches = 0;
  for (const ptape_launch* launch : {&attention, &store}) {
    const std::size_t head = launch_head_bytes(*launch).value();
    const std::size_t lanes = plan_lanes(*launch->lanes).value().bytes;
    const auto n = static_cast<std::size_t>(layers), whole = std::min<std::size_t>(n, 2);
    launches += whole * Shape{0, 0, head + lanes}.bytes() + (n - whole) * Shape{0, 1, head}.bytes();
  }
  const std::size_t bytes = Shape{1, 2, 0}.bytes() + 2 * Shape{1, 1, kLanes * 8}.bytes() +
                            Shape{2, 1, 4}.bytes() + Shape{4, 2, 4}.bytes() + launches +
                            kLanes * (Shape{1, 2, 0}.bytes() + 2 * Shape{2, 1, 0}.bytes());
  const std::size_t events = 5 + 2 * static_cast<std::size_t>(layers) + 3 * kLanes;
  record_many(state, recorder, bytes / events, events, call);
}

// The ring alone: so many threads claim, fill and commit 56 bytes each time.
constexpr std::size_t kClaims = 1u << 20;
void claim(benchmark::State& state) {
  static std::vector<std::uint64_t> memory;
  constexpr std::size_t kBytes = 8 * kClaims * 64;
  if (state.thread_index() == 0) {
    memory.assign((ring_bytes(kBytes) + 64) / 8, 0);
    format_ring(aligned(memory.data()), kBytes, -1);
  }
  std::unique_ptr<RingWriter> writer;
  for (auto _ : state) {
    // Here, behind the threads' common start, the ring is there.
    if (writer == nullptr) writer = std::make_unique<RingWriter>(aligned(memory.data()));
    const RingClaim claim = writer->claim(56);
    std::memset(claim.payload, 1, claim.bytes);
    writer->commit(claim);
  }
}

// Eight threads record at so many million events a second in all, for a second, into a recorder
// that drops what finds no room (64 MiB). Counters: millions of events a second recorded and,
// behind a flush, drained; how many were dropped.
constexpr int kThreads = 8;
void eight_threads(benchmark::State& state) {
  const double rate = static_cast<double>(state.range(0)) * 1e6 / kThreads;
  ptape_options options{};
  options.size = sizeof(options);
  options.path = "/dev/null";
  options.rank = -1;
  for (auto _ : state) {
    ptape_recorder* recorder = ptape_open(&options);
    if (recorder == nullptr) return state.SkipWithError(ptape_last_error(nullptr));
    say(recorder, R"({"ev": "pool", "pool": "F", "pages": 8, "page_size": 16})");
    const ptape_name pool = ptape_intern(recorder, "F"), req = ptape_intern(recorder, "A");
    std::uint64_t sent[kThreads] = {};
    const double begin = seconds(CLOCK_MONOTONIC);
    const auto engine = [&](std::uint64_t& mine) {
      const std::int32_t page = 7;
      for (double now = 0; now < 1; now = seconds(CLOCK_MONOTONIC) - begin) {
        for (const auto due = static_cast<std::uint64_t>(now * rate); mine < due; ++mine) {
          ptape_alloc(recorder, nullptr, pool, req, &page, 1, 0);
        }
      }
    };
    std::vector<std::thread> threads;
    for (std::uint64_t& mine : sent) threads.emplace_back(engine, std::ref(mine));
    for (std::thread& thread : threads) thread.join();
    const double recorded = seconds(CLOCK_MONOTONIC) - begin;
    ptape_flush(recorder);
    const double drained = seconds(CLOCK_MONOTONIC) - begin;
    const auto total = static_cast<double>(std::accumulate(sent, sent + kThreads, 0ul));
    state.counters["recorded_M"] = total / recorded / 1e6;
    const auto dropped = static_cast<double>(ptape_stats(recorder).dropped);
    state.counters["drained_M"] = (total - dropped) / drained / 1e6;
    state.counters["dropped"] = dropped;
    if (ptape_close(recorder) != PTAPE_OK) state.SkipWithError(ptape_last_error(nullptr));
  }
}

BENCHMARK(eight_threads)->Arg(1)->Arg(2)->Arg(5)->Iterations(1)->UseRealTime();
BENCHMARK(claim)->ThreadRange(1, 8)->UseRealTime()->Iterations(kClaims);
BENCHMARK(alloc)->Arg(1)->Arg(16)->Arg(128);
BENCHMARK(alloc_more)->Arg(16)->Iterations(100'000);
BENCHMARK(alloc_more)->Arg(16)->Iterations(1'000'000);
BENCHMARK(alloc_more)->Arg(16)->Iterations(10'000'000);
BENCHMARK(table)->Arg(64)->Arg(512);
BENCHMARK(lens)->Arg(64);
BENCHMARK(graph_launch)->Arg(1)->Arg(8)->Arg(64);
BENCHMARK(attention)->ArgsProduct({{1, 8, 64}, {1, 42}});
BENCHMARK(graph_launch_lanes)->Arg(1)->Arg(8)->Arg(64);
BENCHMARK(step)->Arg(2)->Arg(42);

}  // namespace
}  // namespace pagetape
