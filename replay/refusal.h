// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "replay/outcome.h"
#include "traces/source.h"

namespace pagetape {

// What is wrong with the event that `source` gave last, which the state refused.
Status refusal(const Source& source, const Outcome& outcome, const Event& event,
               const Names& names);

}  // namespace pagetape
