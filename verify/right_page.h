// SPDX-License-Identifier: Apache-2.0
// The page that a launch ought to read, by what the allocators and maps said.
#pragma once

#include <cstdint>
#include <optional>

#include "replay/lanes.h"

namespace pagetape {

// The page of the bound pool that holds a request's logical page: the one allocated for it there
// (`first` says so), or the one to which a map leads from where it was allocated. Nothing where
// neither is known, or where that page has left the window.
std::optional<PageId> right_page(const World& world, const Pool& pool, Name req,
                                 std::int64_t logical);

// Puts the right entries in the place of those that are known to be others; `entry_tokens` is
// what one entry stands for. Padding lanes stay as they are.
void amend_lanes(const World& world, const Pool& pool, std::int64_t entry_tokens, LaneList& list);

}  // namespace pagetape
