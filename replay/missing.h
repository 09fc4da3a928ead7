// SPDX-License-Identifier: Apache-2.0
// What is left of a state where events of the trace are missing.
#pragma once

#include "replay/state.h"

namespace pagetape {

// Applies what a `gap` of the rank says; `observer` may be null.
void forget(State& state, std::int64_t rank, Observer* observer);
// The same of every rank that the state knows.
void forget_all(State& state, Observer* observer);

}  // namespace pagetape
