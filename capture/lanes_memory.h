// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "capture/pagetape_capture.h"
#include "capture/record.h"

namespace pagetape {

// The lanes that a thread recorded lately, as its caller had them: what a launch's record takes is
// mostly the memory that it writes to. Those that come a second time are copied, since of many
// launches the lanes never come again.
class LanesMemory {
 public:
  // Where the recorder of that number recorded them, of which there is at least one; kNoPlace: not
  // lately.
  std::uint64_t find(std::uint32_t recorder, const ptape_lanes& lanes);
  // Those that were just not found were recorded there.
  void keep(const ptape_lanes& lanes, std::uint64_t position);

 private:
  // Of other lanes it is mostly another one: the ends of the columns, and which there are.
  struct Look {
    std::uint64_t ends = 0;
    std::uint32_t recorder = 0, columns = 0;
    bool operator==(const Look&) const = default;
  };
  struct Kept {
    Look look;
    std::uint64_t position = kNoPlace;
    std::vector<char> cells;  // Its columns, one behind the other; none: seen once.
  };
  Kept* with(const Look& look);

  std::array<Kept, kLanesRemembered> kept_;
  std::size_t next_ = 0;
  Look sought_;
};

}  // namespace pagetape
