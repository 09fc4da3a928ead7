// SPDX-License-Identifier: Apache-2.0
#include "verify/standing.h"

#include <algorithm>
#include <utility>

namespace pagetape {

void Standing::begin(std::int64_t cols, const BufferState& table, const Space& here,
                     const Space* from, std::uint64_t front) {
  const auto of_row = [this](std::uint32_t row) { forget(row); };
  const auto of = [this](const Holders& holders) {
    return [this, &holders](std::uint32_t holder) {
      if (holder < holders.size()) forget(std::size_t{holders[holder]} - 1);
    };
  };
  bool heard =
      table.touched.since(of_rows_, of_row) && here.touched().since(of_holders_, of(holders_));
  of_rows_ = table.touched.count();
  of_holders_ = here.touched().count();
  if (from != nullptr) {
    heard = heard && from->touched().since(of_from_holders_, of(from_holders_)) &&
            from->map_touched().since(of_maps_, of(from_holders_));
    of_from_holders_ = from->touched().count();
    of_maps_ = from->map_touched().count();
  }
  if (std::exchange(front_, front) != front && by_front_) forget_front();
  const bool fits = cols < 0 ? cols_ < 0 : cols_ >= 0 && cols >= most_;
  cols_ = cols;
  if (heard && fits) return;
  rows_.clear();
  holders_.clear();
  from_holders_.clear();
  most_ = 0;
}

void Standing::forget_front() {
  for (Lane& lane : rows_) {
    if (lane.by_front) lane.page = kUnknown;
  }
  by_front_ = false;
}

// False where it is not to be known.
bool Standing::take(Holders& holders, std::uint32_t holder, std::size_t row) {
  constexpr std::uint32_t kMost = 1 << 20;  // At once: more are no engine's.
  if (holder >= kMost) return false;
  if (holder >= holders.size()) holders.resize(holder + 1);
  std::uint32_t& known = holders[holder];
  if (known != row + 1) {
    forget(std::size_t{known} - 1);
    known = static_cast<std::uint32_t>(row) + 1;
  }
  return true;
}

void Standing::set(std::size_t row, const Lane& lane) {
  if (row >= rows_.size()) rows_.resize(row + 1);
  const bool known = take(holders_, lane.holder, row) &&
                     (lane.from_holder == kUnknown || take(from_holders_, lane.from_holder, row));
  rows_[row] = lane;
  if (!known) forget(row);
  by_front_ = by_front_ || lane.by_front;
  most_ = std::max<std::int64_t>(most_, lane.end);
}

}  // namespace pagetape
