// SPDX-License-Identifier: Apache-2.0
// What was judged, and what could not be: silence is never a pass.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include "traces/brief.h"
#include "traces/event.h"
#include "traces/names.h"
#include "verify/rules.h"

namespace pagetape {

struct NotChecked {
  Rule rule;
  std::int64_t rank;    // INT64_MIN: events without a rank.
  Name object = kNone;  // Backend, pool or graph; kNone: the trace.
  std::string needs;
  bool applicable = true;  // False: there was nothing to judge.
  bool unknown = false;    // The events are there, but of something they did not tell.
};

// Facts about one object (a pool or a backend) that decide which rules can be judged of it.
struct Seen {
  bool launched = false;  // Backend: it ran an attention or a store. Pool: one read or wrote it.
  bool attended = false;  // … an attention.
  bool bound = false;     // Its binding or tensor was known at a launch.
  bool unbound = false;   // … and at some launch it was not.
  bool space = false;     // A launch or its table said whose ids they are.
  bool fact = false;      // A cached fact, or a tensor to compare with the binding.
  bool entries = false;   // The length of a row or the width of a table was known.
  bool reserved = false, alloc = false, async = false, write = false, digest = false;
  bool evict = false, free = false, offset = false, padding = false;
  bool owners = false;  // Pool: ids claimed of a space whose allocs are recorded were judged.
  // Rules by which something of it could not be judged: what they need is unknown since a gap, or
  // (of a backend's tables and lengths) was never said.
  std::bitset<kRuleCount> unknown;

  void miss(std::initializer_list<Rule> rules) {
    for (const Rule rule : rules) unknown.set(static_cast<std::size_t>(rule));
  }
  Seen& operator|=(const Seen& other);
};

class Coverage {
 public:
  void note(const Event& event, const Names& names) {
    // A recorder that sees no more than that there is a graph knows nothing to judge it by.
    const auto* graph = std::get_if<ev::GraphCapture>(&event.body);
    if (graph == nullptr || graph->buffers || graph->scalars || graph->inputs || graph->launches) {
      seen_[event.kind()] = true;
    }
    if (const auto* header = std::get_if<ev::Header>(&event.body)) note_records(*header, names);
  }
  void note(const Briefs& briefs) {
    if (!briefs.rewinds.empty()) seen_[kKindOf<ev::Rewind>] = true;
    if (!briefs.accepts.empty()) seen_[kKindOf<ev::Accept>] = true;
  }
  void judged(Rule rule, std::uint64_t n) { judged_[static_cast<std::size_t>(rule)] += n; }
  // Pages that a store writes in so many layers, by ids whose space or unit it says, and those that
  // its padding does.
  void judged_stores(std::uint64_t pages, std::uint64_t pads, std::uint64_t layers,
                     std::uint64_t offsets) {
    for (const Rule rule : {Rule::kOobPage, Rule::kPadLane, Rule::kFreedPage, Rule::kWrongOwner,
                            Rule::kAliasedWrite}) {
      judged(rule, (pages + pads) * layers);
    }
    judged(Rule::kWrongSpace, pages);
    judged(Rule::kOffsetOverflow, (pages + pads) * offsets);
  }
  Seen& backend(std::int64_t rank, Name name) { return backends_[{rank, name}]; }
  Seen& pool(std::int64_t rank, Name name) { return pools_[{rank, name}]; }
  const std::array<std::uint64_t, kRuleCount>& judged() const { return judged_; }

  // Does the recorder write that kind of event? With `header.records`: what it says; else whether
  // one was seen.
  bool recorded(std::size_t kind) const { return has_records_ ? records_[kind] : seen_[kind]; }
  bool says_it_records(std::size_t kind) const { return has_records_ && records_[kind]; }

  // Would the events to come be judged alike? What else was seen says only what was judged.
  bool judges_like(const Coverage& other) const;
  // What was seen, and nothing judged yet, with the names of another table.
  Coverage seen_only(Renaming& renamed) const;
  // Adds what was seen and judged of the events that follow.
  void append(const Coverage& later, Renaming& renamed);

  // By rule in the table's order, then by rank and object's name.
  std::vector<NotChecked> not_checked(const Names& names) const;

 private:
  using Key = std::pair<std::int64_t, Name>;
  void note_records(const ev::Header& header, const Names& names);
  bool checked(Rule rule, const Seen& seen, bool& applicable) const;

  std::map<Key, Seen> backends_, pools_;
  std::array<std::uint64_t, kRuleCount> judged_{};
  std::bitset<kKinds> seen_, records_;
  bool has_records_ = false;
};

}  // namespace pagetape
