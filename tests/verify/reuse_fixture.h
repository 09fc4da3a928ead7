// SPDX-License-Identifier: Apache-2.0
// A trace judged with and without the reuse of what was judged before.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/replay/replay_fixture.h"
#include "tests/verify/random_engine.h"
#include "verify/judge.h"

namespace pagetape {

struct JudgedLines {
  std::vector<Finding> findings;
  std::string text;     // One line a finding.
  std::string covered;  // What was judged, how often, and what could not be.
  std::uint64_t stood = 0;
  std::uint64_t digest = 0;  // Of the state behind it.
};

inline std::string coverage_of(const Coverage& coverage, const Names& names) {
  std::string out;
  for (std::size_t r = 0; r < kRuleCount; ++r) {
    out += std::string(kRules[r].name) + ' ' + std::to_string(coverage.judged()[r]) + '\n';
  }
  for (const NotChecked& n : coverage.not_checked(names)) {
    out += std::string("not checked: ") + std::string(info(n.rule).name) + ' ' +
           std::to_string(n.rank) + ' ' + std::string(names.text(n.object)) + ' ' + n.needs +
           (n.applicable ? "" : ", not applicable") + '\n';
  }
  return out;
}

inline bool says_slots_alone(const ev::Row& row) {
  ev::Row alone;
  alone.req = row.req;
  alone.slots = row.slots;
  return row.slots.has_value() && row == alone;
}

// Slots by runs, where lanes say nothing else.
inline void tell_by_runs(ev::Rows& rows) {
  ev::Rows told;
  ev::SlotLanes& lanes = told.renew_slot_lanes();
  for (const ev::Row& row : rows) {
    if (!says_slots_alone(row)) return;
    lanes.reqs.push_back(row.req);
    for (const SlotId slot : *row.slots) {
      const std::uint32_t begin = lanes.ends.empty() ? 0 : lanes.ends.back();
      const bool follows = lanes.runs.size() > begin &&
                           raw(slot) == raw(lanes.runs.back().first) + lanes.runs.back().count;
      if (follows) {
        ++lanes.runs.back().count;
      } else {
        lanes.runs.push_back({slot, 1});
      }
    }
    lanes.ends.push_back(static_cast<std::uint32_t>(lanes.runs.size()));
  }
  rows = told;
}

// Gives equal lanes one list, and slots by runs, as a reader of binary traces does.
class SharedRows {
 public:
  void share(Event& event) {
    if (auto* e = std::get_if<ev::Attention>(&event.body)) share(e->rows);
    if (auto* e = std::get_if<ev::Store>(&event.body)) {
      tell_by_runs(e->rows);
      share(e->rows);
    }
    if (auto* e = std::get_if<ev::GraphLaunch>(&event.body); e != nullptr && e->rows) {
      share(*e->rows);
    }
    if (auto* e = std::get_if<ev::GraphCapture>(&event.body); e != nullptr && e->launches) {
      for (ev::Launch& launch : *e->launches) {
        if (auto* attention = std::get_if<ev::Attention>(&launch)) share(attention->rows);
        if (auto* store = std::get_if<ev::Store>(&launch)) share(store->rows);
      }
    }
  }

 private:
  void share(ev::Rows& rows) {
    const auto at = std::ranges::find(seen_, rows);
    if (at == seen_.end()) return seen_.push_back(rows);
    rows = *at;
  }
  std::vector<ev::Rows> seen_;
};

// A brief event as such. False where it is none, or cannot apply.
inline bool judge_briefly(const Event& event, State& state, Judge& judge) {
  Briefs briefs{.count = 1, .rank = event.rank, .rewinds = {}, .accepts = {}};
  if (const auto* rewind = std::get_if<ev::Rewind>(&event.body)) {
    briefs.rewinds = {rewind, 1};
  } else if (const auto* accept = std::get_if<ev::Accept>(&event.body)) {
    briefs.accepts = {accept, 1};
  } else {
    return false;
  }
  if (!state.apply(briefs)) return false;
  judge.note(briefs);
  return true;
}

// With `reuse`, lanes that were seen before are not filled in anew, either, and brief events come
// as such. Before the event of `load_at`, the state is saved and loaded as at a keyframe.
inline JudgedLines judge(const Lines& lines, bool reuse, std::size_t load_at = SIZE_MAX) {
  TextState m;
  std::array<bool, kRuleCount> rules;
  rules.fill(true);
  JudgeOptions options;
  options.max_findings = 0;
  options.reuse = reuse;
  Judge judge(m.names, options, rules);
  SharedRows rows;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i == load_at) {
      EXPECT_TRUE(m.state.load(m.state.save(), m.names).ok());
      judge.restart();
    }
    Event event = m.event(lines[i]);
    if (reuse && judge_briefly(event, m.state, judge)) continue;
    if (reuse) rows.share(event);
    (void)m.state.apply(event, &judge);
  }
  judge.finish();
  JudgedLines out{judge.findings().sorted(),
                  {},
                  coverage_of(judge.coverage(), m.names),
                  judge.stood(),
                  m.state.digest()};
  for (const Finding& f : out.findings) out.text += f.id(m.names) + ": " + f.message + '\n';
  return out;
}

}  // namespace pagetape
