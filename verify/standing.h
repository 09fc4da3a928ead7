// SPDX-License-Identifier: Apache-2.0
// Lanes known to be as they were judged until something of theirs is touched: of those, a launch
// looks at the length and the last page, and at nothing else.
#pragma once

#include <cstdint>
#include <vector>

#include "replay/observer.h"

namespace pagetape {

class Standing {
 public:
  static constexpr std::uint32_t kUnknown = UINT32_MAX;

  // By the table's row.
  struct Lane {
    Name req = kNone;
    std::int32_t q_len = 1, first = 0, entries = -1;
    std::int64_t begin = 0;         // Position at which the last page begins.
    std::int64_t usual = 0;         // What is before it was not judged, or counts otherwise.
    std::uint32_t page = kUnknown;  // The last one; kUnknown: nothing is known of the lane.
    LayerSet written = kNoLayers;   // That page, as far as the lane goes,
    LayerSet before = kNoLayers;    // those before it,
    LayerSet layers = kNoLayers;    // and all of them.
    std::int32_t end = 0;           // Of the entries.
    bool by_front = false;          // Whole by the launch's front, not the last page alone.
    // What is not said: whose the entries are, how many the row has.
    std::uint8_t unsaid = 0;
    static constexpr std::uint8_t kClaim = 1, kWidth = 2;
    // Space::holder_index() here and where a map leads from; kUnknown: no map does.
    std::uint32_t holder = 0, from_holder = kUnknown;

    // Does a launch's lane say the same?
    bool like(const pagetape::Lane& lane) const {
      return lane.req == req && lane.q_len == q_len && lane.first == first &&
             lane.entries == entries;
    }
  };

  // Forgets what does not hold for this launch, of a table with so many columns; -1: not said.
  // `from`: the space that a map leads from, or null. `front`: of the launch's layers; 0: none.
  void begin(std::int64_t cols, const BufferState& table, const Space& here, const Space* from,
             std::uint64_t front);
  const Lane* rows() const { return rows_.data(); }
  std::size_t size() const { return rows_.size(); }
  // The lane of that row was just judged by all there is to look at.
  void set(std::size_t row, const Lane& lane);

 private:
  // The one row in which a holder is known; rows of others that have it, too, are not.
  using Holders = std::vector<std::uint32_t>;  // 1 + the row; 0: none.
  bool take(Holders& holders, std::uint32_t holder, std::size_t row);
  void forget_front();
  void forget(std::size_t row) {
    if (row < rows_.size()) rows_[row].page = kUnknown;
  }

  std::vector<Lane> rows_;
  Holders holders_, from_holders_;
  std::int64_t cols_ = -1, most_ = 0;  // `most_`: the greatest `end` so far.
  std::uint64_t front_ = 0;            // By which lanes are whole, if any are.
  bool by_front_ = false;              // Some are.
  // Touches that were heard of.
  std::uint64_t of_rows_ = 0, of_holders_ = 0, of_from_holders_ = 0, of_maps_ = 0;
};

}  // namespace pagetape
