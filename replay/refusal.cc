// SPDX-License-Identifier: Apache-2.0
#include "replay/refusal.h"

namespace pagetape {

Status refusal(const Source& source, std::uint64_t index, const Outcome& outcome,
               const Event& event, const Names& names) {
  std::string message = source.place() + ": event " + std::to_string(index) + " (" +
                        std::string(kKindNames[event.kind()]) + "): " + std::string(outcome.name());
  if (outcome.what != kNone) message += " \"" + std::string(names.text(outcome.what)) + '"';
  return usage(message + ". " + std::string(outcome.sentence()));
}

}  // namespace pagetape
