// SPDX-License-Identifier: Apache-2.0
// Words for a pane: what they mean for the eye, and where they lead. Panes draw them and know no
// more.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "replay/extents.h"

namespace pagetape {

enum class Tone : std::uint8_t { kPlain, kDim, kStrong, kGood, kBad };

struct Phrase {
  std::string text;
  Tone tone = Tone::kPlain;
  EventIndex link = kNever;  // The event that a click goes to.
};
using Line = std::vector<Phrase>;

// What leads where, from left to right; the first name is a link.
struct Chain {
  std::vector<std::string> names;
  EventIndex link = kNever;
};

struct Block {
  std::string title, note;
  Tone tone = Tone::kPlain;
  std::vector<Line> lines;
  std::vector<Chain> chains{};  // Drawn below the lines, as a graph: a name of a column once.
};

inline std::string text_of(const Line& line) {
  std::string out;
  for (const Phrase& phrase : line) out += phrase.text;
  return out;
}

}  // namespace pagetape
