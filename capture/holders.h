// SPDX-License-Identifier: Apache-2.0
// Who holds the pages of one pool: requests, and a cache of prefixes that keeps what they leave and
// lends it to others.
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "traces/event.h"

namespace pagetape {

// A page at its logical place in a request; negative: that is not known.
struct PlacedPage {
  std::int32_t column;
  std::uint32_t page;
};

class Holders {
 public:
  struct Holder {
    Name who = kNone;
    std::int32_t column = -1;
  };

  explicit Holders(std::uint32_t pages) : first_(pages) {}

  std::uint32_t pages() const { return static_cast<std::uint32_t>(first_.size()); }
  bool held(std::uint32_t page) const { return first_[page].who != kNone; }
  bool holds(std::uint32_t page, Name who) { return find(page, who) != nullptr; }
  // One holder more, or the same at another place. Of one that `moves` it is remembered what it
  // holds, for move().
  void hold(std::uint32_t page, Holder holder, bool moves);
  // From here on no one holds the page; those that did, in the order in which they came to it.
  void let_go(std::uint32_t page, std::vector<Holder>& holders);
  // All that `from` holds `to` holds instead, at the same places where it `keeps` them, which is
  // for one that may move again. `moved` gets all, in the order in which they came, `gained` those
  // that `to` did not hold before.
  void move(Name from, Name to, bool keeps, std::vector<std::uint32_t>& moved,
            std::vector<PlacedPage>& gained);
  void forget();

 private:
  using Others = std::multimap<std::uint32_t, Holder>;

  Others::iterator other(std::uint32_t page, Name who);
  Holder* find(std::uint32_t page, Name who);
  Holder take(std::uint32_t page, Name who);

  bool some_ = false;  // May be held.
  // Most pages have one holder.
  std::vector<Holder> first_;
  Others others_;
  // What a holder came to hold, also where it does not any more.
  std::unordered_map<Name, std::vector<std::uint32_t>> came_;
};

}  // namespace pagetape
