// SPDX-License-Identifier: Apache-2.0
// Going over a trace from its beginning.
#pragma once

#include <memory>
#include <string>

#include "replay/outcome.h"
#include "replay/refusal.h"
#include "traces/source.h"

namespace pagetape {

// Gives each event and its index to f, which applies it. Ends where that is refused, or the trace.
template <class F>
Status for_each_event(const std::string& path, Names& names, F&& f) {
  Status status;
  const std::unique_ptr<Source> source = open_trace(path, names, status);
  if (source == nullptr) return status;
  Event event;
  while (source->next(event)) {
    const Outcome outcome = f(event, source->position() - 1);
    if (!outcome.applied()) return refusal(*source, outcome, event, names);
  }
  return source->status();
}

}  // namespace pagetape
