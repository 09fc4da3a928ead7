// SPDX-License-Identifier: Apache-2.0
// Which fields of an event this version does not know: readers warn about them.
#pragma once

#include <string>
#include <vector>

#include "traces/event.h"

namespace pagetape {

// Their paths, sorted and each once, with [] for any element of a list: "rows[].speed".
std::vector<std::string> unknown_fields(const Event& event);

}  // namespace pagetape
