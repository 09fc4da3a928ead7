// SPDX-License-Identifier: Apache-2.0
#include "verify/export_walk.h"

namespace pagetape {

static bool next_event(Source& source, Event& event, Exporter& to) {
  while (!source.next(event)) {
    if (source.status().ok() || !source.resume()) return false;
    to.missing();
  }
  return true;
}

Status walk_trace(const Report& report, Exporter& to) {
  Status status;
  const std::unique_ptr<Source> source = open_trace(report.trace, *report.names, status);
  if (source == nullptr) return status;
  // An event that was refused, and those behind it, were not judged.
  const bool refused = !report.status.ok() && report.status.code() != Code::kDamaged;
  auto finding = report.findings.begin();
  Event event;
  while (status.ok() && next_event(*source, event, to)) {
    const EventIndex index = source->position() - 1;
    if (refused && index >= report.status_event) break;
    status = to.event(event, index);
    for (; finding != report.findings.end() && finding->event <= index; ++finding) {
      if (status.ok()) status = to.finding(*finding);
    }
  }
  return status.ok() ? to.end() : status;
}

}  // namespace pagetape
