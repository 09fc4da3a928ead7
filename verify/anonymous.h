// SPDX-License-Identifier: Apache-2.0
// A trace that says nothing of where it comes from: plain names, small page ids.
#pragma once

#include "verify/oracle.h"

namespace pagetape {

// Names become a letter for what they name and a number: request r0, pool p0, backend b0. Words of
// the trace model (modes, units, roles) stay. The finding's names follow.
void make_anonymous(Tape& tape, Finding& finding, Names& names);

// Page ids and pool bounds become small by a map that keeps their order, which of them follow on
// each other, and 0: 8657 of 8657 becomes 3 of 3. False where ids count in several units, so that
// no one map holds: nothing is changed then.
bool make_ids_small(Tape& tape, Finding& finding, const Names& names);

}  // namespace pagetape
