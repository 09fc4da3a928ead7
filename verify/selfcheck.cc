// SPDX-License-Identifier: Apache-2.0
#include "verify/selfcheck.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "replay/for_each_event.h"
#include "replay/state.h"
#include "replay/team.h"
#include "traces/source.h"
#include "verify/judge.h"
#include "verify/mutation.h"
#include "verify/parts.h"
#include "verify/trace_parts.h"

namespace pagetape {
namespace {

// How long a judge listens before its fault comes, so that it has judgements to reuse wrongly.
constexpr EventIndex kLead = 1024;

// Places without effect that are tried in a row before most of them are passed over.
constexpr std::uint64_t kPatience = 256;

// Parts of a trace, whatever the number of threads: what is drawn depends on them.
constexpr std::size_t kParts = 24;

using Unchecked = std::set<std::tuple<Rule, std::int64_t, Name>>;

struct Planned {
  const Mutation* mutation;
  EventIndex at;
  std::uint64_t seed;
  std::uint64_t draw;  // Of all places of a mutation those with the least are kept.
  Planted fault;
};
bool drawn_before(const Planned& a, const Planned& b) { return a.draw < b.draw; }

// Draws `count` of a mutation's places, each as likely as any other.
struct Drawer {
  const Mutation* mutation;
  Dice dice;
  std::uint64_t remade = 0;
  std::vector<Planned> planned;  // A heap: the greatest draw is in front.
};

// Looks at every place, and keeps those that are drawn.
class Draw final : public Observer {
 public:
  Draw(const SelfcheckOptions& options, std::uint64_t part, Names& names, Unchecked unchecked)
      : options_(options), names_(names), unchecked_(std::move(unchecked)) {
    std::uint64_t number = 0;
    for (const auto& list : {entry_mutations(), event_mutations(), write_mutations()}) {
      for (const Mutation& m : list) {
        Dice dice(options.seed * 1000 + number++);
        if (!options.rules[static_cast<std::size_t>(m.rule)]) continue;
        drawers_.push_back({&m, Dice(dice.next() + part), 0, {}});
      }
    }
  }

  void on_event(const World& world, const Event& event, EventIndex index) override {
    event_ = &event;
    index_ = index;
    for (Drawer& drawer : drawers_) {
      if (drawer.mutation->site == Site::kEvent && drawer.mutation->kind == event.kind()) {
        consider(drawer, world, nullptr);
      }
    }
  }
  void on_launch(World& world, const LaunchView& view) override {
    if (view.copy != nullptr || view.targets == nullptr) return;
    const Site site = view.attention != nullptr ? Site::kEntry : Site::kStore;
    for (Drawer& drawer : drawers_) {
      if (drawer.mutation->site == site) consider(drawer, world, &view);
    }
  }

  std::vector<Drawer>& drawers() { return drawers_; }

 private:
  void consider(Drawer& drawer, const World& world, const LaunchView* view) {
    const std::uint64_t draw = drawer.dice.next();
    const bool enough = drawer.planned.size() == options_.count;
    if (enough && draw >= drawer.planned.front().draw) return;
    if (!enough && drawer.remade >= kPatience && drawer.dice.below(kPatience) != 0) return;
    Planned planned{drawer.mutation, index_, drawer.dice.next(), draw, {}};
    Dice dice(planned.seed);
    const Scene scene{world, *event_, view, names_, dice};
    const bool made = drawer.mutation->make(scene, planned.fault);
    const std::int64_t rank = event_->rank.value_or(INT64_MIN);
    if (unchecked_.contains({drawer.mutation->rule, rank, planned.fault.object})) return;
    if (!made) {
      ++drawer.remade;
      return;
    }
    if (enough) {
      std::ranges::pop_heap(drawer.planned, drawn_before);
      drawer.planned.pop_back();
    }
    drawer.planned.push_back(std::move(planned));
    std::ranges::push_heap(drawer.planned, drawn_before);
  }

  const SelfcheckOptions& options_;
  Names& names_;
  const Unchecked unchecked_;
  std::vector<Drawer> drawers_;
  const Event* event_ = nullptr;
  EventIndex index_ = 0;
};

// A fault that is about to come, and the judge that waits for it.
struct Trial {
  const Planned* planned;
  std::unique_ptr<Judge> judge;
};

// Passes what happens to all judges that wait.
class Listeners final : public Observer {
 public:
  std::vector<Trial> trials;

  void on_event(const World& world, const Event& event, EventIndex index) override {
    for (Trial& t : trials) t.judge->on_event(world, event, index);
  }
  void on_page(World& world, const PageAct& act) override {
    for (Trial& t : trials) t.judge->on_page(world, act);
  }
  void on_launch(World& world, const LaunchView& view) override {
    for (Trial& t : trials) t.judge->on_launch(world, view);
  }
  void on_graph_launch(const World& world, Name name, const GraphState& graph) override {
    for (Trial& t : trials) t.judge->on_graph_launch(world, name, graph);
  }
};

// A part of the trace, and what was drawn and found there.
struct Section {
  TracePart bounds;
  Passage passage;
  std::uint64_t digest_behind = 0;  // Of the state.
  std::shared_ptr<Names> names;
  std::vector<Drawer> drawers;
  std::vector<const Planned*> planned;  // Of those that are left, in the order of the trace.
  std::array<RuleScore, kRuleCount> scores{};
  std::vector<Miss> misses;
};

// Plants the fault into a copy of what stands before the event.
void try_fault(const State& before, const Event& event, Trial& trial, Section& section) {
  const Planned& planned = *trial.planned;
  const auto r = static_cast<std::size_t>(planned.mutation->rule);
  RuleScore& score = section.scores[r];
  const std::uint64_t findings = trial.judge->findings().counts()[r];
  State state(before);
  bool applied = true;
  for (const Event& e : planned.fault.before) {
    applied = applied && state.apply(e, trial.judge.get()).applied();
  }
  const Event& last = planned.fault.instead ? *planned.fault.instead : event;
  applied = applied && state.apply(last, trial.judge.get()).applied();
  if (!applied) {
    ++score.remade;
    return;
  }
  ++score.made;
  if (trial.judge->findings().counts()[r] != findings) {
    ++score.found;
    return;
  }
  section.misses.push_back({planned.mutation->rule, planned.mutation->name, planned.at,
                            planned.fault.object, planned.seed});
}

// The trace as it is. `known`: what was seen in it.
Status judge_clean(const std::string& path, unsigned jobs, SelfcheckReport& report,
                   Coverage& known) {
  Status status;
  const VerifyOptions options;
  std::unique_ptr<Judge> judge;
  if (std::unique_ptr<Judged> judged = judge_in_parts(path, options, jobs)) {
    report.names = judged->names;
    report.events = judged->events;
    judge = std::move(judged->judge);
  } else {
    report.names = std::make_shared<Names>();
    judge = std::make_unique<Judge>(*report.names, options.judge, options.rules);
    State state(*report.names);
    status = for_each_event(path, *report.names, [&](const Event& event, EventIndex) {
      ++report.events;
      return state.apply(event, judge.get());
    });
  }
  judge->finish();
  report.findings = judge->findings().total();
  for (const RuleInfo& info : kRules) {
    if (const Finding* first = judge->findings().first(info.rule)) report.firsts.push_back(*first);
  }
  report.unchecked = judge->coverage().not_checked(*report.names);
  std::erase_if(report.unchecked, [&](const NotChecked& n) {
    return !report.rules[static_cast<std::size_t>(n.rule)];
  });
  known = judge->coverage();
  return status;
}

void draw_places(const std::string& path, const SelfcheckOptions& options,
                 const SelfcheckReport& report, std::uint64_t number, Section& section) {
  section.names = std::make_shared<Names>();
  Renaming renamed(*report.names, *section.names);
  Unchecked unchecked;
  for (const NotChecked& n : report.unchecked) {
    unchecked.insert({n.rule, n.rank, renamed(n.object)});
  }
  Draw draw(options, number, *section.names, std::move(unchecked));
  State state(*section.names);
  section.passage =
      go_through(path, section.bounds, *section.names, state,
                 [&](const Event& event, EventIndex) { return state.apply(event, &draw); });
  section.drawers = std::move(draw.drawers());
  if (section.bounds.end != kNever) section.digest_behind = state.digest();
}

// Are the keyframes the states that the events before them lead to?
bool fit_together(const std::vector<Section>& sections) {
  std::uint64_t digest = 0;
  for (const Section& section : sections) {
    const Passage& passage = section.passage;
    if (!passage.good || passage.skipped || passage.digest_before != digest) return false;
    digest = section.digest_behind;
  }
  return true;
}

// Leaves of each mutation the `count` places that were drawn first in all of the trace.
void choose(std::size_t count, std::vector<Section>& sections) {
  for (std::size_t d = 0; d < sections[0].drawers.size(); ++d) {
    std::vector<std::pair<const Planned*, Section*>> all;
    for (Section& section : sections) {
      for (const Planned& p : section.drawers[d].planned) all.emplace_back(&p, &section);
    }
    std::ranges::stable_sort(all, {}, [](const auto& entry) { return entry.first->draw; });
    all.resize(std::min(all.size(), count));
    for (const auto& [planned, section] : all) section->planned.push_back(planned);
  }
  for (Section& section : sections) {
    std::ranges::stable_sort(section.planned, {}, [](const Planned* p) { return p->at; });
  }
}

void plant(const std::string& path, const SelfcheckReport& report, const Coverage& known,
           Section& section) {
  if (section.planned.empty()) return;
  Names& names = *section.names;
  Renaming renamed(*report.names, names);
  const Coverage seen = known.seen_only(renamed);
  State state(names);
  Listeners listeners;
  std::size_t next = 0;
  JudgeOptions options;
  options.max_findings = 1;
  TracePart bounds = section.bounds;
  bounds.end = section.planned.back()->at + 1;
  section.passage =
      go_through(path, bounds, names, state, [&](const Event& event, EventIndex index) {
        for (; next < section.planned.size() && section.planned[next]->at <= index + kLead;
             ++next) {
          listeners.trials.push_back(
              {section.planned[next], std::make_unique<Judge>(names, options, all_rules(), seen)});
        }
        for (Trial& trial : listeners.trials) {
          if (trial.planned->at == index) try_fault(state, event, trial, section);
        }
        std::erase_if(listeners.trials, [&](const Trial& t) { return t.planned->at == index; });
        return state.apply(event, listeners.trials.empty() ? nullptr : &listeners);
      });
}

// All of the trace, or its parts between keyframes.
std::vector<Section> sections_of(const std::string& path) {
  Names names;
  Status status;
  const std::unique_ptr<Source> source = open_trace(path, names, status);
  if (source == nullptr || source->keyframes().empty()) return std::vector<Section>(1);
  std::vector<Section> sections;
  for (const TracePart& bounds : trace_parts(source->keyframes(), source->events(), kParts)) {
    sections.emplace_back().bounds = bounds;
  }
  return sections;
}

// The counts of the sections, in the order of the trace.
void gather(const std::vector<Section>& sections, SelfcheckReport& report) {
  for (const Section& section : sections) {
    Renaming renamed(*section.names, *report.names);
    for (const Drawer& drawer : section.drawers) {
      report.scores[static_cast<std::size_t>(drawer.mutation->rule)].remade += drawer.remade;
    }
    for (std::size_t r = 0; r < kRuleCount; ++r) {
      report.scores[r].made += section.scores[r].made;
      report.scores[r].found += section.scores[r].found;
      report.scores[r].remade += section.scores[r].remade;
    }
    for (Miss miss : section.misses) {
      miss.object = renamed(miss.object);
      report.misses.push_back(miss);
    }
  }
}

}  // namespace

std::uint64_t SelfcheckReport::made() const {
  std::uint64_t n = 0;
  for (const RuleScore& score : scores) n += score.made;
  return n;
}

std::uint64_t SelfcheckReport::found() const {
  std::uint64_t n = 0;
  for (const RuleScore& score : scores) n += score.found;
  return n;
}

int SelfcheckReport::exit_code() const {
  if (findings > 0) return 1;
  if (status.code() == Code::kDamaged) return 3;
  if (!status.ok()) return 2;
  return full() ? 0 : 1;
}

SelfcheckReport selfcheck(const std::string& path, const SelfcheckOptions& options) {
  SelfcheckReport report;
  report.trace = path;
  report.seed = options.seed;
  report.rules = options.rules;
  Coverage known;
  report.status = judge_clean(path, options.jobs, report, known);
  if (!report.status.ok() || report.findings > 0) return report;
  Team team(options.jobs);
  std::vector<Section> sections = sections_of(path);
  const auto draw = [&](std::size_t i, unsigned) {
    draw_places(path, options, report, i, sections[i]);
  };
  team.run(sections.size(), draw);
  if (sections.size() != 1 && !fit_together(sections)) {
    sections = std::vector<Section>(1);
    team.run(1, draw);
  }
  if (sections[0].passage.good) {
    choose(options.count, sections);
    team.run(sections.size(),
             [&](std::size_t i, unsigned) { plant(path, report, known, sections[i]); });
    gather(sections, report);
  }
  const auto good = [](const Section& section) { return section.passage.good; };
  if (!std::ranges::all_of(sections, good)) {
    report.status = system_error(path + ": was changed while it was read");
  }
  return report;
}

}  // namespace pagetape
