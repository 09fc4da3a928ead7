// SPDX-License-Identifier: Apache-2.0
// Paged attention, stores and copies on a CPU. All pointers of the arguments are to its memory.
#pragma once

#include "replay/attention.h"
#include "replay/leaf.h"
#include "replay/team.h"

namespace pagetape {

// The results do not depend on the team nor on the instruction set, which must be one that the
// machine has.
void attend_cpu(const AttentionArgs& args, Isa isa, Team& team);

}  // namespace pagetape
