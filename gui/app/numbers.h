// SPDX-License-Identifier: Apache-2.0
// Numbers as commands give them.
#pragma once

#include <charconv>
#include <string_view>

namespace pagetape {

// The whole text is one number. Otherwise false.
template <class T>
bool number_in(std::string_view text, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace pagetape
