// SPDX-License-Identifier: Apache-2.0
// What one value of a field may be, looked at alone: the ranges and words of the model. Both forms
// of a trace are held to them; what values say together is check_event's.
#pragma once

#include <cmath>
#include <span>
#include <string_view>
#include <vector>

#include "traces/fields.h"
#include "traces/names.h"

namespace pagetape {

// Slots and token positions. A page id of 31 bits times a page of 65536 slots is 47 bits, so that
// no product or sum of a few of them leaves 64.
inline constexpr std::int64_t kMostSlots = (std::int64_t{1} << 47) - 1;

// Of one field, and of each element where it is a list.
struct Limits {
  std::int64_t low = INT64_MIN + 1, high = INT64_MAX;  // INT64_MIN is an absent OptInt.
  std::span<const std::string_view> words;             // Empty: any name.
  bool may_be_none = false;                            // A name that need not be there.
};

// `event` is "" for a field of an object inside one, or of every event.
Limits limits_of(std::string_view event, std::string_view field);

// The limits of T's fields in declared order, looked up once.
template <class T>
const std::vector<Limits>& limits_of_fields() {
  static const std::vector<Limits> limits = [] {
    std::vector<Limits> found;
    for_each_field<T>([&]<class M>(const Field<T, M>& field) {
      std::string_view event;
      if constexpr (requires { T::kName; }) event = T::kName;
      found.push_back(limits_of(event, field.name));
      found.back().may_be_none = std::is_same_v<M, Name> && field.need != Need::kRequired;
    });
    return found;
  }();
  return limits;
}

bool is_one_of(std::span<const std::string_view> words, std::string_view text);

// Whether the value may stand in the field. A name must be one of the table.
inline bool allows(const Limits& limits, const Names&, std::int64_t number) {
  return limits.low <= number && number <= limits.high;
}
inline bool allows(const Limits& limits, const Names& names, OptInt number) {
  return !number.has_value() || allows(limits, names, *number);
}
inline bool allows(const Limits& limits, const Names& names, Name name) {
  if (name == kNone || limits.words.empty()) return name != kNone || limits.may_be_none;
  return is_one_of(limits.words, names.text(name));
}
// Any id may stand in a trace, negative ones too: whether it is a page is for the rules to say.
inline bool allows(const Limits&, const Names&, PageId page) { return page != kUnknownPage; }
inline bool allows(const Limits&, const Names&, SlotId slot) {
  return -kMostSlots <= raw(slot) && raw(slot) <= kMostSlots;
}
inline bool allows(const Limits&, const Names&, Layer layer) {
  return !layer.is_named() || layer.name() != kNone;
}
inline bool allows(const Limits&, const Names&, bool) { return true; }
inline bool allows(const Limits&, const Names&, double number) { return std::isfinite(number); }
template <class T>
bool allows(const Limits& limits, const Names& names, const std::optional<T>& value) {
  return !value.has_value() || allows(limits, names, *value);
}

}  // namespace pagetape
