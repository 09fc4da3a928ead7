// SPDX-License-Identifier: Apache-2.0
// The beginning of a simulated trace: what the engine allocates before it serves.
#pragma once

#include "capture/sim/config.h"
#include "capture/sim/tape.h"

namespace pagetape::sim {

// Header, pools, arena, map, buffers and backends. The draft's flags are computed from its own
// dummy pool, as an engine does that builds the draft's backend before it binds the target's.
void write_setup(Tape& tape, const Config& config);

}  // namespace pagetape::sim
