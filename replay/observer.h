// SPDX-License-Identifier: Apache-2.0
// What State::apply tells of an event while it applies it: each page's fate before it takes
// effect, each launch before it runs. The rules of verify/ listen here, and so do executors.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "replay/world.h"

namespace pagetape {

// What an event does with one page.
enum class Act : std::uint8_t {
  kAlloc,
  kShare,
  kPrefixHit,
  kFree,
  kEvict,
  kMapFree,
  kMapSet,
  kFill,
  kStore,
  kCopyRead,
  kCopyWrite,
  kTransferRead,
  kTransferWrite,
};

// How that page stood, the first that applies: an alloc meets outside, reserved, taken; a share or
// a hit reserved, no owner; a free reserved, foreign; a write outside, null page, pad elsewhere,
// no owner, foreign, shared.
enum class Fate : std::uint8_t {
  kOk,
  kUnknown,       // Owners not known since a gap: nothing can be said.
  kOutside,       // The id is outside the pool: the page is skipped.
  kReserved,      // A page that no request may own.
  kTaken,         // Owned already in its allocator: one more owner, contents stay.
  kNoOwner,       // Nobody owns the page.
  kForeign,       // Others own it, the one who acts does not.
  kShared,        // A write, and the page has more than one owner (or a second `from` page).
  kNullPage,      // A write to a `null` page.
  kPadElsewhere,  // A padding lane writes a page that is not reserved.
  kPad,           // A write to a `pad` page: legal, it holds nothing afterwards.
};

struct LaunchView;

struct PageAct {
  Act act;
  Fate fate = Fate::kOk;
  std::uint32_t pool = kNoPool;
  PageId page{};
  Name req = kNone;              // kNone: a padding lane.
  std::int64_t row = -1;         // Lane of a launch.
  std::int64_t column = -1;      // Position in the event's list, or logical page of an evict.
  SlotId slot{-1};               // First slot of a store in that page.
  LayerSet layers = kAllLayers;  // Physical layers written or read.
  const LaunchView* launch = nullptr;
  std::uint32_t group = 0;  // Of the launch's targets.
  Name name = kNone;        // The map, the operation, or the prefix key.
  std::int64_t from = -1;   // kMapFree, kMapSet: the entry's index.
  std::int64_t other = -1;  // kMapSet: the `from` page that is mapped there already.
};

// A lane of a launch with graph rows and buffers looked up.
struct Lane {
  Name req = kNone;
  std::int64_t row = -1;  // Row of the table buffer; -1: the entries stand inline.
  std::int64_t len = -1;  // Tokens, new ones included; -1: not known.
  std::int64_t q_len = 1;
  std::int64_t q_pos = 0;     // Position of the first query.
  std::int64_t first = 0;     // Logical index of entry 0.
  std::int64_t entries = -1;  // That the row has; -1: not known.
  bool usual = false;         // A request's, with the entries of its table row one after another.
  const Pages* pages = nullptr;
  const TableRow* table = nullptr;
  const Ints* logical = nullptr;
  const NameList* spaces = nullptr;
  std::uint32_t slots_begin = 0, slots_count = 0;  // Into LaunchView::slots.

  Lane() {}  // Written out, so that emplace_back() does not clear the bytes first.

  // What moves from launch to launch: the row of the table, and the length.
  void look_up_row(const BufferState& of) {
    table = of.table.find(static_cast<std::uint64_t>(row));
    usual = table != nullptr && req != kNone && logical == nullptr && spaces == nullptr;
  }
  void look_up_length(const BufferState& of) {
    len = of.length_at(row);
    q_pos = len - q_len;
  }

  // One past the last entry that may be known.
  std::int64_t held() const {
    if (pages != nullptr) return static_cast<std::int64_t>(pages->size());
    if (table == nullptr) return 0;
    if (!table->far.empty()) return table->far.rbegin()->first + 1;
    return static_cast<std::int64_t>(table->cells.size());
  }
  // From entry j on the first that may be known. Far cells have nothing between them: how far they
  // are is a number in a file.
  std::int64_t next(std::int64_t j) const {
    if (table == nullptr || j < static_cast<std::int64_t>(table->cells.size())) [[likely]]
      return j;
    const auto it = table->far.lower_bound(j);
    return it == table->far.end() ? std::max(j, held()) : it->first;
  }
  // Entry j as the kernel gets it; null: never written, unknown.
  bool entry(std::int64_t j, Cell& out) const {
    if (pages != nullptr) {
      if (j < 0 || j >= static_cast<std::int64_t>(pages->size())) return false;
      out = {(*pages)[static_cast<std::size_t>(j)], 0, kNever};
      return true;
    }
    const Cell* cell = table == nullptr ? nullptr : table->find(j);
    if (cell == nullptr || cell->page == kUnknownPage) return false;
    out = *cell;
    return true;
  }
};

inline constexpr std::uint32_t kNoSpace = UINT32_MAX;

// An attention, store or copy about to run; valid during the call only.
struct LaunchView {
  const ev::Attention* attention = nullptr;  // One of the three.
  const ev::Store* store = nullptr;
  const ev::Copy* copy = nullptr;
  const BackendState* backend = nullptr;
  const Targets* targets = nullptr;
  const std::vector<Fact>* facts = nullptr;
  const GraphState* graph = nullptr;  // The launch runs from it, as captured.
  Name graph_name = kNone;
  std::int64_t number = -1;          // Within the graph launch.
  std::int64_t rows_like = -1;       // The launch of the graph with the same rows.
  std::uint32_t claim = kNoSpace;    // The space that the launch says.
  std::uint32_t table = UINT32_MAX;  // Index of the table buffer.
  std::int32_t stream = 0;
  EventIndex event = kNever;
  // Where each lane is a row of this table, with its length in this buffer; else null.
  const BufferState* table_of = nullptr;
  const BufferState* lens_of = nullptr;
  // What moves is not looked up: see refresh(). Only for an observer that takes_stale_lanes().
  bool stale = false;
  mutable std::vector<Lane> lanes;
  // Of a store whose lanes are each but a request and its slots; else null.
  const ev::SlotLanes* slot_lanes = nullptr;
  const ev::Rows* today = nullptr;  // The lanes that a graph launch names.
  std::vector<SlotId> slots;        // INT64_MIN: a buffer value never written.

  // Valid ids for a store are those of the tensor that it got, where it is said what that was; a
  // copy has none.
  std::int64_t bound_of(const Pool& pool) const {
    const bool said = store != nullptr && store->bound && store->bound->pages.has_value();
    return said ? *store->bound->pages : pool.pages;
  }

  void refresh(std::size_t lane) const {
    if (!stale) return;
    lanes[lane].look_up_row(*table_of);
    lanes[lane].look_up_length(*lens_of);
  }
};

// Called by State::apply, in order; the world is as it was before the act. All may be ignored.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void on_event(const World&, const Event&, EventIndex) {}
  virtual void on_page(World&, const PageAct&) {}
  virtual void on_launch(World&, const LaunchView&) {}
  virtual void on_graph_launch(const World&, Name /*graph*/, const GraphState&) {}
  // Whether lanes that are not up to date will do: most are then never looked at.
  virtual bool takes_stale_lanes() const { return false; }
  // Whether the lanes of stores are looked at: otherwise those that have but a request and slots
  // are not made, nor those of a store that is the one before in another layer.
  virtual bool looks_at_slots() const { return true; }
  // Is it enough to be told, behind them, how many pages of such an act are as they should be
  // (Fate::kOk, of a request), instead of each by on_page? Of these acts: kAlloc, kFree, kMapFree,
  // kMapSet, kFill.
  virtual bool counts(const World&, Act, std::uint32_t /*pool*/) const { return false; }
  virtual void on_counted(const World&, Act, std::uint32_t /*pool*/, std::uint64_t /*pages*/) {}
  // Asked behind on_launch of a store: is it enough to be told how many pages are written as they
  // should be, by a request that alone owns them, instead of each by on_page? And, where the store
  // begins a front or widens one, how many that are reserved for padding its padding writes, lane
  // by lane.
  virtual bool counts_pages() const { return false; }
  virtual void on_pages(const LaunchView&, std::uint32_t /*group*/, std::uint64_t /*pages*/,
                        std::uint64_t /*pads*/) {}
};

}  // namespace pagetape
