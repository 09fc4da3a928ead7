// SPDX-License-Identifier: Apache-2.0
// Begun anywhere with the state said again, a trace gives the findings of the whole from there on.
#include "replay/restate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iostream>
#include <map>
#include <set>

#include "capture/sim/synth.h"
#include "tests/replay/replay_fixture.h"
#include "verify/judge.h"
#include "verify/report.h"

namespace pagetape {
namespace {

// What a finding says, its event counted from where the trace was cut.
std::string line_of(const Finding& f, const Names& names, std::uint64_t from) {
  std::string out = std::string(info(f.rule).name) + " +" + std::to_string(f.event - from);
  out += " launch " + std::to_string(f.launch);
  out += " layer " + (f.has_layer ? names.layer(f.layer) : "-");
  out += " req " + std::string(names.text(f.req));
  out += " row " + std::to_string(f.row) + " column " + std::to_string(f.column);
  out += " page " + std::to_string(f.page) + " pool " + std::string(names.text(f.pool));
  return out + " graph " + std::string(names.text(f.graph));
}

struct Found {
  std::multiset<std::string> lines;
  std::multiset<std::string> before;  // In the first `from` events.
  std::string refused;
  std::uint64_t applied = 0;          // Events before the one refused.
  std::set<std::string> not_checked;  // Rules, of anything.
};

Found judged(const std::vector<Event>& events, const Names& names, std::uint64_t from) {
  Found found;
  State state(names);
  JudgeOptions options;
  options.max_findings = 0;
  Judge judge(names, options, all_rules());
  for (const Event& event : events) {
    const Outcome outcome = state.apply(event, &judge);
    if (outcome.applied()) {
      ++found.applied;
      continue;
    }
    found.refused = std::string(outcome.name()) + ": " + print_event(event, names);
    break;
  }
  judge.finish();
  for (const NotChecked& n : judge.coverage().not_checked(names)) {
    found.not_checked.insert(std::string(info(n.rule).name));
  }
  for (const Finding& f : judge.findings().sorted()) {
    if (f.event >= from) {
      found.lines.insert(line_of(f, names, from));
    } else {
      found.before.insert(line_of(f, names, 0));
    }
  }
  return found;
}

// The trace from the event on, behind what says its state again.
std::vector<Event> cut_at(const std::vector<Event>& events, std::uint64_t from, Names& names,
                          std::size_t& restated) {
  State state(names);
  SetupLog setup;
  for (std::uint64_t i = 0; i < from; ++i) {
    (void)state.apply(events[i]);
    setup.see(events[i], names);
  }
  std::vector<Event> out;
  restate(state, setup, names, "cut", [&](const Event& event) { out.push_back(event); });
  restated = out.size();
  for (std::uint64_t i = from; i < events.size(); ++i) {
    out.push_back(events[i]);
    // Completions name their launch by its new number; of those cut away nothing is said.
    auto* done = std::get_if<ev::LaunchDone>(&out.back().body);
    if (done == nullptr) continue;
    if (done->event < static_cast<std::int64_t>(from)) {
      out.back().body = ev::Note{};
    } else {
      done->event += static_cast<std::int64_t>(restated) - static_cast<std::int64_t>(from);
    }
  }
  return out;
}

// Compares what is found from each of about `cuts` events on. Missing findings are told of by rule.
void expect_same(const std::vector<Event>& events, Names& names, std::size_t cuts,
                 std::map<std::string, int>& missing) {
  const std::size_t stride = std::max<std::size_t>(1, events.size() / cuts);
  for (std::uint64_t from = 1; from <= events.size(); from += stride) {
    // Not between the launch of a stepped graph and its steps: recorders cut at the engine's steps.
    const auto next = std::find_if(
        events.begin() + static_cast<std::ptrdiff_t>(from), events.end(), [](const Event& e) {
          return e.kind() == kKindOf<ev::GraphLaunch> || e.kind() == kKindOf<ev::GraphStep>;
        });
    if (next != events.end() && next->kind() == kKindOf<ev::GraphStep>) continue;
    std::size_t restated = 0;
    const std::vector<Event> cut = cut_at(events, from, names, restated);
    const Found whole = judged(events, names, from);
    const Found part = judged(cut, names, restated);
    if (from > whole.applied) break;  // Behind an event that cannot apply.
    for (std::size_t i = 0; i < restated; ++i) {
      EXPECT_TRUE(check_event(cut[i], names).ok()) << print_event(cut[i], names);
    }
    EXPECT_EQ(part.refused, whole.refused) << "cut at " << from;
    for (const std::string& line : part.before) {
      // Geometry is said as it was, and so is a page that lies beyond what an offset can express.
      EXPECT_TRUE(line.starts_with("GEOMETRY") || line.starts_with("OFFSET_OVERFLOW"))
          << "cut at " << from << ": " << line;
    }
    std::vector<std::string> more, less;
    std::ranges::set_difference(part.lines, whole.lines, std::back_inserter(more));
    std::ranges::set_difference(whole.lines, part.lines, std::back_inserter(less));
    EXPECT_THAT(more, testing::IsEmpty()) << "cut at " << from;
    // Behind a gap rules judge less; and what needs events that came before is said to be
    // unchecked.
    const bool gap = std::any_of(cut.begin(), cut.begin() + static_cast<std::ptrdiff_t>(restated),
                                 [](const Event& e) { return e.kind() == kKindOf<ev::Gap>; });
    for (const std::string& line : less) {
      // What restate() says of a graph's inputs.
      const std::string rule = line.substr(0, line.find(' '));
      if (gap || rule == "GRAPH_STALE" || part.not_checked.contains(rule)) continue;
      ++missing[rule];
      std::cerr << "cut at " << from << ": " << line << '\n';
    }
  }
}

class RestatedGolden : public testing::TestWithParam<std::string> {};

TEST_P(RestatedGolden, GivesTheFindingsOfTheWhole) {
  Names names;
  std::map<std::string, int> missing;
  expect_same(events_of(GetParam(), names), names, 60, missing);
  EXPECT_THAT(missing, testing::IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(All, RestatedGolden, testing::ValuesIn(golden_traces()),
                         [](const auto& info) { return case_name(info.param); });

// Its owner cannot be said: that is a gap. Nor can a column behind what an event may begin with.
TEST(Restated, APageOutsideAPoolThatBecameSmallerIsAGap) {
  TextState s;
  std::vector<Event> events;
  for (const char* line :
       {R"({"ev":"pool","pool":"S","pages":9,"page_size":4})",
        R"({"ev":"alloc","pool":"S","req":"A","pages":[1,7],"first":0})",
        R"({"ev":"alloc","pool":"S","req":"B","pages":[2,4],"first":2147483647})",
        R"({"ev":"pool","pool":"S","pages":5,"page_size":4})",
        R"({"ev":"free","pool":"S","req":"A","pages":[1]})"}) {
    events.push_back(s.event(line));
  }
  std::map<std::string, int> missing;
  expect_same(events, s.names, events.size(), missing);
  EXPECT_THAT(missing, testing::IsEmpty());
}

TEST(Restated, SimulatedEnginesGiveTheFindingsOfTheWhole) {
  const ScratchFolder folder;
  for (const sim::BugInfo& bug : sim::bugs()) {
    sim::Config config;
    config.model = sim::find_model("tiny");
    config.bug = bug.bug;
    ASSERT_EQ(sim::synthesize(config, folder.file("s")).error, "");
    Names names;
    std::map<std::string, int> missing;
    expect_same(events_of(folder.file("s"), names), names, 12, missing);
    EXPECT_THAT(missing, testing::IsEmpty()) << bug.name;
  }
}

}  // namespace
}  // namespace pagetape
