// SPDX-License-Identifier: Apache-2.0
// Blame for a page table: who wrote last what a launch depends on. A look-up in the state, which
// knows of each page, map entry, cell, binding and fact the event that set it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "replay/observer.h"
#include "traces/names.h"

namespace pagetape {

struct Finding;

enum class LinkKind : std::uint8_t {
  kPool,
  kBuffer,
  kBackend,
  kFact,
  kRemap,
  kBinding,
  kAllocation,  // Or the free, where the page has no owner.
  kWrite,
  kMapEntry,
  kLength,
  kSlot,
  kTableCell,
  kScalar,
  kGraph,  // Froze pointers, bindings and scalars.
  kCause,  // Of a rule: an eviction, a pending operation, …
  kLaunch,
};
inline constexpr std::string_view kLinkKinds[] = {
    "pool",      "buffer", "backend", "fact",       "remap",  "binding", "allocation", "write",
    "map entry", "length", "slot",    "table cell", "scalar", "graph",   "cause",      "launch"};
constexpr std::string_view link_kind_name(LinkKind kind) {
  return kLinkKinds[static_cast<std::size_t>(kind)];
}

// A place in the state of which the last writer is asked: what its kind needs of it.
struct Spot {
  LinkKind kind = LinkKind::kCause;
  Name object = kNone;     // Pool, buffer, backend, map, scalar or graph.
  std::int64_t a = -1;     // Page; row; `from` of a map entry.
  std::int64_t b = -1;     // Column.
  Layer layer{};           // Physical for a binding, logical for a remap.
  Name attribute = kNone;  // Of a fact; kNone: its sliding-window state.
  bool operator==(const Spot&) const = default;
};

// What stands there, in words; "" where the spot is just an event. `names` is the state's table.
std::string value_of(const World& world, const Spot& spot, const Names& names);

// One event of a chain: it wrote what stands at the spot. The last four are read from the trace.
struct Link {
  Spot spot;
  EventIndex event = kNever;
  std::string value;       // As it stood for the launch.
  std::int64_t step = -1;  // -1: none yet, or not known.
  std::int64_t t = INT64_MIN;
  std::string sentence{};      // The event in words. Empty: it cannot be read.
  std::string src{};           // The call site, where it was recorded.
  std::string value_before{};  // Before the event; "" where that was not looked up.
  bool operator==(const Link&) const = default;

  // What was read of the same event for another link.
  void take_event(const Link& other) {
    std::tie(step, t, sentence, src) = std::tie(other.step, other.t, other.sentence, other.src);
  }
};

// A chain is oldest first and ends before the event at hand; links of one event stand together.

// An entry of a lane, or a slot of a store's: all that led to this id being used there.
std::vector<Link> blame_entry(const World& world, const LaunchView& view, const Target& target,
                              std::int64_t row, std::int64_t column, const Names& names);
// What a launch dereferences, but for its entries.
std::vector<Link> blame_target(const World& world, const LaunchView& view, const Target& target,
                               const Names& names);
// The binding of a backend's layer today (logical or physical).
std::vector<Link> blame_binding(const World& world, Name backend, Layer layer, const Names& names);
std::vector<Link> blame_page(const World& world, std::uint32_t pool, PageId page,
                             const Names& names);
// A cell of a table, as `table` events count rows and columns.
std::vector<Link> blame_cell(const World& world, Name buffer, std::int64_t row, std::int64_t column,
                             const Names& names);
// A run-time scalar, and the graph that froze it (kNone: none).
std::vector<Link> blame_scalar(const World& world, Name scalar, Name graph, const Names& names);
// A finding about to be reported; `view` is null outside a launch.
std::vector<Link> blame_finding(const World& world, const Finding& finding, const LaunchView* view,
                                const Names& names);

}  // namespace pagetape
