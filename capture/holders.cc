// SPDX-License-Identifier: Apache-2.0
#include "capture/holders.h"

#include <algorithm>
#include <utility>

namespace pagetape {

// Of those that came behind the first one; the end of all others where it is none of them.
Holders::Others::iterator Holders::other(std::uint32_t page, Name who) {
  const auto [begin, end] = others_.equal_range(page);
  const auto other = std::find_if(begin, end, [who](const auto& o) { return o.second.who == who; });
  return other != end ? other : others_.end();
}

Holders::Holder* Holders::find(std::uint32_t page, Name who) {
  if (first_[page].who == who) return &first_[page];
  if (!held(page)) return nullptr;
  const auto found = other(page, who);
  return found != others_.end() ? &found->second : nullptr;
}

void Holders::hold(std::uint32_t page, Holder holder, bool moves) {
  some_ = true;
  if (Holder* known = find(page, holder.who); known != nullptr) {
    *known = holder;
    return;
  }
  if (held(page)) {
    others_.emplace(page, holder);
  } else {
    first_[page] = holder;
  }
  if (moves) came_[holder.who].push_back(page);
}

void Holders::let_go(std::uint32_t page, std::vector<Holder>& holders) {
  holders.clear();
  if (!held(page)) return;
  holders.push_back(std::exchange(first_[page], Holder()));
  const auto [begin, end] = others_.equal_range(page);
  for (auto other = begin; other != end; ++other) holders.push_back(other->second);
  others_.erase(begin, end);
}

// What `who` had of the page, if it holds it. The next holder comes to stand first.
Holders::Holder Holders::take(std::uint32_t page, Name who) {
  const bool was_first = first_[page].who == who;
  const auto leaving = was_first ? others_.lower_bound(page) : other(page, who);
  Holder left;
  if (leaving != others_.end() && leaving->first == page) {
    left = leaving->second;
    others_.erase(leaving);
  }
  return was_first ? std::exchange(first_[page], left) : left;
}

void Holders::move(Name from, Name to, bool keeps, std::vector<std::uint32_t>& moved,
                   std::vector<PlacedPage>& gained) {
  moved.clear();
  gained.clear();
  const auto came = came_.extract(from);
  if (came.empty()) return;
  for (const std::uint32_t page : came.mapped()) {
    const Holder was = take(page, from);
    if (was.who == kNone) continue;
    moved.push_back(page);
    if (holds(page, to)) continue;
    const std::int32_t column = keeps ? was.column : -1;
    hold(page, {to, column}, keeps);
    gained.push_back({column, page});
  }
}

// A ring that drops events says so often.
void Holders::forget() {
  if (!std::exchange(some_, false)) return;
  std::ranges::fill(first_, Holder());
  others_.clear();
  came_.clear();
}

}  // namespace pagetape
