// SPDX-License-Identifier: Apache-2.0
// What State::apply answers: applied, or why an event cannot apply (it then changed nothing).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "traces/ids.h"

namespace pagetape {

enum class OutcomeCode : std::uint8_t {
  kApplied,
  kUndeclaredPool,
  kUndeclaredSpace,
  kUndeclaredSet,
  kUndeclaredMap,
  kUndeclaredBuffer,
  kUndeclaredBackend,
  kUndeclaredGraph,
  kUndeclaredArena,
  kUndeclaredObject,
  kUndeclaredOp,
  kSpaceMoved,
  kTooLarge,
  kNoSuchLaunch,
};

struct OutcomeInfo {
  OutcomeCode code;
  std::string_view name;
  std::string_view sentence;
};

// In order of precedence: names are looked up in the order of the event's fields.
inline constexpr std::array kOutcomes{
    OutcomeInfo{OutcomeCode::kApplied, "applied", "The event took effect."},
    OutcomeInfo{OutcomeCode::kUndeclaredPool, "undeclared_pool", "No `pool` event named it."},
    OutcomeInfo{OutcomeCode::kUndeclaredSpace, "undeclared_space",
                "No pool has that name or lies in a space of that name."},
    OutcomeInfo{OutcomeCode::kUndeclaredSet, "undeclared_set", "No `pool_set` event named it."},
    OutcomeInfo{OutcomeCode::kUndeclaredMap, "undeclared_map", "No `map` event named it."},
    OutcomeInfo{OutcomeCode::kUndeclaredBuffer, "undeclared_buffer", "No `buffer` event named it."},
    OutcomeInfo{OutcomeCode::kUndeclaredBackend, "undeclared_backend",
                "No `backend` event named it."},
    OutcomeInfo{OutcomeCode::kUndeclaredGraph, "undeclared_graph",
                "No `graph_capture` event named it."},
    OutcomeInfo{OutcomeCode::kUndeclaredArena, "undeclared_arena", "No `arena` event named it."},
    OutcomeInfo{OutcomeCode::kUndeclaredObject, "undeclared_object",
                "No pool, set, map or buffer has that name."},
    OutcomeInfo{OutcomeCode::kUndeclaredOp, "undeclared_op",
                "No `async_begin` event began it, or it has ended."},
    OutcomeInfo{OutcomeCode::kSpaceMoved, "space_moved",
                "A pool said again lies in another space or allocator than before."},
    OutcomeInfo{OutcomeCode::kTooLarge, "too_large",
                "A count is larger than any engine's (over 1,048,576 in one lane)."},
    OutcomeInfo{OutcomeCode::kNoSuchLaunch, "no_such_launch",
                "The graph is not `stepped`, has no launch of that index, or the event named does "
                "not come before this one."},
};

struct [[nodiscard]] Outcome {
  OutcomeCode code = OutcomeCode::kApplied;
  Name what = kNone;  // The name that was not declared.

  bool applied() const { return code == OutcomeCode::kApplied; }
  std::string_view name() const { return kOutcomes[static_cast<std::size_t>(code)].name; }
  std::string_view sentence() const { return kOutcomes[static_cast<std::size_t>(code)].sentence; }
};

}  // namespace pagetape
