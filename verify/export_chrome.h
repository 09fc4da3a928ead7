// SPDX-License-Identifier: Apache-2.0
// A trace as a picture of lanes over time, for the viewers of Chrome traces.
#pragma once

#include <memory>

#include "verify/export_walk.h"
#include "verify/output_file.h"

namespace pagetape {

// Written as the trace is read; memory grows with the requests that live at once, not with the
// trace. Groups of lanes, of each rank: steps, backends, requests, pools, streams.
//
// Slices are steps, launches (on their stream, and on the backends that they are of) and the lives
// of requests with their states; a counter of each pool says how many pages of its space have an
// owner; instants are the findings (on their backend, else on their pool, else on the steps), what
// is said of a backend's bindings, and what the recorder says of itself.
//
// Times are those at which events were recorded; an event without one has that of the event before
// it. A launch's slice ends where the launch was seen to be complete, else where its lane goes on
// or the step ends: when the device ran it is not in a trace.
//
// `index_as_time`: an event a microsecond, for a trace without times. `names` are those of what is
// to come; it and `out` outlive the exporter.
std::unique_ptr<Exporter> chrome_exporter(const Names& names, bool index_as_time, OutputFile& out);

// Whether any event of the trace has a time; reads up to the first.
bool has_times(const std::string& path);

}  // namespace pagetape
