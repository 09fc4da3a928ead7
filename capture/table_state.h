// SPDX-License-Identifier: Apache-2.0
// Of tables whose cells are an allocator's state and not what a launch reads: what the changes of a
// compare mean, as events.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "capture/holders.h"
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
// negative where it is not known. A page that is taken has one holder there; which others it has,
// by rows that name it and by requests that leave theirs, is told besides.
class ToldOwners {
 public:
  static constexpr std::int32_t kNever = 0, kFree = -1, kEvicted = -2, kFreeAgain = -3;

  explicit ToldOwners(std::uint32_t pages) : known_(pages), holders_(pages) {}
  // `nobody` is named where an owner is not known, or a page is freed that nobody holds.
  void add(const std::vector<CellWord>& changed, Name pool, Name nobody, const RecordDecoder& names,
           std::vector<EventBody>& bodies);
  // Pages stand at the request's columns from `first` on: those that it does not hold it shares.
  // What is 0 or less, or none of the pool's, is no page.
  void named(std::span<const std::int32_t> pages, Name pool, Name request, std::int64_t first,
             std::vector<EventBody>& bodies);
  // What `from` holds `to` does from here on, where it `keeps` them at the same columns.
  void moved(Name pool, Name from, Name to, bool keeps, std::vector<EventBody>& bodies);
  // Events were lost: who holds what is not known but of what is taken from here on.
  void forget() { holders_.forget(); }

 private:
  struct Page {
    std::int32_t cell = kNever;  // As last told.
    std::int32_t column = -1;
  };
  struct Taken {
    std::int32_t cell;  // By which a request's pages stand together.
    PlacedPage at;
  };
  void add_left(std::uint32_t page, bool evicted, Name pool, Name nobody,
                std::vector<EventBody>& bodies);
  void add_taken(std::vector<Taken>& taken, Name pool, Name nobody, const RecordDecoder& names,
                 std::vector<EventBody>& bodies);

  std::vector<Page> known_;
  Holders holders_;
  // Of the call at hand.
  std::vector<ev::Free> freed_;
  std::vector<Holders::Holder> left_;
  std::vector<PlacedPage> gained_;
};

}  // namespace pagetape
