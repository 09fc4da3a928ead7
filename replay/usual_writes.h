// SPDX-License-Identifier: Apache-2.0
// Writes of pages by requests that alone own them: nearly all.
#pragma once

#include <algorithm>
#include <cstdint>

#include "replay/world.h"

namespace pagetape {

// By one event, to one pool, in one set of layers; pages from `bound` on are outside.
class UsualWrites {
 public:
  UsualWrites(World& world, Pool& pool, std::int64_t bound, LayerSet layers, EventIndex by)
      : layer_sets_(world.layers),
        pool_(pool),
        space_(world.space_of(pool)),
        bound_(static_cast<std::uint64_t>(
            std::clamp<std::int64_t>(std::min(pool.pages, bound), 0, INT32_MAX))),
        reserved_(pool.reserved.empty() ? -1 : raw(pool.reserved.back().page)),
        layers_(layers),
        by_(by) {}
  UsualWrites(const UsualWrites&) = delete;
  UsualWrites& operator=(const UsualWrites&) = delete;
  ~UsualWrites() {
    if (pages_ == 0 || layers_ == kAllLayers) return;
    pool_.layers_written = layer_sets_.unite(pool_.layers_written, layers_);
  }

  // Is the page the request's alone? Of the pages from INT32_MAX on that is never said.
  [[gnu::always_inline]] bool takes(Name req, std::int64_t page) const {
    if (static_cast<std::uint64_t>(page) >= bound_ || req == kNone) return false;
    const PageId id{static_cast<std::int32_t>(page)};
    const PageInfo* info = space_.find(id);
    if (info == nullptr || info->unknown || info->owner != req || info->more != 0) return false;
    return page > reserved_ || pool_.reserved_page(id) == nullptr;
  }
  // Is the page there for padding to write to?
  bool pads(std::int64_t page) const {
    if (static_cast<std::uint64_t>(page) >= bound_) return false;
    const ReservedPage* reserved = pool_.reserved_page(PageId{static_cast<std::int32_t>(page)});
    return reserved != nullptr && !reserved->is_null;
  }
  // Offsets [begin, end) of a page that takes() said so of.
  [[gnu::always_inline]] void write(std::int64_t page, std::uint32_t begin, std::uint32_t end) {
    const auto at = static_cast<std::uint32_t>(page);
    pool_.extents.write(layer_sets_, at, layers_, begin, end, by_);
    if (Name* digest = pool_.digests.find(at)) *digest = kNone;
    ++pages_;
  }
  std::uint64_t pages() const { return pages_; }  // Written, each counted once a write.

 private:
  LayerSets& layer_sets_;
  Pool& pool_;
  const Space& space_;
  const std::uint64_t bound_;
  const std::int32_t reserved_;  // The last one; -1: none.
  const LayerSet layers_;
  const EventIndex by_;
  std::uint64_t pages_ = 0;
};

}  // namespace pagetape
