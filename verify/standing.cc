// SPDX-License-Identifier: Apache-2.0
#include "verify/standing.h"

namespace pagetape {

void Standing::begin(const Like& like, const BufferState& table, const Space& here,
                     const Space* from) {
  const auto touched = [this](std::size_t row) {
    if (row < rows_.size()) rows_[row].end = -1;
  };
  const auto of_holder = [&](std::uint32_t h) { touched(holders_.row_of(h)); };
  const auto of_from = [&](std::uint32_t h) { touched(from_holders_.row_of(h)); };
  bool heard =
      table.touched.since(of_rows_, touched) && here.touched().since(of_holders_, of_holder);
  of_rows_ = table.touched.count();
  of_holders_ = here.touched().count();
  if (from != nullptr) {
    heard = heard && from->touched().since(of_from_holders_, of_from) &&
            from->map_touched().since(of_maps_, of_from);
    of_from_holders_ = from->touched().count();
    of_maps_ = from->map_touched().count();
  }
  if (!heard || !(like == like_)) forget_all();
  like_ = like;
}

void Standing::forget_all() {
  for (Lane& lane : rows_) lane.end = -1;
  holders_.clear();
  from_holders_.clear();
}

bool Standing::Holders::take(std::uint32_t holder, std::int64_t row) {
  constexpr std::uint32_t kMost = 1 << 20;  // At once: more are no engine's.
  if (holder >= kMost) return false;
  if (holder >= rows_.size()) rows_.resize(holder + 1);
  rows_[holder] = static_cast<std::uint32_t>(row) + 1;
  return true;
}

void Standing::set(std::int64_t row, const Lane& lane) {
  const auto at = static_cast<std::size_t>(row);
  // A touch of its holders is told of one row: the other one, where they have two, is forgotten.
  for (const std::size_t other :
       {holders_.row_of(lane.holder), from_holders_.row_of(lane.from_holder)}) {
    if (other < rows_.size() && other != at) rows_[other].end = -1;
  }
  const bool known = holders_.take(lane.holder, row) &&
                     (lane.from_holder == UINT32_MAX || from_holders_.take(lane.from_holder, row));
  rows_[at] = lane;
  if (!known) forget(row);
}

}  // namespace pagetape
