// SPDX-License-Identifier: Apache-2.0
// The field types of events and their reflection: each event lists its fields once, and the text
// form, the binary codec and the checks walk that list.
#pragma once

#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "traces/ids.h"

namespace pagetape {

// An integer that may be absent, in eight bytes (rows hold many).
class OptInt {
 public:
  constexpr OptInt() = default;
  constexpr OptInt(std::int64_t value) : value_(value) {}  // NOLINT: an integer is one.
  constexpr bool has_value() const { return value_ != kAbsent; }
  constexpr std::int64_t operator*() const { return value_; }
  constexpr std::int64_t value_or(std::int64_t other) const { return has_value() ? value_ : other; }
  bool operator==(const OptInt&) const = default;

 private:
  static constexpr std::int64_t kAbsent = INT64_MIN;  // No field may hold it.
  std::int64_t value_ = kAbsent;
};

using OptNumber = std::optional<double>;
using OptBool = std::optional<bool>;
using Ints = std::vector<std::int64_t>;
using Pages = std::vector<PageId>;
using Slots = std::vector<SlotId>;
using NameList = std::vector<Name>;
using Layers = std::vector<Layer>;
using Pair = std::pair<std::int64_t, std::int64_t>;
using Pairs = std::vector<Pair>;  // Of pages, or of slots, as the map's unit says.

// A layer list, or "*": all layers of the backend.
struct LayerChoice {
  bool all = false;
  Layers list;
  bool operator==(const LayerChoice&) const = default;
};

// One digest for all pages of a fill, or one a page.
struct Digests {
  bool per_page = false;
  NameList list;
  bool operator==(const Digests&) const = default;
};

// What a JSON scalar was written as ("8" is not 8): the text is kept, quotes included.
struct ScalarValue {
  Name json = kNone;
  bool operator==(const ScalarValue&) const = default;
};
using Scalars = std::vector<std::pair<Name, ScalarValue>>;

enum class Need : std::uint8_t {
  kRequired,
  kNullable,  // Required, and may be null.
  kOptional,
};

template <class T, class M>
struct Field {
  const char* name;  // As in the text form.
  M T::*member;
  Need need;
};

template <class T, class M>
constexpr Field<T, M> required(const char* name, M T::*member) {
  return {name, member, Need::kRequired};
}
template <class T, class M>
constexpr Field<T, M> nullable(const char* name, M T::*member) {
  return {name, member, Need::kNullable};
}
template <class T, class M>
constexpr Field<T, M> optional(const char* name, M T::*member) {
  return {name, member, Need::kOptional};
}

// Calls f(field) for each field of T, in declared order. T::fields takes nothing: its `auto...`
// makes it a template, since the types of all those lists take a compiler a second in each file.
template <class T, class F>
constexpr void for_each_field(F&& f) {
  std::apply([&](const auto&... field) { (f(field), ...); }, T::fields());
}

}  // namespace pagetape
