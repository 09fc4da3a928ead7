// SPDX-License-Identifier: Apache-2.0
// Objects of a state in words, each value with the event since which it stands.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "replay/state.h"

namespace pagetape {

struct Shown {
  std::string_view what;       // "backend"
  std::string_view arguments;  // As the help prints them.
};
inline constexpr std::array<Shown, 6> kShown{{
    {"backend", "NAME"},
    {"table", "BUFFER ROW"},
    {"page", "POOL NUMBER"},
    {"map", "NAME FROM"},
    {"request", "NAME"},
    {"graph", "NAME"},
}};

// What `show` prints: words are {"backend", "d"} and so on; none, what there is to show. kUsage
// where the words are wrong or nothing in the world has the name.
Status inspect(const World& world, const Names& names, const std::vector<std::string>& words,
               std::string& out);

// The names that may follow one of kShown, sorted; for requests those that own a page.
std::vector<std::string> names_to_show(const World& world, const Names& names,
                                       std::string_view what);

}  // namespace pagetape
