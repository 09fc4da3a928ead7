// SPDX-License-Identifier: Apache-2.0
// The text form: one JSON object a line, "ev" first. Both ways, for every event.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "traces/event.h"
#include "traces/names.h"
#include "traces/status.h"

namespace pagetape {

// Parses one line into `event`, interning its names. An error says which field, what stands there
// and what was expected (the caller adds the line number). An event of an unknown kind gives
// kUsage with the message `unknown event "X"`. Fields that are not known go to Event::extra.
Status parse_event(std::string_view line, Names& names, Event& event);

// The line of an event, without a newline: "ev", the fields in the order of the model, what every
// event may have, then the fields that are not known; absent ones left out. Parsing it gives the
// event again. Of a line that was parsed, it differs in white space, in the order of fields, and
// in what says the same: a `stream` of 0 (of async_begin, 1) is left out, and a number that need
// not be an integer is printed in the shortest form (1.0 as 1).
std::string print_event(const Event& event, const Names& names);

// A value by itself, as tables hold it: as print_event prints it, but a name without its quotes.
// What may be a list or an object is kJson in any case.
struct FieldCell {
  enum class Form : std::uint8_t { kAbsent, kInteger, kNumber, kBool, kString, kJson };
  Form form = Form::kAbsent;
  std::string text;
  bool operator==(const FieldCell&) const = default;
};

// The fields of a kind of event, in the order of the model.
std::vector<std::string_view> field_names(std::size_t kind);
// Their values, one a field; those left out and nulls are absent. `cells` is overwritten.
void print_fields(const Event& event, const Names& names, std::vector<FieldCell>& cells);

// Checks what a field's type alone does not say: ranges (pages >= 0, page_size >= 1, window >= 1,
// ids within 32 bits, …), enumerated words, one of layer and layers, lists of equal length. Both
// the text form and the binary reader call it, so that no later part meets a malformed event.
Status check_event(const Event& event, const Names& names);

// Whether check_event finds nothing, where each value is known to be as limits.h allows.
bool is_whole(const Event& event, const Names& names);
// Whether there is more to say of an event of the kind than of each value alone.
bool says_more(std::size_t kind);

}  // namespace pagetape
