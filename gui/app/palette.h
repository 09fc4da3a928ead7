// SPDX-License-Identifier: Apache-2.0
// Finding things by a few letters of their names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pagetape {

// How well `typed` fits: its letters in order, case aside; more for runs of letters and for the
// beginnings of words. Below 0: it does not.
int fuzzy_score(std::string_view typed, std::string_view text);

struct PaletteItem {
  std::string text;     // "finding OOB_PAGE at event 268"
  std::string command;  // What choosing it runs.
};

// The best `most`, best first; in the given order where they fit alike.
std::vector<PaletteItem> best_items(std::string_view typed, const std::vector<PaletteItem>& items,
                                    std::size_t most);

}  // namespace pagetape
