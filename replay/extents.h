// SPDX-License-Identifier: Apache-2.0
// Which offsets of each page were written, in which layers, since the page was given out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "replay/layer_sets.h"
#include "replay/sparse_array.h"

namespace pagetape {

using EventIndex = std::uint64_t;
inline constexpr EventIndex kNever = UINT64_MAX;

// A set of offsets within a page: a prefix, and bits for what lies beyond it.
struct Offsets {
  std::uint32_t prefix = 0;
  std::vector<std::uint64_t> bits;  // Empty in the common case. Bit i: offset i (prefix included).

  void add(std::uint32_t begin, std::uint32_t end);
  void cut(std::uint32_t length);  // Forgets offsets from `length` on.
  bool covers(std::uint32_t begin, std::uint32_t end) const;
  bool empty() const { return prefix == 0 && bits.empty(); }
  bool operator==(const Offsets&) const = default;
  template <class A>
  void visit(A& a) {
    a(prefix, bits);
  }
};

// The written extents of one pool. Common case: all layers written alike, from offset 0 up: one
// layer set and one number a page. Other pages hold groups of layers in a side table.
//
// Engines tell a step's stores layer by layer, each the same. Their pages are then a front: of each
// it is told once how far it is written, and of all together in which layers. What asks knows of
// it; settle() says it of each page, and comes before whatever else writes.
class Extents {
 public:
  // Offsets [begin, end) of the page were written in these layers by the event.
  [[gnu::always_inline]] void write(LayerSets& sets, std::uint32_t page, LayerSet layers,
                                    std::uint32_t begin, std::uint32_t end, EventIndex by) {
    Page& p = pages_.at(page);
    p.by = by;
    if (p.groups == 0 && begin <= p.prefix && (p.layers == layers || p.prefix == 0)) [[likely]] {
      p.layers = layers;
      p.prefix = std::max(p.prefix, end);
    } else {
      write_apart(sets, p, layers, begin, end);
    }
  }
  // Nothing of the page counts as written.
  void reset(std::uint32_t page);
  // What was written from offset `length` on no longer counts, in any layer.
  void cut(std::uint32_t page, std::uint32_t length) {
    Page* p = pages_.find(page);
    if (p == nullptr) return;
    if (p->groups != 0) return cut_groups(*p, length);
    p->prefix = std::min(p->prefix, length);
    if (p->prefix == 0) p->layers = kNoLayers;
  }
  // A front of no pages yet, written in these layers by the event; its number is none before had.
  std::uint64_t begin_front(LayerSet layers, EventIndex by);
  // The page is written on, offsets [begin, end), or for the first time. False, and nothing is
  // done, where it is in the front already, or is not written alike in these layers and maybe
  // others.
  bool join_front(LayerSets& sets, std::uint32_t page, std::uint32_t begin, std::uint32_t end);
  // The same is written in these layers, too. False, and nothing is done, where it is not a front
  // of that number, or would not have begun with these layers.
  bool widen_front(LayerSets& sets, std::uint64_t number, LayerSet layers, EventIndex by);
  // It is none: nothing was written.
  void drop_front();
  void settle(LayerSets& sets);
  // Is it written in every one of these layers?
  bool front_in(LayerSets& sets, LayerSet layers) const {
    return front() != 0 && sets.contains(front_.layers, layers);
  }
  // Its number; 0: there is none.
  std::uint64_t front() const { return front_.pages.empty() ? 0 : front_.number; }
  LayerSet front_layers() const { return front_.layers; }
  const std::vector<std::uint32_t>& front_pages() const { return front_.pages; }

  // The page's extents become those of `from_page` in `from`, in these layers and offsets below
  // `end`; what the source lacks is lacking after.
  void copy(LayerSets& sets, std::uint32_t page, const Extents& from, std::uint32_t from_page,
            LayerSet layers, std::uint32_t end, EventIndex by);

  // Is every offset of [begin, end) written in every one of these layers?
  bool covers(LayerSets& sets, std::uint32_t page, LayerSet layers, std::uint32_t begin,
              std::uint32_t end) const {
    if (begin >= end) return true;
    const Page* p = pages_.find(page);
    if (p == nullptr) return false;
    if (p->groups != 0) return groups_cover(sets, groups_[p->groups - 1], layers, begin, end);
    if (end <= p->prefix && sets.contains(p->layers, layers)) return true;
    return end <= p->front && front_in(sets, layers);
  }
  // The layers in which alone the page was, as usual, written alike (but for a front); kNoLayers:
  // of none that holds.
  LayerSet alike(std::uint32_t page) const {
    const Page* p = pages_.find(page);
    return p != nullptr && p->groups == 0 ? p->layers : kNoLayers;
  }
  // The layers in which every offset of [begin, end) is written.
  LayerSet covered(LayerSets& sets, std::uint32_t page, std::uint32_t begin,
                   std::uint32_t end) const;
  // The event that wrote the page last; kNever where nothing is written.
  EventIndex written_by(std::uint32_t page) const;

  void clear();
  // After loading: does every index lead somewhere?
  bool consistent(std::size_t layer_sets, std::uint32_t page_size) const;

  // Saved, the side table is in the order of pages, whatever the order in which they came to it.
  template <class A>
  void visit(A& a) {
    if constexpr (!A::kLoading) {
      if (!groups_.empty()) {
        Extents ordered = *this;
        ordered.order_groups();
        return a(ordered.pages_, ordered.groups_, ordered.unused_);
      }
    }
    a(pages_, groups_, unused_);
  }

  struct Group {
    LayerSet layers = kNoLayers;
    Offsets offsets;
    template <class A>
    void visit(A& a) {
      a(layers, offsets);
    }
  };
  using Groups = std::vector<Group>;  // Disjoint layer sets, none empty.
  // What of the page is written; there is no front.
  Groups written(std::uint32_t page) const;

  struct Page {
    LayerSet layers = kNoLayers;  // Of the prefix; unused where `groups` is set.
    std::uint32_t prefix = 0;
    std::uint32_t groups = 0;  // 1 + index of the side table's entry; 0: none.
    std::uint32_t front = 0;   // Of the front: written so far from offset 0 on; 0: it is in none.
    EventIndex by = kNever;
    // How far it is written from offset 0 on, where it was written alike in just these layers, and
    // so in what these and those of the front have in common, if `fronts` is not 0 but ~0.
    std::uint32_t written(LayerSet in, std::uint32_t fronts = 0) const {
      return groups == 0 && layers == in ? std::max(prefix, front & fronts) : 0;
    }
    bool operator==(const Page&) const = default;
    template <class A>
    void visit(A& a) {
      a(layers, prefix, groups, by);
    }
  };

  const SparseArray<Page>& pages() const { return pages_; }

 private:
  // A write to a page of several groups, or that makes it one.
  void write_apart(LayerSets& sets, Page& page, LayerSet layers, std::uint32_t begin,
                   std::uint32_t end);
  void cut_groups(Page& page, std::uint32_t length);
  static bool groups_cover(LayerSets& sets, const Groups& groups, LayerSet layers,
                           std::uint32_t begin, std::uint32_t end);
  static bool grow_in_place(Groups& groups, LayerSet layers, std::uint32_t begin,
                            std::uint32_t end);
  bool move_ahead(LayerSets& sets, Page& page, LayerSet layers, std::uint32_t begin,
                  std::uint32_t end);
  Groups& new_groups(Page& page);
  void free_groups(Page& page);
  Groups take_groups(Page& page);
  void put_groups(Page& page, Groups groups);
  void order_groups();

  // Each page's prefix, where it has one, is of layers that all those of the front are among.
  struct Front {
    std::uint64_t number = 0;
    LayerSet layers = kNoLayers, within = kAllLayers;  // `within`: of all pages' prefixes.
    EventIndex by = kNever;                            // The last one of its events.
    std::vector<std::uint32_t> pages;
  };

  SparseArray<Page> pages_;
  std::vector<Groups> groups_;
  std::vector<std::uint32_t> unused_;  // Free entries of groups_.
  Front front_;
};

}  // namespace pagetape
