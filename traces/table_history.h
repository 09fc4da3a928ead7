// SPDX-License-Identifier: Apache-2.0
// The last contents of table rows within a segment: what the changes of schema::TableCells are
// relative to. Writer and reader keep it alike.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "traces/fields.h"

namespace pagetape {

struct TableRowKey {
  std::int64_t rank = INT64_MIN;  // INT64_MIN: absent.
  Name buffer = kNone;
  std::int64_t row = 0;
  bool operator==(const TableRowKey&) const = default;
};

struct TableRowHash {
  std::size_t operator()(const TableRowKey& key) const {
    std::uint64_t h = static_cast<std::uint64_t>(key.row) * 0x9E3779B97F4A7C15u;
    h ^= static_cast<std::uint64_t>(key.rank) + (h >> 29);
    h = (h ^ raw(key.buffer)) * 0xBF58476D1CE4E5B9u;
    return static_cast<std::size_t>(h ^ (h >> 32));
  }
};

// Cells without a hole, from `base` on: so it never holds more than was once written out in full,
// whatever columns a file names.
struct TableContents {
  std::int64_t base = 0;
  Pages cells;

  // Makes ready for an event from column `col` on: returns where that is in `cells` (at most their
  // number). Contents that do not reach there, or begin behind it, are forgotten.
  std::size_t begin(std::int64_t col) {
    const auto size = static_cast<std::int64_t>(cells.size());
    if (col < base || col - base > size || base < 0) {
      base = col;
      cells.clear();
    }
    return static_cast<std::size_t>(col - base);
  }
};

class TableHistory {
 public:
  TableHistory() = default;
  TableHistory(TableHistory&&) = default;
  TableHistory& operator=(TableHistory&&) = default;
  TableContents& operator[](const TableRowKey& key) {
    // Found before, mostly. What is in a node stays there.
    Found& found = found_[TableRowHash()(key) % found_.size()];
    if (found.contents == nullptr || !(found.key == key)) found = {key, &contents_[key]};
    return *found.contents;
  }
  void clear() {
    contents_.clear();
    found_.fill({});
  }

 private:
  struct Found {
    TableRowKey key;
    TableContents* contents = nullptr;
  };
  std::unordered_map<TableRowKey, TableContents, TableRowHash> contents_;
  std::array<Found, 512> found_;
};

}  // namespace pagetape
