// SPDX-License-Identifier: Apache-2.0
// One column of integers: gathered for writing, and read where it lies in a message. The form is
// schema::Column's; a column is read once, from its beginning.
#pragma once

#include <capnp/any.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "traces/trace_events.capnp.h"

namespace pagetape {

static_assert(std::endian::native == std::endian::little, "columns are read where they lie");

// What an absent cell reads as; also OptInt's own word for it.
inline constexpr std::int64_t kAbsentCell = INT64_MIN;

class ColumnOut {
 public:
  // `fallback`: what cells mostly are, where the column is mostly elided. As long as they all are,
  // they are counted and take no room.
  explicit ColumnOut(std::int64_t fallback = 0) : fallback_(fallback) {}

  [[gnu::always_inline]] void push(std::int64_t cell) {
    if (size_ == 0 && cell == fallback_) {
      ++lead_;
      return;
    }
    if (size_ == cells_.size()) [[unlikely]]
      grow(1);
    cells_.data()[size_++] = cell;
  }
  // n cells that are the same.
  void fill(std::size_t n, std::int64_t cell) {
    if (size_ == 0 && cell == fallback_) {
      lead_ += n;
    } else {
      std::fill_n(room_for(n), n, cell);
    }
  }
  // Cells in a row, each of which to_cell(value) gives.
  template <class T, class F>
  void append(std::span<const T> values, F&& to_cell) {
    const T *value = values.data(), *const end = value + values.size();
    for (; size_ == 0 && value < end && to_cell(*value) == fallback_; ++value) ++lead_;
    const auto n = static_cast<std::size_t>(end - value);
    if (n == 0) return;
    std::int64_t* to = room_for(n);
    for (std::size_t i = 0; i < n; ++i) to[i] = to_cell(value[i]);
  }
  void clear() { lead_ = size_ = 0; }

  // Whether the n cells from `at` on, which are there, are of(0), of(1), …
  template <class F>
  bool holds(std::size_t at, std::size_t n, F&& of) const {
    constexpr std::size_t kAtOnce = 64;
    std::int64_t differ = 0;
    for (std::size_t i = 0; i < n && differ == 0;) {
      const std::size_t stop = std::min(n, i + kAtOnce);
      if (at + i >= lead_) {
        const std::int64_t* const cells = cells_.data();
        for (std::size_t k = at + i - lead_; i < stop; ++i, ++k) differ |= cells[k] ^ of(i);
      } else {
        for (; i < stop; ++i) differ |= (*this)[at + i] ^ of(i);
      }
    }
    return differ == 0;
  }

  std::size_t size() const { return lead_ + size_; }
  std::int64_t operator[](std::size_t i) const {
    return i < lead_ ? fallback_ : cells_.data()[i - lead_];
  }

  // Leaves the pointer null (elided) where every cell is the fallback.
  void write(capnp::AnyPointer::Builder out) const;
  // Values of lists: elided only where there is none.
  void write_values(schema::Column::Builder out) const;
  // The same as they are, whatever their differences.
  void write_plain(schema::Column::Builder out) const;

 private:
  void grow(std::size_t n);
  std::int64_t* room_for(std::size_t n) {
    if (n > cells_.size() - size_) grow(n);
    size_ += n;
    return cells_.data() + (size_ - n);
  }
  std::span<const std::int64_t> cells() const { return {cells_.data(), size_}; }

  std::int64_t fallback_;
  std::size_t lead_ = 0;  // Cells before the first of those below: all the fallback.
  // Room for more than there are: push() is a store, where a vector's of its own is a call.
  std::vector<std::int64_t> cells_;
  std::size_t size_ = 0;
};

class ColumnIn {
 public:
  // Takes a column of `cells` cells, or an elided one. False where it has another number of cells.
  // The message must outlive the reading.
  bool open(schema::Column::Reader in, std::size_t cells, std::int64_t fallback);
  // For values of lists: elided only where `cells` is 0.
  bool open_values(schema::Column::Reader in, std::size_t cells);

  // As many as the column has; 0 where it is elided.
  static std::size_t cells_of(schema::Column::Reader in);

  // Whether next() gives but the fallback.
  bool elided() const { return width_ == 0 && !delta_; }

  // The next cell. At most as many may be taken as open() was told of.
  std::int64_t next() {
    if (at_ == end_) fill();
    return block_.data()[at_++];
  }

  // Calls f(i, cell) for the next n cells, i from 0.
  template <class F>
  void each(std::size_t n, F&& f) {
    for (std::size_t i = 0; i < n;) {
      if (at_ == end_) fill();
      const std::int64_t* cell = block_.data() + at_;
      const std::size_t stop = std::min(n, i + (end_ - at_));
      at_ += static_cast<std::uint32_t>(stop - i);
      while (i < stop) f(i++, *cell++);
    }
  }

  // Puts the next n cells in `to`. True where the same were there.
  bool refresh(std::int64_t* to, std::size_t n) {
    bool same = true;
    for (std::size_t i = 0; i < n;) {
      if (at_ == end_) fill();
      const std::size_t some = std::min<std::size_t>(n - i, end_ - at_);
      same = same && std::memcmp(to + i, block_.data() + at_, some * sizeof(*to)) == 0;
      if (!same) std::memcpy(to + i, block_.data() + at_, some * sizeof(*to));
      at_ += static_cast<std::uint32_t>(some);
      i += some;
    }
    return same;
  }

  // Adds up a column of `cells` counts without taking them; `lists`: those that are not empty.
  // Where the list `may_be_absent`, counts are one more than the values. False where one is not in
  // [0, kMaxCount].
  bool sum(std::size_t cells, bool may_be_absent, std::uint64_t& total,
           std::uint64_t* lists = nullptr) const;

 private:
  static constexpr std::int64_t kMaxCount = std::int64_t{1} << 32;

  bool take(schema::Column::Reader in, std::size_t cells);

  // Makes the next cells ready in block_.
  void fill();
  template <class W>
  void widen();

  // Cells are widened some at a time, so that to take one is the same for all widths.
  static constexpr std::size_t kBlock = 64;
  std::array<std::int64_t, kBlock> block_{};  // The cells from at_ to end_ are the next ones.
  std::uint32_t at_ = 0, end_ = 0;
  std::uint8_t width_ = 0;  // Bytes of a cell; 0: elided, or (delta_) constant.
  bool delta_ = false;
  const unsigned char* data_ = nullptr;  // Of the cells behind those, and how many they are.
  std::size_t left_ = 0;
  std::uint64_t last_ = 0;
};

}  // namespace pagetape
