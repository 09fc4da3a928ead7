// SPDX-License-Identifier: Apache-2.0
// The parts in which a flight recorder keeps the recent past, files beside the trace they become.
// Each begins with events that say its state again, so that those before it can go.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "capture/companion.h"
#include "traces/names.h"
#include "traces/status.h"
#include "traces/writer.h"

namespace pagetape {

// A file of events, TRACE.from-FIRST+RESTATED. A launch_done in it names its launch by the number
// of the whole run, as that may stand in a part before.
struct FlightPart {
  std::string path;
  std::uint64_t first = 0;            // Events of the run before it.
  std::uint64_t restated = 0;         // Events at its beginning that say the state again.
  std::uint64_t events = UINT64_MAX;  // Of the file, those to be read; else all.
};

// What a part is called while its beginning is written, and then.
std::string part_name(const std::string& trace, std::uint64_t first);
std::string part_name(const std::string& trace, std::uint64_t first, std::uint64_t restated);

// Those on the disk, oldest first.
std::vector<FlightPart> parts_of(const std::string& trace);
void remove_parts(const std::string& trace);

// Hands the events of parts that follow on each other to the writer, whose names are the table's:
// the first one's whole, of the others what is new. Events are numbered anew, and the completion of
// a launch that is not among them is left out. `companion` may be null. `behind`: events of the run
// up to the end.
Status join_parts(const std::vector<FlightPart>& parts, Names& names, Writer& writer,
                  Companion* companion, std::uint64_t& behind);

// Writes an event with its keyframe, if one is due.
Status write_along(const Event& event, Writer& writer, Companion* companion);

}  // namespace pagetape
