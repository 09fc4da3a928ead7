// SPDX-License-Identifier: Apache-2.0
// An attention over pools of its own, made from a seed, that any machine can be given.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "replay/machine.h"
#include "replay/tile.h"

namespace pagetape {

struct AttentionProblem {
  int head_dim = 128, kv_heads = 2, ratio = 4, page_size = 16, entry_tokens = 0;  // 0: page_size.
  int lanes = 3, longest = 700, q_len = 1, window = 0;
  Dtype dtype = Dtype::kBf16;
  bool tokens_first = false;  // NHD; else HND.
  bool sinks = false;
  double cap = 0.0;
  OnOob on_oob = OnOob::kRecord;
  int chunk_shift = 2;
  unsigned seed = 1;
  // Entries that are made wrong: of lane 0, at these columns.
  std::vector<std::pair<std::uint32_t, std::int32_t>> wrong;

  std::string text() const {
    return "D" + std::to_string(head_dim) + " heads " + std::to_string(kv_heads) + "x" +
           std::to_string(ratio) + " page " + std::to_string(page_size) + " entry " +
           std::to_string(entry_tokens) + " q " + std::to_string(q_len) + " window " +
           std::to_string(window) + " dtype " + std::to_string(static_cast<int>(dtype)) +
           (tokens_first ? " NHD" : " HND") + (sinks ? " sinks" : "") + " cap " +
           std::to_string(cap) + " chunk " + std::to_string(chunk_shift) + " seed " +
           std::to_string(seed);
  }
};

inline constexpr int kLayers = 2;  // Done together; layer l has the number l.

struct Answer {
  std::uint64_t digest = 0;
  std::vector<float> out;  // [layer][row][query head][head_dim]
  std::vector<DeviceFinding> findings;
};

// The problem in the host's memory.
struct Given {
  AttentionArgs args;
  std::vector<AttentionLane> lanes;
  std::vector<std::int32_t> entries;
  std::vector<PageEntry> pages;
  std::vector<std::uint32_t> sharers{0};
  std::vector<std::uint32_t> out_rows;
  std::vector<StoreToken> tokens;
  std::size_t layer_bytes = 0, rows = 0;

  explicit Given(const AttentionProblem& p) {
    std::mt19937 random(p.seed), lens(p.seed + 1);
    const int entry_tokens = p.entry_tokens == 0 ? p.page_size : p.entry_tokens;
    const int pages_each = (p.longest + p.page_size - 1) / p.page_size;
    const int count = p.lanes * pages_each + 1;
    AttentionArgs& a = args;
    a.kv.dtype = p.dtype;
    a.kv.head_dim = p.head_dim;
    a.kv.heads = p.kv_heads;
    a.ratio = p.ratio;
    a.page_shift = std::countr_zero(static_cast<unsigned>(p.page_size));
    a.entry_shift = std::countr_zero(static_cast<unsigned>(entry_tokens));
    a.bound = static_cast<std::int64_t>(count) * p.page_size / entry_tokens;
    a.window = p.window;
    a.logits = logits_of(1.0 / std::sqrt(p.head_dim), p.cap);
    a.sinks = p.sinks;
    a.on_oob = p.on_oob;
    const std::int64_t page = std::int64_t{p.page_size} * p.kv_heads * p.head_dim;
    a.kv.page_stride = page;
    a.kv.token_stride = p.tokens_first ? p.kv_heads * p.head_dim : p.head_dim;
    a.kv.head_stride = p.tokens_first ? p.head_dim : p.page_size * p.head_dim;
    layer_bytes = static_cast<std::size_t>(page * (count + 1) * bytes_of(p.dtype));

    std::vector<int> ids(static_cast<std::size_t>(count - 1));
    std::iota(ids.begin(), ids.end(), 1);
    std::shuffle(ids.begin(), ids.end(), random);
    pages.resize(static_cast<std::size_t>(count));
    for (int i = 0; i < p.lanes; ++i) {
      AttentionLane lane;
      lane.entries_begin = static_cast<std::uint32_t>(entries.size());
      lane.len = i == 0 ? p.longest : p.q_len + static_cast<int>(lens() % (p.longest - p.q_len));
      lane.q_len = p.q_len;
      lane.q_pos = lane.len - p.q_len;
      lane.owner = static_cast<std::uint32_t>(i + 1);
      lane.request = mix(lane.owner);
      for (int logical = 0; logical < pages_each; ++logical) {
        const int at = i * pages_each + logical;
        const int id = ids[static_cast<std::size_t>(at)];
        const auto frame = static_cast<std::uint32_t>(count - id);
        pages[static_cast<std::size_t>(id)] = {frame, lane.owner};
        for (int e = 0; e < p.page_size / entry_tokens; ++e) {
          entries.push_back(id * (p.page_size / entry_tokens) + e);
        }
        for (int t = 0; t < p.page_size; ++t) {
          const int position = logical * p.page_size + t;
          if (position >= lane.len) break;
          tokens.push_back({frame * page + t * a.kv.token_stride, lane.request,
                            static_cast<std::uint32_t>(position)});
        }
      }
      lane.entries = static_cast<std::uint32_t>(entries.size()) - lane.entries_begin;
      out_rows.push_back(static_cast<std::uint32_t>(rows));
      rows += static_cast<std::size_t>(lane.q_len);
      lanes.push_back(lane);
    }
    for (const auto& [column, id] : p.wrong) entries[column] = id;
  }
};

// Memory of a machine, released at the end.
class Memory {
 public:
  explicit Memory(Machine& machine) : machine_(machine) {}
  ~Memory() {
    for (void* m : all_) machine_.release(m);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  template <class T>
  T* zeros(std::size_t n) {
    all_.push_back(machine_.allocate(std::max<std::size_t>(n, 1) * sizeof(T)));
    return static_cast<T*>(all_.back());
  }
  template <class T>
  T* of(const std::vector<T>& list) {
    T* memory = zeros<T>(list.size());
    machine_.upload(memory, list.data(), list.size() * sizeof(T));
    return memory;
  }

 private:
  Machine& machine_;
  std::vector<void*> all_;
};

inline Answer solve(const AttentionProblem& p, Machine& machine) {
  Given given(p);
  AttentionArgs& a = given.args;
  a.tile_rows = machine.tile_rows(a, given.lanes);
  const std::vector<AttentionItem> plan = plan_of(a, given.lanes, p.chunk_shift);
  Memory memory(machine);
  a.pages = memory.of(given.pages);
  a.page_count = static_cast<std::int64_t>(given.pages.size());
  a.sharers = memory.of(given.sharers);
  a.lanes = memory.of(given.lanes);
  a.entries = memory.of(given.entries);
  a.out_rows = memory.of(given.out_rows);
  a.partials = memory.zeros<float>(kLayers * a.partial_count * a.partial_floats());
  const std::size_t outputs =
      given.rows * static_cast<std::size_t>(p.kv_heads * p.ratio * p.head_dim);
  const std::vector<float> poison(kLayers * outputs, NAN);
  float* out = memory.of(poison);
  std::vector<std::uint64_t> sums(kLayers * given.lanes.size());
  std::uint64_t* digests = memory.zeros<std::uint64_t>(sums.size());
  a.findings_max = 1000;
  a.findings = memory.zeros<DeviceFinding>(a.findings_max);
  a.finding_count = memory.zeros<std::uint32_t>(1);

  std::vector<AttentionLayer> layers;
  std::vector<StoreLayer> storage;
  for (std::uint64_t l = 0; l < kLayers; ++l) {
    void* k = memory.zeros<std::byte>(given.layer_bytes);
    void* v = memory.zeros<std::byte>(given.layer_bytes);
    storage.push_back({k, v, part_key(p.seed, l, Part::kKey), part_key(p.seed, l, Part::kValue)});
    layers.push_back({k, v, part_key(p.seed, l, Part::kQuery), part_key(p.seed, l, Part::kSink),
                      mix(p.seed, l), digests + l * given.lanes.size(), out + l * outputs});
  }
  StoreArgs store;
  store.kv = a.kv;
  store.layers = memory.of(storage);
  store.layer_count = a.layer_count = kLayers;
  store.tokens = memory.of(given.tokens);
  store.token_count = static_cast<std::uint32_t>(given.tokens.size());
  machine.store(store);
  a.layers = memory.of(layers);
  a.items = memory.of(plan);
  a.item_count = static_cast<std::uint32_t>(plan.size());
  machine.attend(a);
  Answer answer;
  answer.out.resize(kLayers * outputs);
  std::uint32_t found = 0;
  machine.download(answer.out.data(), out, kLayers * outputs * sizeof(float));
  machine.download(sums.data(), digests, sums.size() * sizeof sums[0]);
  machine.download(&found, a.finding_count, sizeof found);
  EXPECT_EQ(machine.finish().message(), "");
  for (std::uint64_t sum : sums) answer.digest = mix(answer.digest, sum);
  answer.findings.resize(std::min(found, a.findings_max));
  machine.download(answer.findings.data(), a.findings,
                   answer.findings.size() * sizeof(DeviceFinding));
  EXPECT_EQ(machine.finish().message(), "");
  std::ranges::sort(answer.findings);
  return answer;
}

// The problems that machines are compared on: every shape, type, layout and option at least once,
// the rest drawn.
inline std::vector<AttentionProblem> problems() {
  std::vector<AttentionProblem> all;
  std::mt19937 random(7);
  const auto pick = [&](const auto& list) { return list[random() % std::size(list)]; };
  const int dims[] = {64, 128, 256, 512}, odd[] = {16, 80, 96, 192}, pages[] = {1, 16, 32, 64, 128};
  const int ratios[] = {1, 2, 3, 4, 8, 16}, queries[] = {1, 1, 2, 4, 8, 37};
  const int windows[] = {0, 0, 1, 100, 512};
  const Dtype types[] = {Dtype::kBf16, Dtype::kFp16, Dtype::kE4m3};
  for (int i = 0; i < 60; ++i) {
    AttentionProblem p;
    p.head_dim = i < 48 ? dims[i % 4] : odd[i % 4];
    p.page_size = pages[i % 5];
    p.entry_tokens = i % 7 == 3 ? 1 : 0;
    p.dtype = types[i % 3];
    p.kv_heads = 1 + i % 3;
    p.ratio = pick(ratios);
    p.q_len = pick(queries);
    p.window = pick(windows);
    p.longest = 40 + static_cast<int>(random() % (p.q_len * p.ratio > 16 ? 500 : 2200));
    p.tokens_first = random() % 2 == 0;
    p.sinks = random() % 3 == 0;
    p.cap = random() % 4 == 0 ? 30.0 : 0.0;
    p.chunk_shift = i % 2 == 0 ? kAnyChunk : 2 + static_cast<int>(random() % 3);
    p.seed = random();
    all.push_back(p);
  }
  return all;
}

}  // namespace pagetape
