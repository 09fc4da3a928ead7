// SPDX-License-Identifier: Apache-2.0
// What an engine might have done otherwise: a change of the recorded transitions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "traces/status.h"

namespace pagetape {

// The parts of upstream's repair of the hybrid-SWA crash.
struct RepairParts {
  bool flags = false;   // The SWA state is swapped together with the pool, and back.
  bool buffer = false;  // The SWA table buffer exists, whatever pool the backend was built with.
  bool graph = false;   // The swap also stands around graph capture.
  bool any() const { return flags || buffer || graph; }
};

// Of a file: what is changed at one event.
struct Edit {
  std::uint64_t at = 0;  // Its index.
  bool drop = false;
  std::string set;     // A JSON merge patch (RFC 7386) over the event's text form; empty: none.
  std::string insert;  // The text form of an event that comes before; empty: none.
};

struct Variant {
  std::string name;
  bool clamp = false;  // Ids are moved into the bound pool before they are used.
  RepairParts repair;
  bool per_call = false;  // No SWA state is cached: each launch and capture asks the pool bound.
  std::vector<Edit> edits;

  // It differs from another variant in what graphs do: without graphs it says nothing.
  bool needs_graphs() const { return repair.any() && !(repair.buffer && repair.graph); }
};

// The names that make_variant() knows, with what they mean.
std::span<const std::pair<std::string_view, std::string_view>> known_variants();

// A variant by its name, or a file of edits, one JSON object a line:
//     {"at": 17, "set": {"window": 512, "mode": null}}      null takes a field away
//     {"at": 17, "insert": {"ev": "swa_state", …}}          before that event
//     {"at": 17, "drop": true}
Status make_variant(const std::string& word, Variant& out);

}  // namespace pagetape
