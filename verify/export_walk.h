// SPDX-License-Identifier: Apache-2.0
// A trace with what the rules found in it, event by event, for those who write it in another form.
#pragma once

#include "verify/verify.h"

namespace pagetape {

// Takes a trace in the order of its events. What it returns ends the walk.
class Exporter {
 public:
  virtual ~Exporter() = default;
  virtual Status event(const Event& event, EventIndex index) = 0;
  // Follows on its event.
  virtual Status finding(const Finding& finding) = 0;
  // Behind damage: events are missing here.
  virtual void missing() {}
  // After the last event that could be read.
  virtual Status end() = 0;
};

// Reads the trace of a report again, beside its findings, up to where the report ends. Names are
// those of the report. Holds one event at a time. Gives what went wrong in writing; what is wrong
// with the trace stands in the report.
Status walk_trace(const Report& report, Exporter& to);

}  // namespace pagetape
