// SPDX-License-Identifier: Apache-2.0
// What the guard looks at before a launch, and the arithmetic of it: one definition for the kernel
// and for the processor.
#pragma once

#include <cstdint>
#include <type_traits>

#include "capture/table_view.h"

namespace pagetape {

// A launch that reads a table. Entries count what the kernel counts, pages or slots.
struct GuardedLaunch {
  const void* lens =
      nullptr;  // Tokens of each row, the new ones too; null: all of the row is live.
  std::uint32_t len_bytes = 4;
  std::int32_t layer = 0;
  std::int64_t bound = 0;     // Entries lie in [0, bound).
  std::int64_t reserved = 0;  // What a bad one becomes in the copy.
  std::int64_t page_size = 1;
  std::int64_t window = 0;  // Tokens; 0: full attention.
  std::int64_t q_len = 1;
};

// The first bad entry of a launch, by row, then by column.
struct GuardReport {
  std::uint64_t number;  // From 1; written last.
  std::uint64_t bad;     // Entries of that launch.
  std::int64_t id, bound;
  std::uint32_t row, col;
  std::int32_t layer;
  std::uint32_t reserved;
};
constexpr std::uint64_t kReportsHeld = 64;

struct GuardState {
  std::uint64_t bad = 0;
  std::uint32_t first = UINT32_MAX;  // Index of the first.
};

// Columns of a row that count: [begin, end). Those before have left the window, and no launch reads
// those behind: they may hold anything.
struct LiveColumns {
  std::uint32_t begin = 0, end = 0;
};
// Of no account where the launch has no lengths.
PAGETAPE_BOTH std::int64_t tokens_of(const GuardedLaunch& launch, std::uint32_t row) {
  return launch.lens == nullptr ? 0 : integer_at(launch.lens, launch.len_bytes, row);
}
PAGETAPE_BOTH LiveColumns live_columns(const RowSpan& span, const GuardedLaunch& launch,
                                       std::uint32_t row) {
  LiveColumns live{0, span.cells};
  if (launch.lens == nullptr) return live;
  const std::int64_t len = tokens_of(launch, row);
  const std::int64_t pages = len <= 0 ? 0 : (len - 1) / launch.page_size + 1;
  if (pages < live.end) live.end = static_cast<std::uint32_t>(pages);
  const std::int64_t left = launch.window > 0 ? len - launch.q_len + 1 - launch.window : 0;
  if (left <= 0) return live;
  const std::int64_t begin = left / launch.page_size;
  live.begin = begin < live.end ? static_cast<std::uint32_t>(begin) : live.end;
  return live;
}

// Items of a row that are looked at, of so many cells each: those of its live columns. What the
// copy has elsewhere, no kernel is said to read, and one that does all the same finds ids that were
// good once. Where the bound has become smaller they no longer are, and the whole row is copied
// anew.
struct GuardedItems {
  std::uint32_t begin = 0, end = 0;
};
PAGETAPE_BOTH GuardedItems guarded_items(const RowSpan& span, const LiveColumns& live, bool whole,
                                         std::uint32_t cells) {
  if (whole) return {0, (span.cells + cells - 1) / cells};
  return {live.begin / cells, (live.end + cells - 1) / cells};
}

// A bound as wide as the cells, without a sign: negative ids lie beyond each.
template <class Cell>
PAGETAPE_BOTH std::make_unsigned_t<Cell> ends_below(std::int64_t bound) {
  constexpr std::int64_t kBeyond = sizeof(Cell) == 4 ? std::int64_t{1} << 31 : INT64_MAX;
  return static_cast<std::make_unsigned_t<Cell>>(bound < kBeyond ? bound : kBeyond);
}
template <class Cell>
PAGETAPE_BOTH bool is_below(Cell id, std::make_unsigned_t<Cell> bound) {
  return static_cast<std::make_unsigned_t<Cell>>(id) < bound;
}

template <class Cell, std::uint32_t kCells>
struct GuardItem {
  using Group = CellGroup<Cell, kCells>;
  Group cells;

  // Item `i` of a row, which has an entry that is read.
  PAGETAPE_BOTH void load(const TableView& view, const RowSpan& span, std::uint32_t i) {
    cells = *reinterpret_cast<const Group*>(static_cast<const Cell*>(view.cells) + span.begin +
                                            i * kCells * view.col_stride);
  }
  // Bad live entries, a bit for each. `copy`, where it is not null, is the row's in the copy and
  // gets the good ones.
  PAGETAPE_BOTH std::uint32_t settle(const GuardedLaunch& launch, const LiveColumns& live,
                                     std::uint32_t i, Cell* copy) {
    const std::uint32_t col = i * kCells;
    const auto below = ends_below<Cell>(launch.bound);
    bool good = true;  // Mostly: one comparison a cell.
    for (std::uint32_t k = 0; k < kCells; ++k) good &= is_below(cells.cells[k], below);
    std::uint32_t bad = 0;
    for (std::uint32_t k = 0; !good && k < kCells; ++k) {
      if (is_below(cells.cells[k], below)) continue;
      if (col + k >= live.begin && col + k < live.end) bad |= 1u << k;
      cells.cells[k] = static_cast<Cell>(launch.reserved);
    }
    if (copy != nullptr) *reinterpret_cast<Group*>(copy + col) = cells;
    return bad;
  }
};

// Where a row begins in a table's copy, which is dense, or as index lists have it.
PAGETAPE_BOTH std::int64_t copied_row(const TableView& view, const RowSpan& span,
                                      std::uint32_t row) {
  return view.starts != nullptr ? span.begin : std::int64_t{row} * view.cols;
}
// Cells of a table's copy: dense, or as index lists have them.
PAGETAPE_BOTH std::int64_t copied_cells(const TableView& view) {
  return view.starts != nullptr ? view.capacity : std::int64_t{view.rows} * view.cols;
}

// Whether a copy made for one table has room for another.
PAGETAPE_BOTH bool copy_holds(const TableView& made_for, const TableView& view) {
  return view.cell_bytes == made_for.cell_bytes && copied_cells(view) <= copied_cells(made_for);
}

PAGETAPE_BOTH GuardReport make_report(const TableView& view, const GuardedLaunch& launch,
                                      const GuardState& state, std::uint64_t number) {
  const std::uint32_t row = state.first / view.cols, col = state.first % view.cols;
  const std::int64_t cell = row_span(view, row).begin + col * view.col_stride;
  return {number,       state.bad, integer_at(view.cells, view.cell_bytes, cell),
          launch.bound, row,       col,
          launch.layer, 0};
}

}  // namespace pagetape
