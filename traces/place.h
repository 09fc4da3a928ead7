// SPDX-License-Identifier: Apache-2.0
// Where in an event a value stands, for messages: "rows[2].len".
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace pagetape {

// One step of a path from the event down to a value. Lives on the stack beside the value it names,
// so that a path costs nothing until a message needs it. The event itself has no step above.
struct Place {
  const Place* up = nullptr;
  std::string_view field;  // Empty for an element of a list.
  std::size_t index = 0;

  Place operator/(std::string_view name) const { return {this, name, 0}; }
  Place operator[](std::size_t i) const { return {this, {}, i}; }

  // The field's name, or the element's number.
  std::string key() const { return field.empty() ? std::to_string(index) : std::string(field); }

  // The whole path, without quotes.
  std::string text() const {
    if (up == nullptr) return {};
    std::string path = up->text();
    if (field.empty()) return path + '[' + std::to_string(index) + ']';
    if (!path.empty()) path += '.';
    return path += field;
  }
};

}  // namespace pagetape
