// SPDX-License-Identifier: Apache-2.0
// Strong types for the numbers of a trace: a page id cannot be passed for a slot.
#pragma once

#include <compare>
#include <cstdint>

namespace pagetape {

// A page of a pool (or an entry of a table, before it is converted to pages).
// Any 32-bit value may stand in a trace, negative sentinels too, but for kUnknownPage.
enum class PageId : std::int32_t {};

// One token's place in a pool: page * page_size + offset. Negative: skipped, or indexed backwards.
enum class SlotId : std::int64_t {};

// An interned string of a `Names` table; 0 is "none" (JSON null, or the field is absent).
enum class Name : std::uint32_t {};

inline constexpr Name kNone{0};
inline constexpr PageId kUnknownPage{INT32_MIN};  // A table cell never written.

constexpr std::int32_t raw(PageId id) { return static_cast<std::int32_t>(id); }
constexpr std::int64_t raw(SlotId id) { return static_cast<std::int64_t>(id); }
constexpr std::uint32_t raw(Name id) { return static_cast<std::uint32_t>(id); }

// A layer is an integer or a string: `v` >= 0 is the number, below 0 the name ~v.
struct Layer {
  std::int32_t v = 0;

  static constexpr Layer number(std::int32_t n) { return {n}; }
  static constexpr Layer named(Name n) { return {~static_cast<std::int32_t>(raw(n))}; }
  constexpr bool is_named() const { return v < 0; }
  constexpr Name name() const { return Name{static_cast<std::uint32_t>(~v)}; }
  auto operator<=>(const Layer&) const = default;
};

}  // namespace pagetape
