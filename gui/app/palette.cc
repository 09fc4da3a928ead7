// SPDX-License-Identifier: Apache-2.0
#include "gui/app/palette.h"

#include <algorithm>
#include <utility>

namespace pagetape {

static char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

int fuzzy_score(std::string_view typed, std::string_view text) {
  int score = 0;
  std::size_t at = 0, last = std::string_view::npos;
  for (const char c : typed) {
    if (c == ' ') continue;
    while (at < text.size() && lower(text[at]) != lower(c)) ++at;
    if (at == text.size()) return -1;
    const bool follows = last != std::string_view::npos && at == last + 1;
    const bool begins = at == 0 || text[at - 1] == ' ' || text[at - 1] == '_';
    score += 1 + (follows ? 4 : 0) + (begins ? 3 : 0);
    last = at++;
  }
  return score;
}

std::vector<PaletteItem> best_items(std::string_view typed, const std::vector<PaletteItem>& items,
                                    std::size_t most) {
  std::vector<std::pair<int, std::size_t>> scored;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const int score = fuzzy_score(typed, items[i].text);
    if (score >= 0) scored.emplace_back(-score, i);
  }
  const std::size_t n = std::min(most, scored.size());
  std::ranges::partial_sort(scored, scored.begin() + static_cast<std::ptrdiff_t>(n));
  std::vector<PaletteItem> out;
  for (std::size_t i = 0; i < n; ++i) out.push_back(items[scored[i].second]);
  return out;
}

}  // namespace pagetape
