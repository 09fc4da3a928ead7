// SPDX-License-Identifier: Apache-2.0
// Events of which no Event is made.
#pragma once

#include <cstddef>
#include <span>

#include "traces/event.h"

namespace pagetape {

// The next few events, where they are of the kinds that come with every request of a step and hold
// but a few numbers: read where they stand, with the reader, and valid until it is asked for more.
struct Briefs {
  std::size_t count = 0;  // Events, mixed. 0 says nothing: the next one takes a closer look.
  OptInt rank;            // Of all.
  std::span<const ev::Rewind> rewinds;
  std::span<const ev::Accept> accepts;
};

}  // namespace pagetape
