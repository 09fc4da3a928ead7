// SPDX-License-Identifier: Apache-2.0
#include "traces/column.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "traces/check.h"

namespace pagetape {
namespace {

struct Range {
  std::uint64_t sizes = 0;  // The absolute values, or'ed.
  std::uint64_t bits = 0;   // Sum of the bits of each value: what it costs, about, once compressed.

  // Returns its bits.
  std::uint64_t add(std::int64_t v) {
    const auto sign = static_cast<std::uint64_t>(v >> 63);
    const std::uint64_t folded = static_cast<std::uint64_t>(v) ^ sign;
    sizes |= folded - sign;
    const auto its = static_cast<std::uint64_t>(64 - std::countl_zero(folded));
    bits += its;
    return its;
  }
  // Bytes of the narrowest width that holds it, its least value left for "absent".
  int width() const {
    if (sizes <= INT8_MAX) return 1;
    if (sizes <= INT16_MAX) return 2;
    if (sizes <= INT32_MAX) return 4;
    return 8;
  }
  // Whether one is the least of 64 bits: no other has that bit.
  bool has_least() const { return sizes >> 63 != 0; }
};

std::int64_t difference(std::int64_t v, std::int64_t last) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(v) -
                                   static_cast<std::uint64_t>(last));
}

// The cells that are given, behind `lead` ones that are absent or 0: none of these differs from
// what stands before it. A list that was just made is zero.
template <class W, class List>
void fill(List list, std::size_t lead, bool lead_is_absent, std::span<const std::int64_t> cells,
          bool delta) {
  constexpr W kAbsent = std::numeric_limits<W>::min();
  // In this form a list's elements stand side by side: to write them so is one store each.
  const capnp::AnyList::Reader any = list.asReader();
  W* to = reinterpret_cast<W*>(const_cast<unsigned char*>(any.getRawBytes().begin()));
  if (lead_is_absent) std::fill_n(to, lead, kAbsent);
  to += lead;
  if (!delta) {
    for (const std::int64_t cell : cells) {
      *to++ = cell == kAbsentCell ? kAbsent : static_cast<W>(cell);
    }
    return;
  }
  std::int64_t last = 0;
  for (const std::int64_t cell : cells) {
    const bool absent = cell == kAbsentCell;
    *to++ = absent ? kAbsent : static_cast<W>(difference(cell, last));
    last = absent ? last : cell;
  }
}

// Whether cells are written as they are, or each as its difference from the one before.
struct Form {
  int width;  // Bytes.
  bool delta;
};

void write_cells(schema::Column::Builder out, std::size_t lead, bool lead_is_absent,
                 std::span<const std::int64_t> cells, Form form) {
  const auto n = static_cast<unsigned>(lead + cells.size());
  out.setDelta(form.delta);
  switch (form.width) {
    case 1:
      return fill<std::int8_t>(out.initInt8(n), lead, lead_is_absent, cells, form.delta);
    case 2:
      return fill<std::int16_t>(out.initInt16(n), lead, lead_is_absent, cells, form.delta);
    case 4:
      return fill<std::int32_t>(out.initInt32(n), lead, lead_is_absent, cells, form.delta);
    default:
      return fill<std::int64_t>(out.initInt64(n), lead, lead_is_absent, cells, form.delta);
  }
}

// Without `may_be_absent` the least integer is itself, which takes the full width.
Form narrowest(std::span<const std::int64_t> cells, bool may_be_absent) {
  Range plain, delta;
  std::int64_t last = 0;
  std::uint64_t bits = 0;  // Of the last one.
  for (const std::int64_t cell : cells) {
    // Mostly so, and then quickly done.
    if (cell == last) {
      plain.bits += bits;
      continue;
    }
    if (cell == kAbsentCell && may_be_absent) continue;
    bits = plain.add(cell);
    delta.add(difference(cell, last));
    last = cell;
  }
  // A difference that is the least of 64 bits would read as "absent".
  const bool use_delta = !plain.has_least() && !delta.has_least() && delta.bits < plain.bits;
  return {(use_delta ? delta : plain).width(), use_delta};
}

// The bytes of a list, where it is of that very width (a message may hold another).
template <class List>
const unsigned char* bytes_of(List list, capnp::ElementSize size, std::size_t cells) {
  const capnp::AnyList::Reader any = list;
  if (any.getElementSize() != size || any.size() != cells) return nullptr;
  return any.getRawBytes().begin();
}

}  // namespace

void ColumnOut::grow(std::size_t n) {
  cells_.resize(std::max({std::size_t{64}, 2 * cells_.size(), size_ + n}));
}

void ColumnOut::write(capnp::AnyPointer::Builder out) const {
  if (size_ == 0) return;
  write_cells(out.initAs<schema::Column>(), lead_, fallback_ == kAbsentCell, cells(),
              narrowest(cells(), true));
}

void ColumnOut::write_values(schema::Column::Builder out) const {
  if (lead_ + size_ == 0) return;
  write_cells(out, lead_, false, cells(), narrowest(cells(), false));
}

bool ColumnIn::take(schema::Column::Reader in, std::size_t cells) {
  using capnp::ElementSize;
  delta_ = in.getDelta();
  left_ = cells;
  last_ = 0;
  at_ = end_ = 0;
  switch (in.which()) {
    case schema::Column::INT8:
      width_ = 1;
      data_ = bytes_of(in.getInt8(), ElementSize::BYTE, cells);
      break;
    case schema::Column::INT16:
      width_ = 2;
      data_ = bytes_of(in.getInt16(), ElementSize::TWO_BYTES, cells);
      break;
    case schema::Column::INT32:
      width_ = 4;
      data_ = bytes_of(in.getInt32(), ElementSize::FOUR_BYTES, cells);
      break;
    case schema::Column::INT64:
      width_ = 8;
      data_ = bytes_of(in.getInt64(), ElementSize::EIGHT_BYTES, cells);
      break;
    default:
      return false;
  }
  return data_ != nullptr;
}

bool ColumnIn::open(schema::Column::Reader in, std::size_t cells, std::int64_t fallback) {
  if (in.which() != schema::Column::ELIDED) return take(in, cells);
  width_ = 0;
  at_ = end_ = kBlock;
  block_.fill(fallback);
  return true;
}

bool ColumnIn::open_values(schema::Column::Reader in, std::size_t cells) {
  if (in.which() != schema::Column::ELIDED) return take(in, cells);
  return open(in, 0, 0) && cells == 0;
}

bool ColumnIn::sum(std::size_t cells, bool may_be_absent, std::uint64_t& total) const {
  total = 0;
  if (elided()) return true;
  ColumnIn counts = *this;
  bool good = true;
  counts.each(cells, [&](std::size_t, std::int64_t n) {
    good &= 0 <= n && n <= kMaxCount;
    total += static_cast<std::uint64_t>(may_be_absent && n > 0 ? n - 1 : n);
  });
  return good;
}

void ColumnIn::fill() {
  at_ = 0;
  if (elided()) return;
  PAGETAPE_CHECK(left_ > 0, "a column has not the cells that are taken");
  end_ = static_cast<std::uint32_t>(std::min(kBlock, left_));
  left_ -= end_;
  switch (width_) {
    case 1:
      return widen<std::int8_t>();
    case 2:
      return widen<std::int16_t>();
    case 4:
      return widen<std::int32_t>();
    default:
      return widen<std::int64_t>();
  }
}

// The loops are over whole blocks, whatever of one is there: compilers make the most of a constant
// length.
template <class W>
void ColumnIn::widen() {
  constexpr W kAbsent = std::numeric_limits<W>::min();  // In each width.
  std::array<W, kBlock> raw{};
  const W* const from = raw.data();
  std::int64_t* const to = block_.data();
  std::memcpy(raw.data(), data_, end_ * sizeof(W));
  data_ += end_ * sizeof(W);
  W absent = 0;
  for (std::size_t i = 0; i < kBlock; ++i) absent |= static_cast<W>(-(from[i] == kAbsent));
  std::uint64_t last = delta_ ? last_ : 0;
  if (absent != 0) {
    for (std::size_t i = 0; i < kBlock; ++i) {
      const bool here = from[i] != kAbsent;
      if (here) last = (delta_ ? last : 0) + static_cast<std::uint64_t>(from[i]);
      to[i] = here ? static_cast<std::int64_t>(last) : kAbsentCell;
    }
  } else if (delta_) {
#pragma GCC unroll 8
    for (std::size_t i = 0; i < kBlock; ++i) {
      last += static_cast<std::uint64_t>(from[i]);
      to[i] = static_cast<std::int64_t>(last);
    }
  } else {
#pragma GCC unroll 8
    // NOLINTNEXTLINE(bugprone-signed-char-misuse): an integer of 8 bits, not a character
    for (std::size_t i = 0; i < kBlock; ++i) to[i] = from[i];
  }
  last_ = last;
}

// Differences are looked at as they lie: many are found to be 1 at once.
template <class W>
bool ColumnIn::next_run_of(std::size_t most, Run& run) {
  const auto at = [this](std::size_t i) {
    W cell;
    std::memcpy(&cell, data_ + i * sizeof(W), sizeof(W));
    return cell;
  };
  if (at(0) == std::numeric_limits<W>::min()) return false;
  static constexpr auto kOnes = [] {
    std::array<W, 32> ones{};
    ones.fill(1);
    return ones;
  }();
  std::size_t n = 1;
  while (n + kOnes.size() <= most &&
         std::memcmp(data_ + n * sizeof(W), kOnes.data(), sizeof(kOnes)) == 0) {
    n += kOnes.size();
  }
  while (n < most && at(n) == 1) ++n;
  last_ += static_cast<std::uint64_t>(std::int64_t{at(0)});
  run = {static_cast<std::int64_t>(last_), n};
  last_ += n - 1;
  data_ += n * sizeof(W);
  left_ -= n;
  return true;
}

ColumnIn::Run ColumnIn::next_long_run(std::size_t most) {
  Run run{};
  if (at_ == end_ && delta_ && most <= left_) {
    switch (width_) {
      case 1:
        if (next_run_of<std::int8_t>(most, run)) return run;
        break;
      case 2:
        if (next_run_of<std::int16_t>(most, run)) return run;
        break;
      case 4:
        if (next_run_of<std::int32_t>(most, run)) return run;
        break;
      case 8:
        if (next_run_of<std::int64_t>(most, run)) return run;
        break;
      default:
        break;
    }
  }
  run = {next(), 1};
  for (std::uint64_t last = static_cast<std::uint64_t>(run.first); run.count < most; ++run.count) {
    if (at_ == end_) fill();
    if (static_cast<std::uint64_t>(block_.data()[at_]) != ++last) break;
    ++at_;
  }
  return run;
}

}  // namespace pagetape
