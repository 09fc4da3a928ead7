// SPDX-License-Identifier: Apache-2.0
// The trace of another order.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>

#include "traces/source.h"
#include "traces/text.h"
#include "traces/writer.h"
#include "verify/explore.h"
#include "verify/output_file.h"

namespace pagetape {
namespace {

using Add = std::function<Status(const Event&)>;

// Every event of the trace, those of the stretch in the order chosen.
Status each_event(const std::string& path, Names& names, const ChosenOrder& chosen,
                  const Add& add) {
  Status status;
  const std::unique_ptr<Source> source = open_trace(path, names, status);
  if (source == nullptr) return status;
  const std::vector<Event> moved = reordered(chosen.stretch, chosen.order);
  Event event;
  while (status.ok() && source->next(event)) {
    const EventIndex index = source->position() - 1;
    if (index >= chosen.stretch.begin && index < chosen.stretch.end()) {
      status = add(moved[index - chosen.stretch.begin]);
    } else {
      redirect(chosen.stretch, chosen.order, event);
      status = add(event);
    }
  }
  return status.ok() ? source->status() : status;
}

Status write_text(const std::string& path, Names& names, const ChosenOrder& chosen,
                  const std::string& to) {
  OutputFile file;
  if (Status status = file.open(to); !status.ok()) return status;
  const auto add = [&](const Event& event) { return file.write(print_event(event, names) + '\n'); };
  if (Status status = each_event(path, names, chosen, add); !status.ok()) return status;
  return file.commit();
}

Status write_binary(const std::string& path, Names& names, const ChosenOrder& chosen,
                    const std::string& to) {
  const std::string partial = to + ".partial";
  Status status;
  const std::unique_ptr<Writer> writer = create_trace(partial, names, {}, status);
  if (writer == nullptr) return status;
  const auto add = [&](const Event& event) { return writer->add(event); };
  status = each_event(path, names, chosen, add);
  if (status.ok()) status = writer->close();
  if (status.ok() && std::rename(partial.c_str(), to.c_str()) != 0) {
    status = system_error(to + ": cannot be written: " + std::strerror(errno));
  }
  if (!status.ok()) std::remove(partial.c_str());
  return status;
}

}  // namespace

Status write_order(const std::string& path, Names& names, const ChosenOrder& chosen,
                   const std::string& to) {
  const bool text = to.ends_with(".jsonl");
  return text ? write_text(path, names, chosen, to) : write_binary(path, names, chosen, to);
}

}  // namespace pagetape
