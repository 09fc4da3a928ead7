// SPDX-License-Identifier: Apache-2.0
#include "capture/lanes_memory.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace pagetape {
namespace {

// Calls f(column, its bytes) for each that there is, and returns a bit for each of those and one
// where `n` stands for what `len` has.
template <class F>
[[gnu::always_inline]] inline std::uint32_t each_column(const ptape_lanes& lanes, F&& f) {
  const std::size_t bytes = lanes.n_lanes * sizeof(std::int64_t);
  const bool sizes_are_lens = lanes.n == lanes.len;
  std::uint32_t columns = sizes_are_lens;
  for (const std::int64_t* column : {lanes.len, lanes.row, lanes.q_len, lanes.q_pos, lanes.first,
                                     sizes_are_lens ? nullptr : lanes.n}) {
    columns = 2 * columns + (column != nullptr);
    if (column != nullptr) f(column, bytes);
  }
  if (lanes.req != nullptr) f(lanes.req, lanes.n_lanes * sizeof(ptape_name));
  return 2 * columns + (lanes.req != nullptr);
}

}  // namespace

std::uint64_t LanesMemory::find(std::uint32_t recorder, const ptape_lanes& lanes) {
  sought_ = {lanes.n_lanes, recorder, 0};
  sought_.columns = each_column(lanes, [&](const auto* column, std::size_t) {
    constexpr std::uint64_t kSpread = 0x9e3779b97f4a7c15;
    const auto first = static_cast<std::uint64_t>(column[0]);
    const auto last = static_cast<std::uint64_t>(column[lanes.n_lanes - 1]);
    sought_.ends = ((sought_.ends * kSpread) + first) * kSpread + last;
  });
  const Kept* kept = with(sought_);
  if (kept == nullptr || kept->cells.empty()) return kNoPlace;
  const char* cells = kept->cells.data();
  const char* const end = cells + kept->cells.size();
  bool same = true;
  each_column(lanes, [&](const auto* column, std::size_t bytes) {
    same = same && bytes <= static_cast<std::size_t>(end - cells) &&
           std::memcmp(column, cells, bytes) == 0;
    if (same) cells += bytes;
  });
  return same && cells == end ? kept->position : kNoPlace;
}

void LanesMemory::keep(const ptape_lanes& lanes, std::uint64_t position) {
  Kept* kept = with(sought_);
  if (kept == nullptr) {
    kept = &kept_[next_++ % kept_.size()];
    kept->look = sought_;
    kept->cells.clear();
    return;
  }
  kept->position = position;
  kept->cells.clear();
  try {
    each_column(lanes, [&](const auto* column, std::size_t bytes) {
      const auto* from = reinterpret_cast<const char*>(column);
      kept->cells.insert(kept->cells.end(), from, from + bytes);
    });
  } catch (const std::bad_alloc&) {  // Then it is as if they had come once.
    kept->cells.clear();
  }
}

LanesMemory::Kept* LanesMemory::with(const Look& look) {
  const auto at = std::ranges::find(kept_, look, &Kept::look);
  return at == kept_.end() ? nullptr : &*at;
}

}  // namespace pagetape
