// SPDX-License-Identifier: Apache-2.0
// An index space: who owns each page id, and which column of whom it is.
#pragma once

#include <cstdint>
#include <vector>

#include "replay/change_log.h"
#include "replay/extents.h"
#include "replay/name_table.h"
#include "replay/sparse_array.h"
#include "replay/touch_log.h"

namespace pagetape {

// A logical page of a request, as alloc, share or prefix_hit said with `first`.
struct Column {
  PageId page = kUnknownPage;
  bool evicted = false;    // It left the window; ended by the next alloc, share or hit.
  EventIndex by = kNever;  // The event that set the page, or evicted it.
  bool operator==(const Column&) const = default;
  template <class A>
  void visit(A& a) {
    a(page, evicted, by);
  }
};

// What one owner (a request or a cache) has in one space.
struct Holder {
  SparseArray<Column, 64> columns;
  std::int64_t last_column = -1;  // The greatest ever set.
  // Derived for observers, no part of a keyframe: by logical page, whose entry in a map was set or
  // cleared.
  ChangeLog mapped;
  // By logical page: where what was judged may not hold. Not told of is what a page gains, and what
  // a rewind takes from the last column or from behind it.
  ChangeLog changes;
  std::uint64_t pages = 0;  // Owned.
  std::uint64_t birth = 0;  // Tells holders of one name apart over time.
  bool ended = false;       // The request is over; forgotten when its last page goes.

  template <class A>
  void visit(A& a) {
    a(columns, changes, pages, last_column, birth, ended);
  }
};

struct PageInfo {
  Name owner = kNone;        // The first owner.
  std::uint32_t more = 0;    // 1 + index of the list of the others; 0: none.
  std::int32_t column = -1;  // The first owner's logical page, where known.
  bool unknown = false;      // Since a gap; ends at the next alloc.
  EventIndex by = kNever;    // The event that set the owners last.
  bool operator==(const PageInfo&) const = default;
  template <class A>
  void visit(A& a) {
    a(owner, more, column, unknown, by);
  }
};

class Space {
 public:
  Name name = kNone;
  std::uint32_t allocator = 0;
  std::vector<std::uint32_t> pools;  // Addressed by this space's ids.

  PageInfo info(PageId page) const {
    const PageInfo* p = pages_.find(static_cast<std::uint32_t>(page));
    return p != nullptr ? *p : PageInfo{.unknown = unknown_};
  }
  // Null where the page's neighbourhood was never given out.
  const PageInfo* find(PageId page) const { return pages_.find(static_cast<std::uint32_t>(page)); }
  const SparseArray<PageInfo>& pages() const { return pages_; }
  bool known(PageId page) const { return !info(page).unknown; }
  bool owns(PageId page, Name owner) const {
    const PageInfo* p = find(page);
    return p != nullptr && owns(*p, owner);
  }
  bool owns(const PageInfo& info, Name owner) const {
    if (owner == kNone) return false;
    return info.owner == owner || (info.more != 0 && among_more(info, owner));
  }
  bool owned(PageId page) const { return info(page).owner != kNone; }
  // Do the owner's logs tell of that column what changes of the page? Where a column only names the
  // page (it was freed since, or given out again at another one), they do not.
  bool follows(const PageInfo& info, Name owner, std::int64_t logical) const {
    return owns(info, owner) && (info.owner != owner || info.column < 0 || info.column == logical);
  }
  // The owners, the first one first.
  std::vector<Name> owners(PageId page) const;

  // column < 0: not known.
  void give(PageId page, Name owner, std::int64_t column, EventIndex by, bool makes_known);
  // False where `owner` does not own the page: then nothing changed.
  bool take(PageId page, Name owner, EventIndex by);
  void evict_column(Name owner, std::int64_t logical, EventIndex by);
  // What give() and take() do, where all is as usual, to pages of one owner one after another: what
  // moved is told to its logs at the end.
  class Handover {
   public:
    Handover(Space& space, Name owner, EventIndex by) : space_(space), owner_(owner), by_(by) {}
    Handover(const Handover&) = delete;
    Handover& operator=(const Handover&) = delete;
    ~Handover() { end(); }
    // The page where it is a known one without an owner, or the owner's alone; else null.
    PageInfo* to_give(PageId page) const;
    PageInfo* to_take(PageId page) const;
    void give(PageInfo& info, PageId page, std::int64_t column);
    void take(PageInfo& info);
    // Before anything else is done to the owner's pages.
    void end();

   private:
    Holder& holder(std::int64_t column, std::int64_t end);

    Space& space_;
    const Name owner_;
    const EventIndex by_;
    Holder* holder_ = nullptr;  // Where something moved: its columns [low_, end_).
    std::int64_t low_ = 0, end_ = 0;
  };
  // The same for pages whose entry in a map was set or cleared.
  class MapTouches {
   public:
    explicit MapTouches(Space& space) : space_(space) {}
    MapTouches(const MapTouches&) = delete;
    MapTouches& operator=(const MapTouches&) = delete;
    ~MapTouches() { end(); }
    void touch(PageId page);

   private:
    void end();

    Space& space_;
    Name owner_ = kNone;  // Where something moved: its columns [low_, end_).
    std::int64_t low_ = 0, end_ = 0;
  };

  // The request is over: its columns and evictions are forgotten, its pages stay owned.
  void end_request(Name owner);
  // What the page holds is no longer known: it got what was not.
  void lose(PageId page);
  // All pages, columns and evictions become unknown.
  void forget();

  const Holder* holder(Name owner) const { return holders_.find(owner); }
  // By which the logs below tell of it; that of one who is gone is given to another one.
  std::uint32_t holder_index(Name owner) const { return holders_.index(owner); }
  // Holders by that index, with each touch of their logs: `changes`, and `mapped`.
  const TouchLog& touched() const { return touched_; }
  const TouchLog& map_touched() const { return map_touched_; }
  // Something of the page changed for every owner of it (an extent shrank).
  void touch(PageId page);
  // The owner's pages hold less from the logical page on, which is not its last. There is one.
  const Holder* rewind(Name owner, std::int64_t logical);
  // Moves where more changed than the holders' logs can say.
  std::uint32_t epoch() const { return epoch_; }
  void bump_epoch() { ++epoch_; }
  std::uint64_t owned_pages() const { return owned_; }

  // f(page, info) for pages with an owner, ascending.
  template <class F>
  void for_each_owned(F&& f) const {
    pages_.for_each([&](std::uint64_t i, const PageInfo& info) {
      if (info.owner != kNone) f(PageId{static_cast<std::int32_t>(i)}, info);
    });
  }

  // f(owner, holder) for each, in the order in which they came.
  template <class F>
  void for_each_holder(F&& f) const {
    for (std::uint32_t i = 0; i < holders_.size(); ++i) {
      if (holders_.key(i) != kNone) f(holders_.key(i), holders_[i]);
    }
  }
  // Are pages that never had an owner unknown?
  bool unknown() const { return unknown_; }

  // After loading: does every index lead somewhere?
  bool consistent() const;

  template <class A>
  void visit(A& a) {
    a(name, allocator, pools, pages_, more_, unused_, holders_, unknown_, epoch_, births_, owned_);
  }

 private:
  bool among_more(const PageInfo& info, Name owner) const;
  void touch(Holder& holder, std::int64_t logical, std::int64_t end = ChangeLog::kToTheEnd) {
    holder.changes.touch(logical, end);
    touched_.touch(index_of(holder));
  }
  std::uint32_t index_of(const Holder& holder) const {
    return static_cast<std::uint32_t>(&holder - holders_.data());
  }
  void touch_holder(Name owner, std::int64_t logical);
  void touch_map(Name owner, std::int64_t logical, std::int64_t end);
  Holder& holder_of(Name owner);
  void join(PageInfo& page, Name owner);
  void release(Name owner);

  SparseArray<PageInfo> pages_;
  std::vector<std::vector<Name>> more_;
  std::vector<std::uint32_t> unused_;
  NameTable<Holder> holders_;
  bool unknown_ = false;  // Of pages without an entry.
  std::uint32_t epoch_ = 0;
  std::uint64_t births_ = 0;
  std::uint64_t owned_ = 0;  // Pages with an owner.
  TouchLog touched_, map_touched_;
};

inline Holder& Space::Handover::holder(std::int64_t column, std::int64_t end) {
  if (holder_ == nullptr) {
    holder_ = &space_.holder_of(owner_);
    low_ = column;
    end_ = end;
  } else {
    low_ = std::min(low_, column);
    end_ = std::max(end_, end);
  }
  return *holder_;
}

inline PageInfo* Space::Handover::to_give(PageId page) const {
  PageInfo* info = space_.pages_.find(static_cast<std::uint32_t>(page));
  const bool so = info != nullptr && !info->unknown && info->owner == kNone && owner_ != kNone;
  return so ? info : nullptr;
}

inline PageInfo* Space::Handover::to_take(PageId page) const {
  PageInfo* info = space_.pages_.find(static_cast<std::uint32_t>(page));
  const bool so = info != nullptr && !info->unknown && info->owner == owner_ && info->more == 0 &&
                  owner_ != kNone;
  return so ? info : nullptr;
}

inline void Space::Handover::give(PageInfo& info, PageId page, std::int64_t column) {
  Holder& h = holder(std::max<std::int64_t>(column, 0), ChangeLog::kToTheEnd);
  h.ended = false;
  ++h.pages;
  ++space_.owned_;
  info = {.owner = owner_,
          .column = column <= INT32_MAX ? static_cast<std::int32_t>(column) : -1,
          .by = by_};
  if (column >= 0) {
    h.columns.at(static_cast<std::uint64_t>(column)) = {page, false, by_};
    h.last_column = std::max(h.last_column, column);
  }
}

inline void Space::Handover::take(PageInfo& info) {
  Holder& h = info.column >= 0 ? holder(info.column, std::int64_t{info.column} + 1)
                               : holder(0, ChangeLog::kToTheEnd);
  --h.pages;
  --space_.owned_;
  info = {.by = by_};
}

}  // namespace pagetape
