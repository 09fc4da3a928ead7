// SPDX-License-Identifier: Apache-2.0
// A pool over time: who owned which pages, in as many cells as a screen can show.
#pragma once

#include <cstdint>
#include <vector>

#include "replay/world.h"

namespace pagetape {

class PoolHistory {
 public:
  static constexpr std::uint32_t kMostRows = 256;
  static constexpr std::uint32_t kMostBins = 1024;

  static constexpr std::uint8_t kNoKind = 255;

  // What stood at the beginning of a bin in `pages_a_row` pages.
  struct Cell {
    Name owner = kNone;             // Of the lowest page that has one.
    std::uint32_t owned = 0;        // Pages that have one.
    bool reserved = false;          // All are.
    bool shared = false;            // Some page has more owners.
    std::uint8_t writer = kNoKind;  // Kind of the event that wrote last into that page.
    std::uint16_t since = 0;        // Bin in which its owner got it.
    Name space = kNone;  // In which it is owned: another one that draws on the same allocator, too.
  };
  // Ids beyond the pool that launches read in a bin.
  struct Beyond {
    std::int64_t least = INT64_MAX, most = INT64_MIN;
    EventIndex first = kNever;
    bool any() const { return first != kNever; }
  };

  PoolHistory(std::int64_t rank, Name name, const Pool& pool, EventIndex events);

  // The state before the event; a bin keeps what its first event finds. `kinds`: of the events.
  void sample(const World& world, EventIndex event, const std::vector<std::uint8_t>& kinds);
  void read_beyond(EventIndex event, std::int64_t page);

  std::int64_t rank = 0;
  Name name = kNone;
  EventIndex declared = kNever;
  std::int64_t pages = 0;
  std::uint32_t rows = 1, bins = 1;
  std::int64_t pages_a_row = 1;
  EventIndex bin_events = 1;
  std::int64_t most_beyond = 0;  // The greatest id that was read beyond.
  std::uint32_t used_rows = 0;   // One past the last in which a page ever had an owner.

  const Cell& cell(std::uint32_t row, std::uint32_t bin) const {
    return cells_[std::size_t{bin} * rows + row];
  }
  // Who had the row's lowest owned page, the last first, up to a bin: at most `most` stretches.
  // kNone: nobody had any of its pages.
  struct Had {
    Name owner = kNone;
    std::uint32_t begin = 0, end = 0;  // Bins.
  };
  std::vector<Had> had(std::uint32_t row, std::uint32_t bin, std::size_t most) const;
  const Beyond& beyond(std::uint32_t bin) const { return beyond_[bin]; }
  std::uint32_t bin_of(EventIndex event) const;
  std::uint32_t row_of(std::int64_t page) const {
    return static_cast<std::uint32_t>(page / pages_a_row);
  }

 private:
  void sample_own(const World& world, const Pool& pool, const std::vector<std::uint8_t>& kinds,
                  Cell* column);
  void sample_elsewhere(const World& world, const Pool& pool, Cell* column);

  std::vector<Cell> cells_;  // A column after the other.
  std::vector<Beyond> beyond_;
  std::uint32_t sampled_ = 0;  // Bins.
};

}  // namespace pagetape
