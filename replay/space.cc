// SPDX-License-Identifier: Apache-2.0
#include "replay/space.h"

#include <algorithm>

namespace pagetape {

static std::uint64_t slot_of(PageId page) { return static_cast<std::uint32_t>(page); }

bool Space::among_more(const PageInfo& info, Name owner) const {
  const std::vector<Name>& others = more_[info.more - 1];
  return std::ranges::find(others, owner) != others.end();
}

std::vector<Name> Space::owners(PageId page) const {
  const PageInfo* p = pages_.find(slot_of(page));
  std::vector<Name> out;
  if (p == nullptr || p->owner == kNone) return out;
  out.push_back(p->owner);
  if (p->more != 0) out.insert(out.end(), more_[p->more - 1].begin(), more_[p->more - 1].end());
  return out;
}

Holder& Space::holder_of(Name owner) {
  if (Holder* h = holders_.find(owner)) return *h;
  Holder& h = holders_[holders_.add(owner)];
  h.birth = ++births_;
  return h;
}

void Space::release(Name owner) {
  const Holder* h = holders_.find(owner);
  if (h != nullptr && h->ended && h->pages == 0) holders_.erase(owner);
}

void Space::give(PageId page, Name owner, std::int64_t column, EventIndex by, bool makes_known) {
  PageInfo* p = pages_.find(slot_of(page));
  if (p == nullptr) {
    p = &pages_.at(slot_of(page));
    // A fresh chunk: its pages are as unknown as the space is.
    if (unknown_) {
      const std::uint64_t base = slot_of(page) / 256 * 256;
      for (std::uint64_t i = base; i < base + 256; ++i) pages_.at(i).unknown = true;
    }
  }
  if (makes_known && p->unknown) {
    p->unknown = false;
    bump_epoch();  // Whoever read it while unknown was not judged.
  }
  p->by = by;
  Holder& h = holder_of(owner);
  h.ended = false;
  if (p->owner == kNone) {
    ++h.pages;
    p->owner = owner;
    p->column = column >= 0 && column <= INT32_MAX ? static_cast<std::int32_t>(column) : -1;
    ++owned_;
  } else if (!owns(*p, owner)) {
    ++h.pages;
    join(*p, owner);
  }
  if (column >= 0) {
    h.columns.at(static_cast<std::uint64_t>(column)) = {page, false, by};
    h.last_column = std::max(h.last_column, column);
    if (p->owner == owner && p->column != column) p->column = -1;  // It stands at two.
  }
  touch(h, std::max<std::int64_t>(column, 0));
}

// One more owner.
void Space::join(PageInfo& page, Name owner) {
  if (page.more == 0) {
    if (unused_.empty()) {
      unused_.push_back(static_cast<std::uint32_t>(more_.size()));
      more_.emplace_back();
    }
    page.more = unused_.back() + 1;
    unused_.pop_back();
  }
  more_[page.more - 1].push_back(owner);
}

bool Space::take(PageId page, Name owner, EventIndex by) {
  if (!owns(page, owner)) return false;
  PageInfo& p = *pages_.find(slot_of(page));
  Holder& h = holder_of(owner);
  if (p.owner == owner && p.column >= 0) {
    touch(h, p.column, std::int64_t{p.column} + 1);
  } else {
    touch(h, 0);
  }
  --h.pages;
  p.by = by;
  if (p.more == 0) {
    p.owner = kNone;
    p.column = -1;
    --owned_;
  } else {
    std::vector<Name>& others = more_[p.more - 1];
    if (p.owner == owner) {
      p.owner = others.front();
      p.column = -1;
      others.erase(others.begin());
    } else {
      others.erase(std::ranges::find(others, owner));
    }
    if (others.empty()) {
      unused_.push_back(p.more - 1);
      p.more = 0;
    }
  }
  release(owner);
  return true;
}

void Space::evict_column(Name owner, std::int64_t logical, EventIndex by) {
  Holder& h = holder_of(owner);
  Column& c = h.columns.at(static_cast<std::uint64_t>(logical));
  c.evicted = true;
  c.by = by;
  h.last_column = std::max(h.last_column, logical);
  touch(h, logical, logical + 1);
}

void Space::end_request(Name owner) {
  Holder* h = holders_.find(owner);
  if (h == nullptr) return;
  h->columns.clear();
  touch(*h, 0);
  h->ended = true;
  release(owner);
}

void Space::lose(PageId page) {
  PageInfo* p = pages_.find(slot_of(page));
  if (p == nullptr || p->unknown) return;
  p->unknown = true;
  bump_epoch();
}

void Space::forget() {
  pages_.clear();
  more_.clear();
  unused_.clear();
  holders_ = {};
  unknown_ = true;
  owned_ = 0;
  bump_epoch();
}

bool Space::consistent() const {
  bool ok = true;
  pages_.for_each([&](std::uint64_t, const PageInfo& p) {
    ok = ok && p.more <= more_.size() && (p.more == 0 || !more_[p.more - 1].empty());
  });
  for (std::uint32_t i : unused_) ok = ok && i < more_.size();
  return ok;
}

void Space::touch_holder(Name owner, std::int64_t logical) {
  if (Holder* h = holders_.find(owner)) touch(*h, logical);
}

void Space::touch(PageId page) {
  const PageInfo* p = find(page);
  if (p == nullptr || p->owner == kNone) return;
  if (p->more != 0) {
    for (Name owner : more_[p->more - 1]) touch_holder(owner, 0);
  }
  touch_holder(p->owner, 0);
}

void Space::touch_map(Name owner, std::int64_t logical, std::int64_t end) {
  Holder* h = holders_.find(owner);
  if (h == nullptr) return;
  h->mapped.touch(logical, end);
  map_touched_.touch(index_of(*h));
}

void Space::MapTouches::touch(PageId page) {
  const PageInfo* p = space_.find(page);
  if (p == nullptr || p->owner == kNone) return;
  if (p->more != 0) {
    for (Name owner : space_.more_[p->more - 1]) space_.touch_map(owner, 0, ChangeLog::kToTheEnd);
  }
  const bool known = p->more == 0 && p->column >= 0;
  const std::int64_t low = known ? p->column : 0;
  const std::int64_t behind = known ? low + 1 : ChangeLog::kToTheEnd;
  if (p->owner == owner_) {
    low_ = std::min(low_, low);
    end_ = std::max(end_, behind);
    return;
  }
  end();
  owner_ = p->owner;
  low_ = low;
  end_ = behind;
}

void Space::MapTouches::end() {
  if (owner_ != kNone) space_.touch_map(owner_, low_, end_);
  owner_ = kNone;
}

void Space::Handover::end() {
  if (holder_ == nullptr) return;
  space_.touch(*holder_, low_, end_);
  space_.release(owner_);
  holder_ = nullptr;
}

const Holder* Space::rewind(Name owner, std::int64_t logical) {
  Holder* h = holders_.find(owner);
  touch(*h, logical);
  return h;
}

}  // namespace pagetape
