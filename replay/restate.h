// SPDX-License-Identifier: Apache-2.0
// A state said again as events, so that a trace can begin in the middle of a run and be a trace
// like any other: read, judged, cut and shown by what knows nothing of this.
#pragma once

#include <functional>
#include <string_view>

#include "replay/setup_log.h"
#include "replay/state.h"
#include "traces/names.h"

namespace pagetape {

// Gives the events after which a fresh state means the same to all that follows: declarations and
// bindings from `setup`, then what each rank's pages, maps, operations and buffers hold. They break
// no rule of pages, even where the state does, and none of them is a launch. Where the state does
// not know, or no event could say it (a page written with holes, a page owned twice by fault), they
// say `gap` and what is certain: rules judge less of that, never wrongly. Lost without a word: that
// a graph's inputs were not rewritten since its last launch before. `why` is what gaps say, `names`
// the state's table.
void restate(const State& state, SetupLog& setup, Names& names, std::string_view why,
             const std::function<void(const Event&)>& give);

}  // namespace pagetape
