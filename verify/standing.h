// SPDX-License-Identifier: Apache-2.0
// Lanes known to be as they were judged until something of theirs is touched: of those, a launch
// like the one before looks at the length and the last page, and at nothing else.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "replay/observer.h"

namespace pagetape {

class Standing {
 public:
  // By the table's row.
  struct Lane {
    std::int32_t end = -1;  // Of its entries, as long as it has so many; -1: nothing is known.
    Name req = kNone;
    std::uint32_t page = 0;       // The last one,
    LayerSet layers = kNoLayers;  // and where it must be written as far as the lane goes.
    std::int64_t least = 0;       // A shorter lane begins where nothing was judged.
    std::int64_t entries = -1;    // As the launch says.
    std::int32_t q_len = 1;
    bool claimed = false;  // The entries say whose they are.
    // Space::holder_index() here and where a map leads from; UINT32_MAX: no map does.
    std::uint32_t holder = 0, from_holder = UINT32_MAX;
  };
  // What launches must have in common.
  struct Like {
    std::int64_t window = 0, cols = 0;
    LayerSet layers = kNoLayers;
    bool operator==(const Like&) const = default;
  };

  // Forgets what does not hold for this launch. `from`: the space that a map leads from, or null.
  void begin(const Like& like, const BufferState& table, const Space& here, const Space* from);
  // For lanes that are `plain`.
  const Lane* rows() const { return rows_.data(); }
  // The lane of that row was just judged by all there is to look at.
  void set(std::int64_t row, const Lane& lane);
  void forget(std::int64_t row) { rows_[static_cast<std::size_t>(row)].end = -1; }

 private:
  // The one row in which a holder is known; rows of others that have it, too, are not.
  class Holders {
   public:
    void clear() { rows_.clear(); }
    bool take(std::uint32_t holder, std::int64_t row);
    std::size_t row_of(std::uint32_t holder) const {
      return holder < rows_.size() ? std::size_t{rows_[holder]} - 1 : SIZE_MAX;
    }

   private:
    std::vector<std::uint32_t> rows_;  // 1 + the row; 0: none.
  };
  void forget_all();

  Like like_;
  std::array<Lane, ::pagetape::Lane::kPlainRows> rows_;
  Holders holders_, from_holders_;
  // Touches that were heard of.
  std::uint64_t of_rows_ = 0, of_holders_ = 0, of_from_holders_ = 0, of_maps_ = 0;
};

}  // namespace pagetape
