// SPDX-License-Identifier: Apache-2.0
#include "replay/compact.h"

#include <cstdio>
#include <memory>

#include "replay/refusal.h"
#include "replay/state.h"
#include "traces/source.h"

namespace pagetape {

static std::uint64_t weight(const ev::Rows& rows) {
  std::uint64_t n = rows.size();
  for (const ev::Row& row : rows) {
    if (row.slots) n += row.slots->size();
    n += static_cast<std::uint64_t>(row.n.value_or(0));
  }
  return n;
}

std::uint64_t apply_weight(const Event& event) {
  return 1 + std::visit(
                 []<class T>(const T& e) -> std::uint64_t {
                   if constexpr (requires { e.pages.size(); }) {
                     return e.pages.size();
                   } else if constexpr (requires { e.values.size(); }) {
                     return e.values.size();
                   } else if constexpr (requires { e.pairs.size(); }) {
                     return e.pairs.size();
                   } else if constexpr (std::is_same_v<T, ev::Store>) {
                     return weight(e.rows);
                   } else if constexpr (std::is_same_v<T, ev::GraphLaunch>) {
                     return e.rows ? weight(*e.rows) : 0;
                   } else {
                     return 0;
                   }
                 },
                 event.body);
}

Status compact_trace(const std::string& in, const std::string& out, const WriterOptions& options,
                     std::uint64_t keyframe_weight, std::uint64_t& keyframes) {
  Names names;
  Status status;
  std::unique_ptr<Source> source = open_trace(in, names, status);
  if (source == nullptr) return status;
  const std::string unfinished = out + ".unfinished";
  std::unique_ptr<Writer> writer = create_trace(unfinished, names, options, status);
  if (writer == nullptr) return status;
  State state(names);
  Event event;
  keyframes = 0;
  std::uint64_t since = 0;
  while (status.ok() && source->next(event)) {
    if (since >= keyframe_weight) {
      const std::string saved = state.save();
      status = writer->add_keyframe(saved, State::digest_of(saved));
      since = 0;
      ++keyframes;
    }
    if (!status.ok()) break;
    const Outcome outcome = state.apply(event);
    if (!outcome.applied()) {
      status = refusal(*source, outcome, event, names);
      break;
    }
    since += apply_weight(event);
    status = writer->add(event);
  }
  if (status.ok()) status = source->status();
  Status closed = writer->close();
  if (!closed.ok()) return closed;
  if (!status.ok() && status.code() != Code::kDamaged) {
    std::remove(unfinished.c_str());
    return status;
  }
  if (std::rename(unfinished.c_str(), out.c_str()) != 0) {
    return system_error(out + ": cannot be renamed into place; the trace is in " + unfinished);
  }
  return status;
}

}  // namespace pagetape
