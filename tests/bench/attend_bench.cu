// SPDX-License-Identifier: Apache-2.0
// Paged attention on a GPU beside what limits it, in one run: a kernel that only reads as many
// bytes, and the same kernel without checks. Times are medians of device events.
#include <cuda_runtime.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <vector>

#include "replay/attend_kernel.cuh"
#include "replay/machine.h"

namespace pagetape {
namespace {

constexpr int kRuns = 33, kWarmUp = 3;

void check(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "attend_bench: %s\n", cudaGetErrorString(error));
  std::exit(2);
}

template <class T>
T* on_device(const std::vector<T>& list) {
  T* memory = nullptr;
  check(cudaMalloc(&memory, list.size() * sizeof(T) + 16));
  check(cudaMemcpy(memory, list.data(), list.size() * sizeof(T), cudaMemcpyHostToDevice));
  return memory;
}

__global__ void fill(std::uint16_t* to, std::size_t n) {
  const std::size_t step = std::size_t{gridDim.x} * blockDim.x;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += step) {
    to[i] = as_bf16(static_cast<std::uint32_t>(mix(i) & 0xff));
  }
}

// Reads everything; the sum keeps the compiler from leaving it out.
__global__ void read(const uint4* from, std::size_t n, std::uint32_t* sum) {
  std::uint32_t x = 0;
  const std::size_t step = std::size_t{gridDim.x} * blockDim.x;
  std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  for (; i + 3 * step < n; i += 4 * step) {
    const uint4 a = __ldcs(from + i), b = __ldcs(from + i + step);
    const uint4 c = __ldcs(from + i + 2 * step), d = __ldcs(from + i + 3 * step);
    x ^= a.x ^ b.y ^ c.z ^ d.w ^ a.w ^ b.x;
  }
  if (x == 0x12345678) *sum = x;
}

// Median and the middle half's width, milliseconds.
struct Time {
  float median, spread;
};
template <class F>
Time time_of(F&& run) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin));
  check(cudaEventCreate(&end));
  std::vector<float> times;
  for (int i = 0; i < kRuns + kWarmUp; ++i) {
    check(cudaEventRecord(begin));
    run();
    check(cudaEventRecord(end));
    check(cudaEventSynchronize(end));
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end));
    if (i >= kWarmUp) times.push_back(ms);
  }
  check(cudaEventDestroy(begin));
  check(cudaEventDestroy(end));
  std::ranges::sort(times);
  return {times[kRuns / 2], times[kRuns * 3 / 4] - times[kRuns / 4]};
}

struct Case {
  const char* name;
  int lanes, tokens, kv_heads, ratio, page_size, window, q_len, chunk_shift;
  bool tokens_first;  // NHD; else HND.
};

// A case in the GPU's memory.
template <int D>
struct Bench {
  AttentionArgs args;
  std::uint16_t* k = nullptr;
  std::uint16_t* v = nullptr;
  std::size_t numbers = 0;  // Of K.
  double bytes = 0, flops = 0;

  explicit Bench(const Case& c) {
    const int each = (c.tokens + c.page_size - 1) / c.page_size, count = c.lanes * each + 1;
    KvShape& kv = args.kv;
    kv.head_dim = D;
    kv.heads = c.kv_heads;
    kv.page_stride = std::int64_t{c.page_size} * c.kv_heads * D;
    kv.token_stride = c.tokens_first ? c.kv_heads * D : D;
    kv.head_stride = c.tokens_first ? D : c.page_size * D;
    args.layer_count = 1;
    args.ratio = c.ratio;
    args.page_shift = args.entry_shift = std::countr_zero(static_cast<unsigned>(c.page_size));
    args.bound = args.page_count = count;
    args.window = c.window;
    args.logits = logits_of(1.0 / std::sqrt(D), 0.0);
    numbers = static_cast<std::size_t>(kv.page_stride) * (count + 1);
    check(cudaMalloc(&k, numbers * 2));
    check(cudaMalloc(&v, numbers * 2));
    fill<<<1024, 256>>>(k, numbers);
    fill<<<1024, 256>>>(v, numbers);
    make_lanes(c, each, count);
    check(cudaMalloc(&args.findings, sizeof(DeviceFinding)));
    check(cudaMalloc(&args.finding_count, 4));
    check(cudaMemset(args.finding_count, 0, 4));
    std::uint64_t* digests = on_device(std::vector<std::uint64_t>(c.lanes, 0));
    args.layers = on_device(std::vector<AttentionLayer>{{k, v, 1, 2, 3, digests, nullptr}});
    args.sharers = on_device(std::vector<std::uint32_t>{0});
  }
  ~Bench() {
    cudaFree(k);
    cudaFree(v);
    cudaFree(args.partials);
  }

  void make_lanes(const Case& c, int each, int count) {
    std::mt19937 random(1);
    std::vector<std::int32_t> entries(static_cast<std::size_t>(count - 1));
    std::iota(entries.begin(), entries.end(), 1);
    std::shuffle(entries.begin(), entries.end(), random);
    std::vector<PageEntry> pages(static_cast<std::size_t>(count));
    std::vector<AttentionLane> lanes;
    for (int i = 0; i < c.lanes; ++i) {
      AttentionLane lane;
      lane.entries_begin = static_cast<std::uint32_t>(i * each);
      lane.entries = static_cast<std::uint32_t>(each);
      lane.len = c.tokens - static_cast<int>(random() % 64);
      lane.q_len = c.q_len;
      lane.q_pos = lane.len - c.q_len;
      lane.owner = static_cast<std::uint32_t>(i + 1);
      lane.request = mix(lane.owner);
      for (int e = 0; e < each; ++e) {
        const auto id = static_cast<std::uint32_t>(entries[static_cast<std::size_t>(i * each + e)]);
        pages[id] = {id, lane.owner};
      }
      lanes.push_back(lane);
      bytes += 4.0 * (lane.len - lane.live_begin(0, c.window)) * c.kv_heads * D;
      for (int q = 0; q < c.q_len; ++q) {
        flops += 4.0 * (lane.live_end(q) - lane.live_begin(q, c.window)) * c.kv_heads * c.ratio * D;
      }
    }
    args.tile_rows = cuda::tile_rows(args, lanes);
    const std::vector<AttentionItem> items = plan_of(args, lanes, c.chunk_shift);
    const std::size_t partials = args.partial_count + 1;
    check(cudaMalloc(&args.partials, partials * args.partial_floats() * sizeof(float)));
    args.lanes = on_device(lanes);
    args.entries = on_device(entries);
    args.pages = on_device(pages);
    args.items = on_device(items);
    args.item_count = static_cast<std::uint32_t>(items.size());
  }

  template <bool kChecked>
  Time attend() {
    return time_of([&] { check(cuda::launch<cuda::Bf16, D, kChecked>(args)); });
  }

  Time read_all() {
    return time_of([&] {
      read<<<132 * 16, 256>>>(reinterpret_cast<const uint4*>(k), numbers / 8, args.finding_count);
    });
  }
};

template <int D>
void run(const Case& c) {
  Bench<D> bench(c);
  const Time unchecked = bench.template attend<false>(), checked = bench.template attend<true>();
  const Time read = bench.read_all();
  check(cudaGetLastError());
  const double rate = bench.bytes / checked.median / 1e6;
  const double limit = bench.numbers * 2 / read.median / 1e6;
  std::printf(
      "%-40s %8.4f ms (spread %.4f)  %5.0f GB/s  %5.1f%% of reading (%.0f GB/s)  "
      "checks %+.2f%%  %5.2f TFLOP/s\n",
      c.name, checked.median, checked.spread, rate, 100 * rate / limit, limit,
      100 * (checked.median / unchecked.median - 1), bench.flops / checked.median / 1e9);
}

}  // namespace
}  // namespace pagetape

int main() {
  using pagetape::kAnyChunk;
  using pagetape::run;
  for (int round = 0; round < 2; ++round) {
    run<128>(
        {"decode 64 x 8192, 8 x 128, page 16, NHD", 64, 8192, 8, 4, 16, 0, 1, kAnyChunk, true});
    run<128>(
        {"decode 64 x 8192, 8 x 128, page 16, HND", 64, 8192, 8, 4, 16, 0, 1, kAnyChunk, false});
    run<128>({"decode 64 x 8192, 8 x 128, page 1, NHD", 64, 8192, 8, 4, 1, 0, 1, kAnyChunk, true});
    run<128>({"decode 256 x 8192, 8 x 128, page 16", 256, 8192, 8, 4, 16, 0, 1, kAnyChunk, false});
    run<512>({"E4B full 64 x 8192, 2 x 512, page 64", 64, 8192, 2, 4, 64, 0, 1, kAnyChunk, false});
    run<256>({"E4B window 512, 2 x 256, page 64", 64, 8192, 2, 4, 64, 512, 1, kAnyChunk, false});
    run<256>({"26B window 1024, 8 x 256, page 64", 64, 8192, 8, 2, 64, 1024, 1, kAnyChunk, false});
    run<128>({"verify of 2 tokens, 64 x 8192, 8 x 128", 64, 8192, 8, 4, 16, 0, 2, kAnyChunk, true});
    run<128>({"verify of 4 tokens, 64 x 8192, 8 x 128", 64, 8192, 8, 4, 16, 0, 4, kAnyChunk, true});
    run<512>({"E4B full, verify of 4 tokens", 64, 8192, 2, 4, 64, 0, 4, kAnyChunk, false});
    run<128>({"short 8 x 1024, 8 x 128, page 16", 8, 1024, 8, 4, 16, 0, 1, kAnyChunk, false});
    run<128>({"extend 4 x 2048 of 4096, 8 x 128", 4, 4096, 8, 4, 16, 0, 2048, kAnyChunk, false});
    run<256>({"extend 4 x 2048 of 4096, 8 x 256", 4, 4096, 8, 4, 16, 0, 2048, kAnyChunk, false});
  }
}
