// SPDX-License-Identifier: Apache-2.0
#include "gui/app/explain.h"

#include <algorithm>
#include <tuple>

#include "verify/blame_trace.h"
#include "verify/condition.h"
#include "verify/report.h"

namespace pagetape {
namespace {

class Answerer final : public JudgeWatch {
 public:
  Answerer(const Names& names, const Coverage& known, const Ask& ask, Explanation& out)
      : JudgeWatch(names, 1, known),
        names_(names),
        ask_(ask),
        pool_(names.find(ask.pool)),
        bound_(names.find(ask.bound)),
        out_(out) {}

  void on_event(const World& world, const Event& event, EventIndex index) override {
    JudgeWatch::on_event(world, event, index);
    if (ask_.pool.empty()) return;
    const std::uint32_t pool = world.pools.index(pool_);
    if (pool == kNoPool ||
        !world.pool(pool).in_bounds(PageId{static_cast<std::int32_t>(ask_.page)})) {
      return;
    }
    out_.subject =
        "page " + std::to_string(ask_.page) + " of pool " + std::string(names_.text(pool_));
    out_.links = blame_page(world, pool, PageId{static_cast<std::int32_t>(ask_.page)}, names_);
  }
  void on_launch(World& world, const LaunchView& view) override {
    JudgeWatch::on_launch(world, view);
    if (view.attention == nullptr || view.targets == nullptr || view.targets->list.empty()) return;
    const std::size_t number = launches_++;
    if (!ask_.pool.empty() || !out_.links.empty() || number != ask_.launch.value_or(number)) return;
    const auto row = ask_.row.value_or(0);
    if (row < 0 || row >= static_cast<std::int64_t>(view.lanes.size())) return;
    const auto column = ask_.column.value_or(0);
    out_.links = blame_entry(world, view, target_of(world, *view.targets), row, column, names_);
    out_.subject = "row " + std::to_string(row) + ", column " + std::to_string(column) +
                   " of the table that " + std::string(names_.text(view.backend->name)) + " read";
  }

  // The findings' chains, where nothing else was asked.
  void finish() {
    if (!ask_.pool.empty() || ask_.row) return;
    std::vector<Link> links;
    std::size_t rules = 0;
    for (const RuleInfo& rule : kRules) {
      const Finding* first = judge().findings().first(rule.rule);
      if (first == nullptr) continue;
      links.insert(links.end(), first->blame.begin(), first->blame.end());
      out_.subject = (rules++ == 0 ? "" : out_.subject + ", ") + std::string(rule.name);
    }
    if (rules == 0) return;
    const auto key = [](const Link& l) { return std::tuple(l.event, l.spot.kind, l.spot.a); };
    std::ranges::stable_sort(links, {}, key);
    links.erase(std::unique(links.begin(), links.end()), links.end());
    out_.links = std::move(links);
  }

 private:
  // The first layer that uses the pool that was asked for; else the first.
  const Target& target_of(const World& world, const Targets& targets) const {
    for (const Targets::Group& group : targets.groups) {
      const bool meant = group.pool != kNoPool && world.pool(group.pool).name == bound_;
      if (meant && !group.members.empty()) return targets.list[group.members[0]];
    }
    return targets.list[0];
  }

  const Names& names_;
  const Ask& ask_;
  const Name pool_, bound_;
  Explanation& out_;
  std::size_t launches_ = 0;
};

}  // namespace

Explanation explain(Seeker& place, const Coverage& known, EventIndex at, const Ask& ask) {
  Explanation out;
  Timeline& timeline = *place.timeline;
  out.status = timeline.seek(at);
  if (!out.status.ok() || timeline.event() == nullptr) {
    if (out.status.ok()) out.status = usage("the end of the trace has nothing to blame");
    return out;
  }
  out.at = timeline.at();
  Answerer answerer(place.names, known, ask, out);
  State state = timeline.state();
  (void)state.apply(*timeline.event(), &answerer);
  answerer.finish();
  if (out.links.empty()) {
    out.status = usage("event " + std::to_string(out.at) +
                       " breaks no rule and launches nothing: choose a finding or a cell");
    return out;
  }
  Link& self = out.links.emplace_back();
  self.spot.kind = LinkKind::kLaunch;
  self.event = out.at;
  annotate(place.path, place.names, out.links);
  return out;
}

}  // namespace pagetape
