// SPDX-License-Identifier: Apache-2.0
// Paged attention, stores and copies on a CPU. All pointers of the arguments are to its memory.
#pragma once

#include "replay/attention.h"
#include "replay/leaf.h"
#include "replay/team.h"

namespace pagetape {

// Does args.items, then, where args.chunks is more than 1, nothing more: combine_cpu() ends the
// rows. The results do not depend on the team nor on the instruction set, which must be one that
// leaf_function() has for the head dimension.
void attend_cpu(const AttentionArgs& args, Isa isa, Team& team);

// Merges chunks: args.items are the first chunks of each tile, as for the kernel.
void combine_cpu(const AttentionArgs& args, Team& team);

}  // namespace pagetape
