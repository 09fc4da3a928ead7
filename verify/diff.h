// SPDX-License-Identifier: Apache-2.0
// Two recordings of the same work, compared in what they mean.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "replay/extents.h"
#include "traces/status.h"

namespace pagetape {

// What a difference is about.
enum class Aspect : std::uint8_t { kBindings, kTables, kAllocation, kAccepted, kGraphs, kLaunches };
inline constexpr std::size_t kAspects = 6;
struct AspectInfo {
  const char* name;  // In JSON.
  const char* text;
};
inline constexpr std::array<AspectInfo, kAspects> kAspectInfos{{
    {"bindings", "bindings of backends to pools"},
    {"tables", "table provenance"},
    {"allocation", "allocation order"},
    {"accepted", "accepted draft lengths"},
    {"graphs", "graph use"},
    {"launches", "launches and lengths"},
}};

// One side of the first difference; absent where that side does nothing there.
struct DiffSide {
  EventIndex event = kNever;
  std::int64_t step = -1;
  std::string text;  // The event in words, pages by whose they are.
};

struct DiffReport {
  Status status;
  std::string good, bad;  // Paths.
  std::uint64_t compared = 0;
  std::array<std::uint64_t, kAspects> counts{};  // Request steps that differ, by aspect.
  std::uint64_t total = 0;
  std::uint64_t renamed = 0;  // Requests that have another name in the bad trace.
  // Of the first difference:
  std::int64_t rank = INT64_MIN;
  std::string request;         // "": the engine's own.
  std::string request_in_bad;  // Its name there, where that is another.
  std::uint64_t turn = 0;      // Steps of that request (of the engine: events) before it.
  Aspect aspect = Aspect::kBindings;
  std::optional<DiffSide> in_good, in_bad;
};

// Steps of a request that were compared: where each begins; kNever: that side has none there.
struct DiffPair {
  EventIndex good = kNever, bad = kNever;
  bool differs = false;
};
// Whoever wants to know more than the report. Either may be null.
struct DiffWatch {
  std::function<void(const DiffPair&)> on_pair;  // As they are compared.
  std::function<bool(EventIndex)> goes_on;       // With the event being read. False: stop.
};

// Aligns by request and by the steps in which the request does something. A page is known by its
// pool, by who was given it, and as the how-manieth, a prefix key by the page it was offered for:
// physical ids, keys, names of requests, and the order in which independent requests come to turn,
// are free to differ. `any_engine`: engines and versions may. Memory grows with how far the traces
// are apart, not with their length.
DiffReport diff_traces(const std::string& good, const std::string& bad, bool any_engine,
                       const DiffWatch& watch = {});

std::string diff_text(const DiffReport& report);
std::string diff_json(const DiffReport& report);

}  // namespace pagetape
