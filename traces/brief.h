// SPDX-License-Identifier: Apache-2.0
// Events of which no Event is made.
#pragma once

#include "traces/event.h"

namespace pagetape {

// One of the events that come with every request of a step and hold but a few numbers: it is read
// where it stands, and valid until the reader is asked for more.
struct Brief {
  OptInt rank;
  const ev::Accept* accept = nullptr;  // One of the two.
  const ev::Rewind* rewind = nullptr;

  std::size_t kind() const { return rewind != nullptr ? kKindOf<ev::Rewind> : kKindOf<ev::Accept>; }
  // But for its time, stream and call site.
  Event event() const {
    Event out;
    if (rewind != nullptr) {
      out.body = *rewind;
    } else {
      out.body = *accept;
    }
    out.rank = rank;
    return out;
  }
};

}  // namespace pagetape
