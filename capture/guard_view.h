// SPDX-License-Identifier: Apache-2.0
// What the guard looks at before a launch, and the arithmetic of it: one definition for the kernel
// and for the processor.
#pragma once

#include <cstdint>

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

// What the launch does with the columns of a row. Products, since a division takes ten times as
// long.
struct RowUse {
  std::uint32_t cells = 0;       // That are there.
  std::int64_t len = INT64_MAX;  // Tokens.
  std::int64_t left = 0;         // Tokens that have left the window.
  std::int64_t page_size = 1;

  PAGETAPE_BOTH bool reads(std::uint32_t col) const { return col < cells && col * page_size < len; }
  // Entries that have left the window may hold anything, but no kernel is given a bad one.
  PAGETAPE_BOTH bool live(std::uint32_t col) const {
    return reads(col) && (col + std::int64_t{1}) * page_size > left;
  }
};
PAGETAPE_BOTH RowUse row_use(const TableView& view, const GuardedLaunch& launch,
                             std::uint32_t row) {
  RowUse use;
  use.cells = row_span(view, row).cells;
  use.page_size = launch.page_size;
  if (launch.lens == nullptr) return use;
  use.len = integer_at(launch.lens, launch.len_bytes, row);
  if (launch.window > 0) use.left = use.len - launch.q_len + 1 - launch.window;
  return use;
}

template <class Cell, std::uint32_t kCells>
struct GuardItem {
  using Group = CellGroup<Cell, kCells>;
  Group cells;
  std::uint32_t index, col;  // Of the first cell.
  std::int64_t at;           // In the table's copy.
  RowUse use;

  PAGETAPE_BOTH void load(const TableView& view, const GuardedLaunch& launch, std::uint32_t i) {
    index = i * kCells;
    const std::uint32_t row = index / view.cols;
    col = index - row * view.cols;
    const std::int64_t begin = row_span(view, row).begin;
    use = row_use(view, launch, row);
    at = view.starts != nullptr ? begin + col : index;
    // Before it is known how long the row is: a load need not wait for another.
    if (col >= use.cells) return;
    cells = *reinterpret_cast<const Group*>(static_cast<const Cell*>(view.cells) + begin +
                                            col * view.col_stride);
  }
  // Bad live entries, a bit for each. `copy`, where it is not null, gets the good ones.
  PAGETAPE_BOTH std::uint32_t settle(const GuardedLaunch& launch, Cell* copy) {
    if (!use.reads(col)) return 0;
    std::uint32_t bad = 0;
    for (std::uint32_t k = 0; k < kCells; ++k) {
      if (cells.cells[k] >= 0 && cells.cells[k] < launch.bound) continue;
      if (use.live(col + k)) bad |= 1u << k;
      cells.cells[k] = static_cast<Cell>(launch.reserved);
    }
    if (copy != nullptr) *reinterpret_cast<Group*>(copy + at) = cells;
    return bad;
  }
};

// Cells of a table's copy: dense, or as index lists have them.
PAGETAPE_BOTH std::int64_t copied_cells(const TableView& view) {
  return view.starts != nullptr ? view.capacity : std::int64_t{view.rows} * view.cols;
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
