// SPDX-License-Identifier: Apache-2.0
// One column of integers: gathered for writing, and read where it lies in a message. The form is
// schema::Column's; a column is read once, from its beginning.
#pragma once

#include <capnp/any.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "traces/trace_events.capnp.h"

namespace pagetape {

static_assert(std::endian::native == std::endian::little, "columns are read where they lie");

// What an absent cell reads as; also OptInt's own word for it.
inline constexpr std::int64_t kAbsentCell = INT64_MIN;

class ColumnOut {
 public:
  void push(std::int64_t cell) { cells_.push_back(cell); }
  void clear() { cells_.clear(); }
  std::size_t size() const { return cells_.size(); }

  // Leaves the pointer null (elided) where every cell is `fallback`.
  void write(capnp::AnyPointer::Builder out, std::int64_t fallback) const;
  // Values of lists: elided only where there is none.
  void write_values(schema::Column::Builder out) const;

 private:
  std::vector<std::int64_t> cells_;
};

class ColumnIn {
 public:
  // Takes a column of `cells` cells, or an elided one. False where it has another number of cells.
  // The message must outlive the reading.
  bool open(schema::Column::Reader in, std::size_t cells, std::int64_t fallback);
  // For values of lists: elided only where `cells` is 0.
  bool open_values(schema::Column::Reader in, std::size_t cells);

  // The next cell. At most as many may be taken as open() was told of.
  std::int64_t next() {
    std::int64_t cell;
    switch (width_) {
      case 0:
        return fallback_;
      case 1:
        cell = load<std::int8_t>();
        break;
      case 2:
        cell = load<std::int16_t>();
        break;
      case 4:
        cell = load<std::int32_t>();
        break;
      default:
        cell = load<std::int64_t>();
    }
    if (!delta_ || cell == kAbsentCell) return cell;
    last_ += static_cast<std::uint64_t>(cell);
    return static_cast<std::int64_t>(last_);
  }

  // The next n cells, as an integer or an enum over one. False where one is absent or does not fit.
  template <class T>
  bool read(std::size_t n, T* out) {
    switch (width_) {
      case 0:
        return n == 0;
      case 1:
        return copy<std::int8_t>(n, out);
      case 2:
        return copy<std::int16_t>(n, out);
      case 4:
        return copy<std::int32_t>(n, out);
      default:
        return copy<std::int64_t>(n, out);
    }
  }

  // Adds up a column of `cells` counts without taking them. Where the list `may_be_absent`, counts
  // are one more than the values. False where one is not in [0, kMaxCount].
  bool sum(std::size_t cells, bool may_be_absent, std::uint64_t& total) const;

 private:
  static constexpr std::int64_t kMaxCount = std::int64_t{1} << 32;

  bool take(schema::Column::Reader in, std::size_t cells);

  template <class W>
  std::int64_t load() {
    W raw;
    std::memcpy(&raw, data_, sizeof raw);
    data_ += sizeof raw;
    // The least value of each width says "absent".
    return raw == std::numeric_limits<W>::min() ? kAbsentCell : raw;
  }

  template <class W, class T>
  bool copy(std::size_t n, T* out) {
    return delta_ ? copy_as<W, true>(n, out) : copy_as<W, false>(n, out);
  }

  template <class W, bool kDelta, class T>
  bool copy_as(std::size_t n, T* out) {
    std::uint64_t bad = 0;
    std::uint64_t last = last_;
    for (std::size_t i = 0; i < n; ++i) {
      W raw;
      std::memcpy(&raw, data_ + i * sizeof raw, sizeof raw);
      std::int64_t cell = raw;
      if constexpr (kDelta)
        cell = static_cast<std::int64_t>(last += static_cast<std::uint64_t>(raw));
      if constexpr (sizeof(W) < 8) bad |= raw == std::numeric_limits<W>::min();
      if constexpr (sizeof(T) < 8) bad |= static_cast<std::int32_t>(cell) != cell;
      out[i] = static_cast<T>(cell);
    }
    data_ += n * sizeof(W);
    last_ = last;
    return bad == 0;
  }

  const unsigned char* data_ = nullptr;
  std::uint64_t last_ = 0;
  std::int64_t fallback_ = 0;
  std::uint8_t width_ = 0;  // Bytes of a cell; 0: elided.
  bool delta_ = false;
};

}  // namespace pagetape
