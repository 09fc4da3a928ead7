// SPDX-License-Identifier: Apache-2.0
// Of tables whose cells are an allocator's state and not what a launch reads: what the changes of a
// compare mean, as events.
#pragma once

#include <cstdint>
#include <vector>

#include "capture/record.h"
#include "capture/table_view.h"
#include "traces/event.h"

namespace pagetape {

// A map's `from` pages: cell i is the page that i maps to, 0 or less where it maps to none.
class ToldMap {
 public:
  // `changed` by index, each once.
  void add(const std::vector<CellWord>& changed, Name map, std::vector<EventBody>& bodies);

 private:
  std::vector<std::int32_t> known_;
};

// A pool's pages: in the first row the name of who holds each, kNever, kFree, kEvicted, or
// kFreeAgain where what was free is given back, in the second its column of that request's,
// negative where it is not known.
class ToldOwners {
 public:
  static constexpr std::int32_t kNever = 0, kFree = -1, kEvicted = -2, kFreeAgain = -3;

  explicit ToldOwners(std::uint32_t pages) : pages_(pages) {}
  // `nobody` is named where an owner is not known, or a page is freed that nobody holds.
  void add(const std::vector<CellWord>& changed, Name pool, Name nobody, const RecordDecoder& names,
           std::vector<EventBody>& bodies);

 private:
  struct Page {
    std::int32_t cell = kNever;  // As last told.
    std::int32_t column = -1;
    Name owner = kNone;
  };
  struct Taken {
    std::int32_t cell;  // By which a request's pages stand together.
    std::int32_t column;
    std::uint32_t page;
  };
  void add_left(std::uint32_t page, bool evicted, Name pool, Name nobody,
                std::vector<EventBody>& bodies);
  void add_taken(std::vector<Taken>& taken, Name pool, std::vector<EventBody>& bodies);

  const std::uint32_t pages_;
  std::vector<Page> known_;
  std::vector<ev::Free> freed_;  // Of one compare's.
};

}  // namespace pagetape
