// SPDX-License-Identifier: Apache-2.0
// Makes links of what a sentence names.
#pragma once

#include <string_view>

#include "gui/app/phrase.h"
#include "traces/names.h"

namespace pagetape {

// Events, requests, pools, backends, graphs, and pages where the sentence says of which pool, as
// reports word them: "at event 1,234", "pages 1, 2 of pool F given to r0". What is no name of the
// trace, and names with spaces in them, stay plain.
Line linked(std::string_view sentence, const Names& names, Tone tone = Tone::kPlain);

}  // namespace pagetape
