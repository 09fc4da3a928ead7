// SPDX-License-Identifier: Apache-2.0
// How a table lies in memory, and the arithmetic of comparing it with its shadow: one definition
// for the kernels and for the processor.
//
// A table has rows and columns of integers of 4 or 8 bytes at any strides: a tensor or a slice of
// one. With `starts` it is a list of index lists (CSR: kv_indptr and kv_indices): row r is
// cells[starts[r] .. starts[r + 1]).
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define PAGETAPE_BOTH __host__ __device__ inline
#else
#define PAGETAPE_BOTH inline
#endif

namespace pagetape {

struct TableView {
  const void* cells = nullptr;
  const void* starts = nullptr;  // rows + 1 of them, or null.
  std::int64_t row_stride = 0;   // In cells. Of no account with `starts`.
  std::int64_t col_stride = 1;
  std::int64_t capacity = 0;  // With `starts`: cells that may be read.
  std::uint32_t rows = 0, cols = 0;
  std::uint32_t cell_bytes = 4, start_bytes = 4;  // 4 or 8.
  const void* lens = nullptr;  // Tokens of each row: no cell behind them is read. Null: all are.
  std::uint32_t len_bytes = 4, len_unit = 1;  // Of the width 4 or 8; tokens of a cell.
  // Of the table that this is compared as, by which cells are numbered; 0: this view's.
  std::uint32_t table_rows = 0, table_cols = 0;
};

PAGETAPE_BOTH std::uint32_t rows_of_table(const TableView& view) {
  return view.table_rows != 0 ? view.table_rows : view.rows;
}
PAGETAPE_BOTH std::uint32_t cols_of_table(const TableView& view) {
  return view.table_cols != 0 ? view.table_cols : view.cols;
}

// Cells of a row that are compared at once: 16 bytes where each row begins on 16 and holds a
// multiple of them, else one.
constexpr std::uint32_t kVectorBytes = 16;

PAGETAPE_BOTH bool compares_vectors(const TableView& view) {
  const auto row_bytes = static_cast<std::uint64_t>(view.row_stride) * view.cell_bytes;
  return view.starts == nullptr && view.lens == nullptr && view.col_stride == 1 &&
         cols_of_table(view) * view.cell_bytes % kVectorBytes == 0 &&
         reinterpret_cast<std::uintptr_t>(view.cells) % kVectorBytes == 0 &&
         row_bytes % kVectorBytes == 0 && view.cols * view.cell_bytes % kVectorBytes == 0;
}

// A changed cell: its index (row * cols + column; behind them the rows' lengths) above its value.
// The two highest bits say in which round of the memory it was written, so that a reader knows
// without the device's waiting whether it has come.
using CellWord = std::uint64_t;
constexpr std::uint32_t kIndexBits = 30;

// The model's ids have 32 bits, of which one pattern says that a cell is unknown: an id beyond is
// written as the nearest, which no pool holds either.
constexpr std::int64_t kMostCell = 2147483647, kLeastCell = -2147483647;

PAGETAPE_BOTH CellWord cell_word(std::uint32_t index, std::int64_t value) {
  const std::int64_t near = value > kMostCell ? kMostCell : value < kLeastCell ? kLeastCell : value;
  return std::uint64_t{index} << 32 | static_cast<std::uint32_t>(near);
}
PAGETAPE_BOTH std::uint32_t index_of(CellWord word) {
  return static_cast<std::uint32_t>(word >> 32) & ((1u << kIndexBits) - 1);
}
PAGETAPE_BOTH std::int32_t value_of(CellWord word) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(word));
}
// What a cell at this position of a memory for `held` cells, a power of two, has above its index.
// Memory begins as zeros, which no first round has.
PAGETAPE_BOTH CellWord round_of(std::uint64_t position, std::uint64_t held) {
  return ((position / held + 1) & 3) << (32 + kIndexBits);
}
constexpr CellWord kRoundBits = CellWord{3} << (32 + kIndexBits);

PAGETAPE_BOTH std::int64_t integer_at(const void* array, std::uint32_t bytes, std::int64_t i) {
  return bytes == 4 ? static_cast<const std::int32_t*>(array)[i]
                    : static_cast<const std::int64_t*>(array)[i];
}

// Where a row stands. What `starts` and `lens` say is not believed: no cell beyond `capacity`, or
// beyond the columns, is read. A row of the table that the view has not is empty.
struct RowSpan {
  std::int64_t begin = 0;   // In cells.
  std::uint32_t cells = 0;  // That may be read, up to the view's columns.
  std::int64_t length = 0;  // As `starts` has it.
};
PAGETAPE_BOTH RowSpan list_span(const TableView& view, std::uint32_t row) {
  const std::int64_t begin = integer_at(view.starts, view.start_bytes, row);
  const std::int64_t end = integer_at(view.starts, view.start_bytes, std::int64_t{row} + 1);
  RowSpan span{begin, 0, end - begin};
  if (begin < 0 || end <= begin || begin >= view.capacity) return span;
  const std::int64_t readable = (end < view.capacity ? end : view.capacity) - begin;
  span.cells = readable < view.cols ? static_cast<std::uint32_t>(readable) : view.cols;
  return span;
}
PAGETAPE_BOTH RowSpan row_span(const TableView& view, std::uint32_t row) {
  if (row >= view.rows) return {};
  if (view.starts == nullptr) {
    RowSpan span{row * view.row_stride, view.cols, view.cols};
    if (view.lens == nullptr) return span;
    const std::int64_t tokens = integer_at(view.lens, view.len_bytes, row);
    const std::int64_t cells = tokens <= 0 ? 0 : (tokens - 1) / view.len_unit + 1;
    if (cells < view.cols) span.cells = static_cast<std::uint32_t>(cells);
    return span;
  }
  return list_span(view, row);
}

// What the compare knows from step to step, in the memory of who compares.
struct DeltaState {
  std::uint64_t cursor = 0;       // Cells written so far, those of this step too.
  std::uint64_t begin = 0;        // Of this step.
  std::uint64_t cells_limit = 0;  // Up to where there is room.
  std::uint64_t steps = 0;        // That have ended.
  std::uint64_t steps_limit = 0;  // Of those, too.
  std::uint32_t full = 1;         // The next step writes every cell.
};

// What is left of a step when its cells are written: its number above the count of its cells. It
// commits them. A step without room is said to be lost, and what it wrote is written over.
struct StepEnd {
  bool lost = false;
  std::uint64_t word = 0;
};
PAGETAPE_BOTH std::uint64_t step_word(std::uint64_t step, std::uint64_t cells) {
  return step << 32 | cells;
}
PAGETAPE_BOTH StepEnd end_step(DeltaState& state) {
  ++state.steps;
  if (state.cursor > state.cells_limit || state.steps > state.steps_limit) {
    state.cursor = state.begin;
    state.full = 1;
    return {true, 0};
  }
  const std::uint64_t cells = state.cursor - state.begin;
  state.begin = state.cursor;
  state.full = 0;
  return {false, step_word(state.steps, cells)};
}

// Some cells of a row, side by side: of the table and of its shadow.
template <class Cell, std::uint32_t kCells>
struct alignas(kCells > 1 ? kVectorBytes : sizeof(Cell)) CellGroup {
  Cell cells[kCells];
};

// A shadow's cell where the table has none: the next one that is there differs.
template <class Cell>
PAGETAPE_BOTH Cell no_cell() {
  return static_cast<Cell>(sizeof(Cell) == 4 ? INT32_MIN : INT64_MIN);
}

// One unit of work: what was loaded for it, and what of that is to be written.
template <class Cell, std::uint32_t kCells>
struct CompareItem {
  using Group = CellGroup<Cell, kCells>;
  Group now, shadow;
  std::uint32_t index;  // Of the first cell.
  bool there;           // Not where an index list has no entry.

  // Item `i` of a row. `shadows` is dense: rows * cols.
  PAGETAPE_BOTH void load(const TableView& view, const Cell* shadows, const RowSpan& span,
                          std::uint32_t row, std::uint32_t i) {
    const std::uint32_t col = i * kCells;
    index = row * cols_of_table(view) + col;
    there = col < span.cells;
    now = {};  // Not the shadow, for which the table would have to wait.
    if (there) {
      const auto* cells = static_cast<const Cell*>(view.cells) + span.begin;
      now = *reinterpret_cast<const Group*>(cells + col * view.col_stride);
    }
    shadow = *reinterpret_cast<const Group*>(shadows + index);
  }
  // Whether a step that is not full has anything to do here.
  PAGETAPE_BOTH bool differs() const {
    bool differs = !there;
    for (std::uint32_t k = 0; k < kCells; ++k) differs |= now.cells[k] != shadow.cells[k];
    return differs;
  }
  // The cells to be written, a bit for each; their shadows are as they are then.
  PAGETAPE_BOTH std::uint32_t settle(Cell* shadows, bool full) {
    auto* to = reinterpret_cast<Group*>(shadows + index);
    if (!there) {
      for (std::uint32_t k = 0; k < kCells; ++k) to->cells[k] = no_cell<Cell>();
      return 0;
    }
    std::uint32_t changed = 0;
    for (std::uint32_t k = 0; k < kCells; ++k) {
      if (full || now.cells[k] != shadow.cells[k]) changed |= 1u << k;
    }
    if (changed != 0) *to = now;
    return changed;
  }
};

// Rows, and items of a row, that are to be looked at. A full step also forgets what of the table is
// not there.
PAGETAPE_BOTH std::uint32_t rows_looked_at(const TableView& view, bool full) {
  return full ? rows_of_table(view) : view.rows;
}
PAGETAPE_BOTH std::uint32_t items_of_row(const TableView& view, const RowSpan& span,
                                         std::uint32_t cells_an_item, bool full) {
  return (full ? cols_of_table(view) : span.cells) / cells_an_item;
}

// The length of a row of an index list, as a cell behind the table's. False where it is known.
PAGETAPE_BOTH bool length_changed(const TableView& view, std::int64_t* lengths, std::uint32_t row,
                                  bool full, CellWord& word) {
  const std::int64_t length = row_span(view, row).length;
  if (!full && lengths[row] == length) return false;
  lengths[row] = length;
  word = cell_word(rows_of_table(view) * cols_of_table(view) + row, length);
  return true;
}

}  // namespace pagetape
