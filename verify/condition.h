// SPDX-License-Identifier: Apache-2.0
// What a debugger stops at, and the watch that looks for it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "replay/timeline.h"
#include "verify/judge.h"

namespace pagetape {

struct Condition {
  enum class Kind : std::uint8_t { kFinding, kRequest, kPage, kLayer, kEventKind };
  Kind kind = Kind::kFinding;
  std::size_t rule = kRuleCount;  // kFinding: the rule; kRuleCount: any.
  Name name = kNone;              // kRequest: it; kPage: the pool.
  PageId page{};
  Layer layer;
  std::size_t event_kind = kKinds;

  // As it is typed.
  std::string text(const Names& names) const;
};

// `finding [RULE]`, `rule RULE`, `request R`, `page POOL:P`, `layer L` or `kind EVENT`. Names that
// the trace has not said yet are interned: it may still say them.
Status parse_condition(const std::vector<std::string>& words, Names& names, Condition& out);

// Judges what a timeline comes by. `known` as for Judge: empty for a pass over the whole trace.
class JudgeWatch : public Watch {
 public:
  JudgeWatch(const Names& names, std::size_t max_findings, Coverage known);

  void on_event(const World& world, const Event& event, EventIndex index) override {
    judge_.on_event(world, event, index);
  }
  void on_page(World& world, const PageAct& act) override { judge_.on_page(world, act); }
  void on_launch(World& world, const LaunchView& view) override { judge_.on_launch(world, view); }
  void on_graph_launch(const World& world, Name name, const GraphState& graph) override {
    judge_.on_graph_launch(world, name, graph);
  }
  void restart() override { judge_.restart(); }
  bool met() override { return false; }

  Judge& judge() { return judge_; }

 private:
  Judge judge_;
};

// Meets an event with a finding, or which concerns a request, page or layer: the request is named
// by the event or a lane of a launch; the page is given, freed, written or copied (attention reads
// do not count: they are most of a trace); the layer, logical or physical, is launched, bound or
// remapped; the event is of the kind.
class ConditionWatch final : public Watch {
 public:
  ConditionWatch(const Names& names, std::vector<Condition> conditions, const Coverage& known);

  void on_event(const World& world, const Event& event, EventIndex index) override;
  void on_page(World& world, const PageAct& act) override;
  void on_launch(World& world, const LaunchView& view) override;
  void on_graph_launch(const World& world, Name name, const GraphState& graph) override;
  void restart() override;
  bool met() override;

  // Index of the first condition that was met last; their number where none was.
  std::size_t which() const { return which_; }

 private:
  template <class F>
  void look(Condition::Kind kind, F&& matches);

  const std::vector<Condition> conditions_;
  std::optional<JudgeWatch> judge_;  // Where a finding is looked for.
  std::array<std::uint64_t, kRuleCount> counts_{};
  std::vector<bool> met_;
  std::size_t which_;
};

}  // namespace pagetape
