// SPDX-License-Identifier: Apache-2.0
// One JSON text, read with the limits that a file nobody vouches for needs.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "traces/status.h"

namespace pagetape {

// Bytes of a line. The largest honest one, a table of 512 lanes by 8192 pages, has 30 MiB.
inline constexpr std::size_t kMaxLineBytes = 64u << 20;
// Lists and objects within each other. A page of a lane of a captured launch is at depth 6.
inline constexpr std::size_t kMaxDepth = 8;

// Parses a whole text, in UTF-8. Refused beside what is not JSON: more bytes or depth than the
// limits, a key that stands twice in an object, a NUL byte. Throws nothing but bad_alloc.
Status parse_json(std::string_view text, nlohmann::json& value);

// A value as a message shows it: scalars shortened, of lists and objects just the word.
std::string shown(const nlohmann::json& value);

// A JSON string, quotes included. Bytes that are not UTF-8 become U+FFFD.
std::string json_string(std::string_view text);

}  // namespace pagetape
