// SPDX-License-Identifier: Apache-2.0
// Tables of every shape with random changes, for the processor's compare and for the kernel's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "capture/table_memory.h"

namespace pagetape {

struct TableLayout {
  std::string name;
  std::uint32_t rows, cols, cell_bytes;
  std::int64_t row_stride, col_stride = 1;
  std::int64_t offset = 0;  // Of the slice, in cells.
  bool lists = false;
};

inline std::vector<TableLayout> table_shapes() {
  std::vector<TableLayout> shapes;
  for (const std::uint32_t bytes : {4u, 8u}) {
    const std::string width = bytes == 4 ? "int32 " : "int64 ";
    shapes.push_back({width + "dense", 16, 64, bytes, 64});
    shapes.push_back({width + "of odd columns", 7, 13, bytes, 13});
    shapes.push_back({width + "padded rows", 16, 60, bytes, 64});
    shapes.push_back({width + "slice at an odd place", 9, 24, bytes, 64, 1, 7});
    shapes.push_back({width + "slice on 16 bytes", 9, 24, bytes, 64, 1, 8});
    shapes.push_back({width + "every second column", 8, 20, bytes, 64, 2});
    shapes.push_back({width + "columns before rows", 8, 20, bytes, 1, 8});
    shapes.push_back({width + "one row", 1, 64, bytes, 64});
    shapes.push_back({width + "long rows", 3, 8'192, bytes, 8'192});
    shapes.push_back({width + "index lists", 8, 40, bytes, 0, 1, 0, true});
    shapes.push_back({width + "index lists at an odd place", 8, 40, bytes, 0, 1, 1, true});
    shapes.push_back({width + "many index lists", 600, 40, bytes, 0, 1, 0, true});
  }
  return shapes;
}

// The table, in two arrays: what a GPU gets a copy of.
class RandomTable {
 public:
  RandomTable(TableLayout shape, std::uint32_t seed) : shape_(std::move(shape)), random_(seed) {
    const auto most = static_cast<std::size_t>(
        shape_.offset + (shape_.lists ? shape_.rows * shape_.cols
                                      : (shape_.rows - 1) * shape_.row_stride +
                                            (shape_.cols - 1) * shape_.col_stride + 1));
    cells_.resize((most * shape_.cell_bytes + 15) / 16 * 2);
    starts_.assign(shape_.rows + 1, 0);
    lengths_.assign(shape_.rows, 0);
    if (shape_.lists) grow();
    for (std::int64_t& cell : cells_) cell = number() | std::int64_t{number()} << 32;
  }

  TableView view() const { return view(cells_.data(), starts_.data()); }
  // The same, of copies elsewhere.
  TableView view(const void* cells, const void* starts) const {
    TableView view;
    view.cells = static_cast<const char*>(cells) + shape_.offset * shape_.cell_bytes;
    view.rows = shape_.rows;
    view.cols = shape_.cols;
    view.cell_bytes = shape_.cell_bytes;
    view.row_stride = shape_.row_stride;
    view.col_stride = shape_.col_stride;
    if (shape_.lists) {
      view.starts = starts;
      view.capacity = std::int64_t{shape_.rows} * shape_.cols;
    }
    return view;
  }
  const std::vector<std::int64_t>& memory() const { return cells_; }
  const std::vector<std::int32_t>& starts() const { return starts_; }

  // Some cells, none, or all; of index lists the lengths too.
  void change() {
    const unsigned kind = random_() % 8;
    if (shape_.lists && kind != 0) grow();
    if (kind < 2) return;
    const std::size_t changes = kind == 7 ? cells_.size() * 4 : random_() % 16;
    for (std::size_t i = 0; i < changes; ++i) {
      auto* bytes = reinterpret_cast<char*>(cells_.data());
      const std::int32_t value = number();
      std::memcpy(bytes + random_() % (cells_.size() * 2) * 4, &value, sizeof(value));
    }
  }

 private:
  std::int32_t number() { return static_cast<std::int32_t>(random_() % 10'000) - 3; }
  void grow() {
    for (std::uint32_t row = 0; row < shape_.rows; ++row) {
      std::uint32_t& length = lengths_[row];
      length =
          random_() % 16 == 0 ? 0 : std::min<std::uint32_t>(length + random_() % 3, shape_.cols);
      starts_[row + 1] = starts_[row] + static_cast<std::int32_t>(length);
    }
  }

  const TableLayout shape_;
  std::mt19937 random_;
  std::vector<std::int64_t> cells_;  // On 16 bytes.
  std::vector<std::int32_t> starts_;
  std::vector<std::uint32_t> lengths_;
};

// What a reader of the changes knows.
struct TableModel {
  std::unordered_map<std::uint32_t, std::int32_t> cells;

  void apply(const std::vector<CellWord>& changes) {
    for (const CellWord change : changes) cells[index_of(change)] = value_of(change);
  }
  // "" where it is the table.
  std::string differences(const RandomTable& table) const {
    const TableView view = table.view();
    const auto is = [&](std::uint32_t index, std::int64_t value) {
      const auto known = cells.find(index);
      return known != cells.end() && known->second == value_of(cell_word(index, value));
    };
    for (std::uint32_t row = 0; row < view.rows; ++row) {
      const RowSpan span = row_span(view, row);
      if (view.starts != nullptr && !is(view.rows * view.cols + row, span.length)) {
        return "length of row " + std::to_string(row);
      }
      for (std::uint32_t col = 0; col < span.cells; ++col) {
        const std::int64_t value =
            integer_at(view.cells, view.cell_bytes, span.begin + col * view.col_stride);
        if (!is(row * view.cols + col, value)) {
          return "row " + std::to_string(row) + ", column " + std::to_string(col);
        }
      }
    }
    return "";
  }
};

inline std::shared_ptr<TableMemory> make_memory(const TableView& view) {
  Status status;
  return TableMemory::create("", TableKind::kPages, view, status);
}

}  // namespace pagetape
