// SPDX-License-Identifier: Apache-2.0
// One event of a trace and the state it meets, in words and cells.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gui/app/phrase.h"
#include "gui/app/trace_index.h"

namespace pagetape {

enum class CellKind : std::uint8_t {
  kLive,
  kLeftWindow,  // Before the window: the kernel skips it.
  kTail,        // Behind the lane's length: whatever an earlier launch left.
  kPadding,     // Of a lane without a request.
  kNeverWritten,
};

constexpr std::string_view words_of(CellKind kind) {
  constexpr std::string_view kWords[] = {"live", "left the window: not read",
                                         "behind the length: not read", "padding", "never written"};
  return kWords[static_cast<std::size_t>(kind)];
}

// An entry of a page table as a launch gets it.
struct CellView {
  CellKind kind = CellKind::kNeverWritten;
  std::int64_t id = 0;
  std::uint32_t owner = 0;              // Of that page in the pool bound: 1 + index of owners.
  bool outside = false;                 // No page of the pool bound.
  std::uint8_t rule = kRuleCount;       // The first that it breaks; kRuleCount: none.
  std::optional<std::int64_t> right{};  // What should stand there, by allocators and maps.
};

struct RowView {
  std::string label;  // "r0", "padding"
  std::int64_t len = -1;
  std::vector<CellView> cells;
};

// The page table of one launch, at most kMostRows by kMostColumns.
struct TableGrid {
  static constexpr std::int64_t kMostRows = 256, kMostColumns = 2048;
  std::string title;
  std::string pool;
  std::int64_t bound = 0, window = 0, tokens = 1;
  std::size_t columns = 0;
  std::vector<RowView> rows;
  std::vector<std::string> owners;
  std::uint64_t broken = 0;      // Cells that break a rule, …
  std::uint64_t lucky = 0;       // … and of those that name the right page all the same.
  bool any_other_right = false;  // Some cell says what should stand there instead.
  std::int64_t widest = 99;      // The greatest number that is shown.
};

struct LaunchBrief {
  std::string text;  // "draft, layer 4 (logical a2), pool S, 3 lanes"
  std::uint64_t findings = 0;
};

struct FindingHere {
  Rule rule = Rule::kOobPage;
  std::string place, message;
  std::int64_t launch = -1, row = -1, column = -1;
};

struct Moment {
  EventIndex at = 0;
  bool is_event = false;  // False: the end, or nothing could be read there.
  std::string kind, sentence, json, source;
  std::int64_t step = -1;
  std::optional<std::int64_t> t;
  std::vector<Block> state;  // Before the event.
  std::vector<LaunchBrief> launches;
  std::size_t launch = 0;  // The one whose table is shown.
  std::optional<TableGrid> table;
  std::vector<FindingHere> findings;  // The earliest; findings_total in all.
  std::uint64_t findings_total = 0;
};

// `launch`: of the event's launches the one whose table is wanted; absent: the first with a
// finding, else the first.
Moment look_at(Seeker& place, const Known& known, EventIndex at, std::optional<std::size_t> launch);

// What a backend's layers are bound to, alike ones once: of the layers that its logical ones lead
// to, where it has such; else all that is bound.
std::vector<Binding> bindings_in_effect(const BackendState& backend);

// The first launch of a backend that used a fact under a contradiction that began then: kNever
// where none did so far; nothing where that is not known.
using FirstUse =
    std::function<std::optional<EventIndex>(Name backend, const Fact& fact, EventIndex since)>;

// The graph that is launched next (kNone: none), then the backends, pools, pending operations and
// graphs of a state, each value with its event.
std::vector<Block> blocks_of(const World& world, const Names& names, const FirstUse& first_use,
                             Name launched);

}  // namespace pagetape
