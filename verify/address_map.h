// SPDX-License-Identifier: Apache-2.0
// Which device addresses a trace says that pools, buffers and arenas have.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "traces/event.h"
#include "traces/names.h"
#include "verify/fault.h"

namespace pagetape {

// K or V of one layer of a pool, page after page.
struct PoolRegion {
  Name pool = kNone;
  Layer layer;
  char side = 'K';
  std::uint64_t begin = 0;
  std::uint64_t page_bytes = 0;  // From one page to the next.
  std::uint64_t pages = 0;
  std::uint64_t end() const { return begin + pages * page_bytes; }
};

// Follows the geometry of a trace, rank by rank.
class AddressMap {
 public:
  explicit AddressMap(const Names& names) : names_(names) {}

  void see(const Event& event);

  // K, then V, of those the trace has an address and a page stride for. `bound` is what a launch
  // said of its tensor; it counts where the pool's layer has no address.
  std::vector<PoolRegion> regions(std::int64_t rank, Name pool, Layer layer,
                                  const ev::Bound* bound) const;

  // Where the address lies, in sentences: in or behind which pool layer, buffer and arena. An
  // allocation that a fault is outside of, and that is as large as an arena, is that arena.
  std::vector<std::string> places(std::uint64_t address,
                                  const std::optional<Allocation>& nearest) const;

  // What a trace would have to hold so that more could be said, in sentences.
  std::vector<std::string> missing() const;

 private:
  using Rank = std::int64_t;
  struct Arena {
    std::uint64_t bytes = 0;
    std::vector<ev::Extent> extents;
  };

  std::uint64_t page_bytes(const ev::Pool& pool, const std::optional<Ints>& shape,
                           const std::optional<Ints>& stride, bool value) const;
  std::vector<PoolRegion> all_regions() const;
  std::optional<std::uint64_t> begin_of(Rank rank, const Arena& arena) const;
  std::string in_arena(const std::string& name, const Arena& arena, std::uint64_t begin,
                       std::uint64_t address) const;
  std::string text(Name name) const { return std::string(names_.text(name)); }

  const Names& names_;
  std::map<std::pair<Rank, Name>, ev::Pool> pools_;
  std::map<std::tuple<Rank, Name, Layer>, ev::PoolLayer> layers_;
  std::map<std::pair<Rank, Name>, ev::Buffer> buffers_;
  std::map<std::pair<Rank, Name>, Arena> arenas_;
};

}  // namespace pagetape
