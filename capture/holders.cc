// SPDX-License-Identifier: Apache-2.0
#include "capture/holders.h"

#include <algorithm>
#include <utility>

namespace pagetape {

Holders::Holder* Holders::find(std::uint32_t page, Name who) {
  if (first_[page].who == who) return &first_[page];
  if (!held(page)) return nullptr;
  const auto [begin, end] = others_.equal_range(page);
  const auto other = std::find_if(begin, end, [who](const auto& o) { return o.second.who == who; });
  return other != end ? &other->second : nullptr;
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
  const auto [begin, end] = others_.equal_range(page);
  if (first_[page].who == who) {
    Holder next;
    if (begin != end) {
      next = begin->second;
      others_.erase(begin);
    }
    return std::exchange(first_[page], next);
  }
  const auto other =
      std::find_if(begin, end, [who](const auto& one) { return one.second.who == who; });
  if (other == end) return {};
  const Holder taken = other->second;
  others_.erase(other);
  return taken;
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
