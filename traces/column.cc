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

// Whether cells are written as they are, or each as its difference from the one before.
struct Form {
  int width;  // Bytes.
  bool delta;
  std::int64_t base = 0;  // Before the first.
};

// The cells that are given, behind `lead` ones that are absent or 0: none of these differs from
// what stands before it. A list that was just made is zero.
template <class W, class List>
void fill(List list, std::size_t lead, bool lead_is_absent, std::span<const std::int64_t> cells,
          Form form) {
  constexpr W kAbsent = std::numeric_limits<W>::min();
  // In this form a list's elements stand side by side: to write them so is one store each.
  const capnp::AnyList::Reader any = list.asReader();
  W* to = reinterpret_cast<W*>(const_cast<unsigned char*>(any.getRawBytes().begin()));
  if (lead_is_absent) std::fill_n(to, lead, kAbsent);
  to += lead;
  if (!form.delta) {
    for (const std::int64_t cell : cells) {
      *to++ = cell == kAbsentCell ? kAbsent : static_cast<W>(cell);
    }
    return;
  }
  std::int64_t last = form.base;
  for (const std::int64_t cell : cells) {
    const bool absent = cell == kAbsentCell;
    *to++ = absent ? kAbsent : static_cast<W>(difference(cell, last));
    last = absent ? last : cell;
  }
}

void write_cells(schema::Column::Builder out, std::size_t lead, bool lead_is_absent,
                 std::span<const std::int64_t> cells, Form form) {
  const auto n = static_cast<unsigned>(lead + cells.size());
  out.setDelta(form.delta);
  out.setBase(form.base);
  switch (form.width) {
    case 1:
      return fill<std::int8_t>(out.initInt8(n), lead, lead_is_absent, cells, form);
    case 2:
      return fill<std::int16_t>(out.initInt16(n), lead, lead_is_absent, cells, form);
    case 4:
      return fill<std::int32_t>(out.initInt32(n), lead, lead_is_absent, cells, form);
    default:
      return fill<std::int64_t>(out.initInt64(n), lead, lead_is_absent, cells, form);
  }
}

// Without `may_be_absent` the least integer is itself, which takes the full width. Behind cells
// that are 0 there is no base: the first of them would differ from it.
Form narrowest(std::span<const std::int64_t> cells, std::size_t zeros, bool may_be_absent) {
  Range plain, delta;  // That of differences without the first.
  if (may_be_absent) {
    while (!cells.empty() && cells.front() == kAbsentCell) cells = cells.subspan(1);
  }
  const std::int64_t first = cells.empty() ? 0 : cells.front();
  std::int64_t last = first;
  std::uint64_t bits = plain.add(first);  // Of the last one.
  for (const std::int64_t cell : cells.subspan(cells.empty() ? 0 : 1)) {
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
  Range whole = delta;
  whole.add(first);
  const std::size_t spared = static_cast<std::size_t>(whole.width() - delta.width()) * cells.size();
  const bool use_base = zeros == 0 && spared > sizeof first;
  if (!use_base) delta = whole;
  // A difference that is the least of 64 bits would read as "absent".
  if (plain.has_least() || delta.has_least() || delta.bits >= plain.bits) {
    return {plain.width(), false};
  }
  return {delta.width(), true, use_base ? first : 0};
}

bool is_constant(std::span<const std::int64_t> cells) {
  return cells[0] != kAbsentCell && std::equal(cells.begin() + 1, cells.end(), cells.begin());
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
  if (lead_ == 0 && is_constant(cells())) {
    auto column = out.initAs<schema::Column>();
    column.setDelta(true);
    column.setBase(cells_[0]);
    return;
  }
  const bool lead_is_absent = fallback_ == kAbsentCell;
  write_cells(out.initAs<schema::Column>(), lead_, lead_is_absent, cells(),
              narrowest(cells(), lead_is_absent ? 0 : lead_, true));
}

void ColumnOut::write_plain(schema::Column::Builder out) const {
  if (lead_ + size_ == 0) return;
  Range range;
  for (const std::int64_t cell : cells()) range.add(cell);
  write_cells(out, lead_, false, cells(), {range.width(), false});
}

void ColumnOut::write_values(schema::Column::Builder out) const {
  if (lead_ + size_ == 0) return;
  write_cells(out, lead_, false, cells(), narrowest(cells(), lead_, false));
}

bool ColumnIn::take(schema::Column::Reader in, std::size_t cells) {
  using capnp::ElementSize;
  delta_ = in.getDelta();
  left_ = cells;
  last_ = static_cast<std::uint64_t>(in.getBase());
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
  delta_ = in.getDelta();
  at_ = end_ = kBlock;
  block_.fill(delta_ ? in.getBase() : fallback);
  return true;
}

bool ColumnIn::open_values(schema::Column::Reader in, std::size_t cells) {
  if (in.which() != schema::Column::ELIDED) return take(in, cells);
  return cells == 0 && open(in, 0, 0);
}

std::size_t ColumnIn::cells_of(schema::Column::Reader in) {
  switch (in.which()) {
    case schema::Column::INT8:
      return in.getInt8().size();
    case schema::Column::INT16:
      return in.getInt16().size();
    case schema::Column::INT32:
      return in.getInt32().size();
    case schema::Column::INT64:
      return in.getInt64().size();
    default:
      return 0;
  }
}

bool ColumnIn::sum(std::size_t cells, bool may_be_absent, std::uint64_t& total,
                   std::uint64_t* lists) const {
  total = 0;
  if (lists != nullptr) *lists = 0;
  if (elided()) return true;
  bool good = true;
  std::uint64_t some = 0;
  if (width_ == 0) {
    const std::int64_t n = block_[0];
    const auto each = static_cast<std::uint64_t>(n - (may_be_absent && n > 0));
    if (lists != nullptr) *lists = each > 0 ? cells : 0;
    return 0 <= n && n <= kMaxCount && !__builtin_mul_overflow(each, cells, &total);
  }
  ColumnIn counts = *this;
  counts.each(cells, [&](std::size_t, std::int64_t n) {
    good &= 0 <= n && n <= kMaxCount;
    n -= may_be_absent && n > 0;
    some += n > 0;
    total += static_cast<std::uint64_t>(n);
  });
  if (lists != nullptr) *lists = some;
  return good;
}

void ColumnIn::fill() {
  at_ = 0;
  if (width_ == 0) return;
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
  std::array<W, kBlock> raw;  // Of no block that is whole: the compiler has its bytes in registers.
  if (end_ == kBlock) [[likely]] {
    std::memcpy(raw.data(), data_, sizeof raw);
  } else {
    raw.fill(0);
    std::memcpy(raw.data(), data_, end_ * sizeof(W));
  }
  const W* const from = raw.data();
  std::int64_t* const to = block_.data();
  data_ += end_ * sizeof(W);
  // A segment has far more columns than a processor follows: it fetches none ahead by itself.
  for (std::size_t i = 0; i <= sizeof(W); ++i) __builtin_prefetch(data_ + i * kBlock);
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

}  // namespace pagetape
