// SPDX-License-Identifier: Apache-2.0
// A shrunk trace as a test that is ready to be checked in.
#pragma once

#include <string>
#include <vector>

#include "traces/event.h"
#include "traces/names.h"
#include "verify/rules.h"

namespace pagetape {

// The trace in the text form, a line an event.
std::string regression_text(const std::vector<Event>& events, const Names& names);

// A GoogleTest with the trace in it, of verify/trace_matchers.h. `name`: of the test; what cannot
// stand in one becomes "_".
std::string regression_gtest(const std::string& name, Rule rule, const std::vector<Event>& events,
                             const Names& names);

// Lines for a BUILD file beside the trace, whose file name is `trace`.
std::string regression_bazel(const std::string& name, Rule rule, const std::string& trace);

}  // namespace pagetape
