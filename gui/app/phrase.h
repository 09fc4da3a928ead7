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
  std::string command{};  // That a click runs; empty: none.
};
using Line = std::vector<Phrase>;

inline std::string to_event(EventIndex event) {
  return event == kNever ? std::string() : "goto " + std::to_string(event);
}

// What leads where, from left to right.
struct Chain {
  std::vector<Phrase> names;
};

struct Block {
  std::string title, note;
  std::string command{};  // Of a click on the title.
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
