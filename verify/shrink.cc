// SPDX-License-Identifier: Apache-2.0
#include "verify/shrink.h"

#include <algorithm>

#include "verify/anonymous.h"
#include "verify/past.h"
#include "verify/reducer.h"
#include "verify/report.h"
#include "verify/slice.h"
#include "verify/verify.h"

namespace pagetape {
namespace {

Status no_finding(const std::string& path, Rule rule, const Judge& judge, const Names& names) {
  std::string why;
  for (const NotChecked& n : judge.coverage().not_checked(names)) {
    if (n.rule != rule) continue;
    why += why.empty() ? "; not checked: " : ", ";
    why += std::string(names.text(n.object)) + " (needs " + n.needs + ")";
  }
  return usage(path + ": no finding of " + std::string(info(rule).name) + ", nothing to shrink" +
               why);
}

// The first finding of the rule, and what every event raises.
Status find_goal(const std::string& path, Names& names, Rule rule, Goal& goal,
                 std::uint64_t& events) {
  Status status;
  const std::unique_ptr<Source> source = open_trace(path, names, status);
  if (source == nullptr) return status;
  JudgeOptions options;
  options.max_findings = 1;
  State state(names);
  Judge judge(names, options, all_rules());
  Event event;
  while (source->next(event)) {
    const auto before = judge.findings().counts();
    if (const Outcome outcome = state.apply(event, &judge); !outcome.applied()) {
      return usage(source->place() + ": " + std::string(outcome.sentence()));
    }
    const RuleBits raised = newly_raised(before, judge.findings().counts());
    if (raised != 0) goal.allowed[source->position() - 1] |= raised;
  }
  if (!source->status().ok()) return source->status();
  events = source->position();
  judge.finish();
  const Finding* first = judge.findings().first(rule);
  if (first == nullptr) return no_finding(path, rule, judge, names);
  goal.finding = *first;
  goal.allowed[first->event] |= RuleBits{1} << static_cast<std::size_t>(rule);
  return {};
}

// Maps lead from page to page: those that the pages are mapped to, or from, belong to them.
void follow_maps(const World& world, std::set<std::int64_t>& pages) {
  for (std::uint32_t m = 0; m < world.maps.size(); ++m) {
    if (world.maps.key(m) == kNone || world.maps[m].by_slot) continue;
    const MapState& map = world.maps[m];
    for (const std::int64_t page : std::set<std::int64_t>(pages)) {
      if (page < 0) continue;
      const auto key = static_cast<std::uint64_t>(page);
      if (const MapEntry* entry = map.entries.find(key)) {
        if (entry->to != 0) pages.insert(entry->to);
      }
      if (const std::int64_t* back = map.back.find(key); back && *back > 1) pages.insert(*back - 1);
    }
  }
}

// What the launch reads and writes, gathered while it is applied.
class Touched final : public Observer {
 public:
  Touched(const Finding& finding, std::set<std::int64_t>& pages)
      : finding_(finding), pages_(pages) {}
  void on_page(World&, const PageAct& act) override { pages_.insert(raw(act.page)); }
  void on_launch(World&, const LaunchView& view) override {
    for (const Lane& lane : view.lanes) {
      if (lane.req != finding_.req) continue;
      Cell cell;
      for (std::int64_t j = 0; j < std::min<std::int64_t>(lane.held(), 1 << 20); ++j) {
        if (lane.entry(j, cell)) pages_.insert(raw(cell.page));
      }
    }
  }

 private:
  const Finding& finding_;
  std::set<std::int64_t>& pages_;
};

// From the least that the finding can depend on to all there is.
Status slices_of(const std::string& path, Names& names, const Finding& f,
                 std::vector<SliceOptions>& out) {
  std::set<std::int64_t> near, far;
  Status status;
  const std::unique_ptr<Past> past = Past::open(path, names, status);
  if (past == nullptr) return status;
  if (status = past->go_before(f.event); !status.ok()) return status;
  const std::int64_t rank = f.rank == INT64_MIN ? State::kNoRank : f.rank;
  const World* world = past->state().world(rank);
  Event event;
  Touched touched(f, far);
  if (f.page != INT64_MIN) near.insert(f.page);
  if (world != nullptr) follow_maps(*world, near);
  if (status = past->pass(event, &touched); !status.ok()) return status;
  far.insert(near.begin(), near.end());
  world = past->state().world(rank);
  if (world != nullptr) follow_maps(*world, far);
  out = {{.pages = near},
         {.pages = near, .only_request = false},
         {.pages = far},
         {.pages = far, .only_request = false},
         {},
         {.pages = {}, .only_request = false, .tail = true}};
  return {};
}

bool first_slice(const std::string& path, const ShrinkOptions& options, const Goal& goal,
                 Oracle& oracle, Tape& tape, ShrinkReport& report) {
  std::vector<SliceOptions> slices;
  report.status = slices_of(path, *report.names, goal.finding, slices);
  for (const SliceOptions& choice : slices) {
    if (!report.status.ok()) return false;
    report.status = slice(path, *report.names, goal, choice, tape);
    if (!report.status.ok()) return false;
    const std::size_t size = tape.size();
    const bool holds = oracle.holds(tape, goal);
    options.progress(std::to_string(size) + " of " + std::to_string(report.events_before) +
                     " events cut out: " + (holds ? "the finding is there" : "not enough"));
    if (holds) return true;
  }
  if (report.status.ok()) {
    report.status = usage(path + ": the finding at event " + std::to_string(goal.finding.event) +
                          " does not come back when the trace is replayed without times and "
                          "notes; nothing was written");
  }
  return false;
}

// Names, then ids; each stays as it was where the finding would not survive it.
void make_small(Tape& tape, Goal& goal, Oracle& oracle, ShrinkReport& report) {
  for (const bool ids : {false, true}) {
    Tape trial = tape;
    Goal changed = goal;
    if (!ids) make_anonymous(trial, changed.finding, *report.names);
    if (ids && !make_ids_small(trial, changed.finding, *report.names)) continue;
    if (!oracle.holds(trial, changed)) continue;
    tape = std::move(trial);
    goal = std::move(changed);
    if (ids) report.small_ids = true;
  }
}

}  // namespace

ShrinkReport shrink(const std::string& path, const ShrinkOptions& options) {
  ShrinkReport report;
  report.names = std::make_shared<Names>();
  Goal goal;
  report.status = find_goal(path, *report.names, options.rule, goal, report.events_before);
  if (!report.status.ok()) return report;
  report.was = goal.finding;
  options.progress("keeping " + place_of(goal.finding, *report.names));
  Oracle oracle(*report.names);
  Tape tape;
  // First with the column as it was; where only another position in a list would keep it, that.
  goal.by_column = goal.finding.row >= 0 && goal.finding.slot == INT64_MIN;
  if (!first_slice(path, options, goal, oracle, tape, report)) return report;
  Reducer reducer(oracle, goal, *report.names, oracle.applied() + options.budget, options.progress);
  reducer.drop_requests(tape);
  reducer.drop_events(tape);
  while (reducer.thin_events(tape) && reducer.drop_events(tape)) {
  }
  report.out_of_budget = reducer.out_of_budget();
  make_small(tape, goal, oracle, report);
  if (!oracle.holds(tape, goal)) {
    report.status = usage(path + ": the finding was lost; nothing was written");
    return report;
  }
  report.is = oracle.finding();
  report.trials = oracle.trials();
  for (Kept& k : tape) report.events.push_back(std::move(k.event));
  return report;
}

}  // namespace pagetape
