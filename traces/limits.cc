// SPDX-License-Identifier: Apache-2.0
#include "traces/limits.h"

#include <algorithm>
#include <array>

namespace pagetape {
namespace {

constexpr std::int64_t kMostIds = INT32_MAX;  // Pages, rows, columns: 31 bits.
constexpr std::int64_t kMostPageSlots = 65536;
constexpr std::int64_t kMostHeads = 65536;  // Heads, and numbers in one.
// Bytes, where later code subtracts and adds.
constexpr std::int64_t kMostBytes = (std::int64_t{1} << 62) - 1;

// What the integers of a field lie between, those of lists too. Fields that are not named hold any
// integer: counts that rules judge (free_count.free, view), addresses, times.
struct Range {
  std::string_view field;
  std::int64_t low, high;
};
constexpr Range kRanges[] = {
    {"format", 1, kMostIds},
    {"tp", 1, kMostIds},
    {"pp", 1, kMostIds},
    {"dp", 1, kMostIds},
    {"pages", 0, kMostIds},
    {"page_size", 1, kMostPageSlots},
    {"page_bytes", 1, kMostIds},
    {"offset_bits", 1, 64},
    {"layers", 0, kMostIds},
    {"kv_heads", 1, kMostHeads},
    {"q_heads", 1, kMostHeads},
    {"head_dim", 1, kMostHeads},
    {"v_head_dim", 0, kMostHeads},  // 0 where V is a part of K, as in MLA.
    {"shape", 0, kMostSlots},
    {"stride", -kMostSlots, kMostSlots},
    {"bytes", 0, kMostBytes},
    {"begin", -kMostBytes, kMostBytes},  // Outside the arena is a finding, not an error of form.
    {"end", -kMostBytes, kMostBytes},
    {"rows", 0, kMostIds},
    {"cols", 0, kMostIds},
    {"capacity", 0, kMostBytes},
    {"used", 0, kMostBytes},
    {"first", 0, kMostIds},
    {"logical", 0, kMostIds},
    {"pairs", 0, kMostSlots},
    {"from", 0, kMostSlots},
    {"len", 0, kMostSlots},
    {"drafted", 0, kMostIds},
    {"accepted", 0, kMostIds},
    {"row", 0, kMostIds},
    {"col", 0, kMostIds},
    {"q_len", 0, kMostIds},
    {"q_pos", 0, kMostSlots},
    {"n", 0, kMostIds},
    {"window", 1, kMostSlots},
    {"table_rows", 0, kMostIds},
    {"table_cols", 0, kMostIds},
    {"event", 0, INT64_MAX},
    {"on", 0, kMostIds},
    {"index", 0, kMostIds},
    {"step", 0, INT64_MAX},
    {"batch", 0, kMostIds},
    {"grid", 0, kMostIds},
    {"block", 0, kMostIds},
    {"events", 0, INT64_MAX},
    {"after", 0, INT64_MAX},
    {"stream", 0, kMostIds},
    {"rank", 0, kMostIds},
};
// Fields whose integers are bounded in some events only: `slots` holds slot numbers elsewhere.
struct EventRange {
  std::string_view event;
  Range range;
};
constexpr EventRange kEventRanges[] = {
    {"lens", {"values", 0, kMostSlots}},
    {"fill", {"slots", 0, kMostPageSlots}},
    {"copy", {"slots", 0, kMostPageSlots}},
};

// Fields that hold one of a few words. The event is "" for an object inside one.
struct FieldWords {
  std::string_view event, field;
  std::array<std::string_view, 6> words;
};
constexpr FieldWords kWords[] = {
    {"pool", "kind", {"full", "swa", "mla", "state", "host", "index"}},
    {"pool", "layout", {"NHD", "HND"}},
    {"", "role", {"pad", "null"}},
    {"map", "unit", {"page", "slot"}},
    {"backend", "role", {"target", "draft"}},
    {"header", "clock", {"monotonic", "realtime"}},
    {"prefix_key", "when", {"written", "scheduled"}},
    {"request", "state", {"arrive", "run", "preempt", "resume", "finish", "abort"}},
    {"attention", "mode", {"decode", "extend", "verify", "draft"}},
    {"store", "negative", {"skip", "wrap"}},
    {"async_begin", "kind", {"read", "write"}},
};

}  // namespace

bool is_one_of(std::span<const std::string_view> words, std::string_view text) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

Limits limits_of(std::string_view event, std::string_view field) {
  Limits limits;
  const auto take = [&](const Range& range) {
    if (range.field != field) return;
    limits.low = range.low;
    limits.high = range.high;
  };
  for (const Range& range : kRanges) take(range);
  for (const EventRange& range : kEventRanges) {
    if (range.event == event) take(range.range);
  }
  for (const FieldWords& row : kWords) {
    if (row.event != event || row.field != field) continue;
    limits.words = {row.words.begin(), std::find(row.words.begin(), row.words.end(), "")};
  }
  return limits;
}

}  // namespace pagetape
