// SPDX-License-Identifier: Apache-2.0
#include "verify/selfcheck.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "replay/for_each_event.h"
#include "replay/state.h"
#include "traces/source.h"
#include "verify/judge.h"
#include "verify/mutation.h"

namespace pagetape {
namespace {

// How long a judge listens before its fault comes, so that it has judgements to reuse wrongly.
constexpr EventIndex kLead = 1024;

// Places without effect that are tried in a row before most of them are passed over.
constexpr std::uint64_t kPatience = 256;

using Unchecked = std::set<std::tuple<Rule, std::int64_t, Name>>;

struct Planned {
  const Mutation* mutation;
  EventIndex at;
  std::uint64_t seed;
  Fault fault;
};

// Draws `count` of a mutation's places, each as likely as any other.
struct Drawer {
  const Mutation* mutation;
  Dice dice;
  std::uint64_t places = 0, remade = 0;
  std::vector<Planned> planned;
};

// Looks at every place, and keeps those that are drawn.
class Draw final : public Observer {
 public:
  Draw(const SelfcheckOptions& options, Names& names, const Unchecked& unchecked)
      : options_(options), names_(names), unchecked_(unchecked) {
    std::uint64_t number = 0;
    for (const auto& list : {entry_mutations(), event_mutations(), write_mutations()}) {
      for (const Mutation& m : list) {
        Dice dice(options.seed * 1000 + number++);
        if (!options.rules[static_cast<std::size_t>(m.rule)]) continue;
        drawers_.push_back({&m, Dice(dice.next()), 0, 0, {}});
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
    ++drawer.places;
    const auto count = static_cast<std::int64_t>(options_.count);
    std::size_t slot = drawer.planned.size();
    if (slot == options_.count) {
      const std::int64_t drawn = drawer.dice.below(static_cast<std::int64_t>(drawer.places));
      if (drawn >= count) return;
      slot = static_cast<std::size_t>(drawn);
    } else if (drawer.remade >= kPatience && drawer.dice.below(kPatience) != 0) {
      return;
    }
    Planned planned{drawer.mutation, index_, drawer.dice.next(), {}};
    Dice dice(planned.seed);
    const Scene scene{world, *event_, view, names_, dice};
    const bool made = drawer.mutation->make(scene, planned.fault);
    const std::int64_t rank = event_->rank.value_or(INT64_MIN);
    if (unchecked_.contains({drawer.mutation->rule, rank, planned.fault.object})) return;
    if (!made) {
      ++drawer.remade;
    } else if (slot == drawer.planned.size()) {
      drawer.planned.push_back(std::move(planned));
    } else {
      drawer.planned[slot] = std::move(planned);
    }
  }

  const SelfcheckOptions& options_;
  Names& names_;
  const Unchecked& unchecked_;
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

// Plants the fault into a copy of what stands before the event.
void try_fault(const State& before, const Event& event, Trial& trial, SelfcheckReport& report) {
  const Planned& planned = *trial.planned;
  const auto r = static_cast<std::size_t>(planned.mutation->rule);
  RuleScore& score = report.scores[r];
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
  report.misses.push_back({planned.mutation->rule, planned.mutation->name, planned.at,
                           planned.fault.object, planned.seed});
}

Status judge_clean(const std::string& path, SelfcheckReport& report, Coverage& known) {
  State state(*report.names);
  JudgeOptions options;
  Judge judge(*report.names, options, all_rules());
  const Status status = for_each_event(path, *report.names, [&](const Event& event, EventIndex) {
    ++report.events;
    return state.apply(event, &judge);
  });
  judge.finish();
  report.findings = judge.findings().total();
  for (const RuleInfo& info : kRules) {
    if (const Finding* first = judge.findings().first(info.rule)) report.firsts.push_back(*first);
  }
  report.unchecked = judge.coverage().not_checked(*report.names);
  std::erase_if(report.unchecked, [&](const NotChecked& n) {
    return !report.rules[static_cast<std::size_t>(n.rule)];
  });
  known = judge.coverage();
  return status;
}

Status plant_all(const std::string& path, const std::vector<const Planned*>& planned,
                 const Coverage& known, SelfcheckReport& report) {
  State state(*report.names);
  Listeners listeners;
  std::size_t next = 0;
  JudgeOptions options;
  options.max_findings = 1;
  return for_each_event(path, *report.names, [&](const Event& event, EventIndex index) {
    while (next < planned.size() && planned[next]->at <= index + kLead) {
      listeners.trials.push_back(
          {planned[next], std::make_unique<Judge>(*report.names, options, all_rules(), known)});
      ++next;
    }
    for (Trial& trial : listeners.trials) {
      if (trial.planned->at == index) try_fault(state, event, trial, report);
    }
    std::erase_if(listeners.trials, [&](const Trial& t) { return t.planned->at == index; });
    return state.apply(event, listeners.trials.empty() ? nullptr : &listeners);
  });
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
  report.names = std::make_shared<Names>();
  report.seed = options.seed;
  report.rules = options.rules;
  Coverage known;
  report.status = judge_clean(path, report, known);
  if (!report.status.ok() || report.findings > 0) return report;
  Unchecked unchecked;
  for (const NotChecked& n : report.unchecked) unchecked.insert({n.rule, n.rank, n.object});

  Draw draw(options, *report.names, unchecked);
  State state(*report.names);
  report.status = for_each_event(path, *report.names, [&](const Event& event, EventIndex) {
    return state.apply(event, &draw);
  });
  if (!report.status.ok()) return report;
  std::vector<const Planned*> planned;
  for (const Drawer& drawer : draw.drawers()) {
    report.scores[static_cast<std::size_t>(drawer.mutation->rule)].remade += drawer.remade;
    for (const Planned& p : drawer.planned) planned.push_back(&p);
  }
  std::ranges::stable_sort(planned, {}, [](const Planned* p) { return p->at; });
  report.status = plant_all(path, planned, known, report);
  return report;
}

}  // namespace pagetape
