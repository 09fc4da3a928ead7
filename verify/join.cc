// SPDX-License-Identifier: Apache-2.0
#include "verify/join.h"

#include <algorithm>

#include "replay/missing.h"
#include "replay/refusal.h"
#include "verify/judge.h"
#include "verify/suspects.h"

namespace pagetape {
namespace {

// Events of a trace, on behind damage: `missing` is called where some are missing.
template <class F, class M>
Status each_event(const std::string& path, Names& names, F&& f, M&& missing) {
  Status status;
  const std::unique_ptr<Source> source = open_trace(path, names, status);
  if (source == nullptr) return status;
  Event event;
  while (true) {
    if (source->next(event)) {
      if (Status done = f(event, source->position() - 1, *source); !done.ok()) return done;
      continue;
    }
    if (status.ok()) status = source->status();
    if (source->status().ok() || !source->resume()) return status;
    missing();
  }
}

// Ids that lead to any of the bytes, in a view of `entry_bytes` an entry.
struct Ids {
  std::int64_t first = 0, last = -1;
  bool hold(std::int64_t id) const { return first <= id && id <= last; }
};
Ids ids_at(const PoolRegion& region, std::uint64_t entry_bytes, const Fault& fault) {
  const std::uint64_t address = *fault.address;
  if (entry_bytes == 0 || address < region.begin) return {};
  const auto id = [&](std::uint64_t at) {
    return static_cast<std::int64_t>(
        std::min<std::uint64_t>((at - region.begin) / entry_bytes, INT64_MAX));
  };
  return {id(address), id(address + fault.bytes - 1)};
}

// Listens to the launches of one event at a time.
class Joiner final : public Observer {
 public:
  Joiner(JoinReport& report, const AddressMap& map)
      : report_(report), map_(map), judge_(*report.names, {.hold_back = false}, every_rule()) {}

  void on_event(const World& world, const Event& event, EventIndex index) override {
    judge_.on_event(world, event, index);
    event_ = index;
    rank_ = event.rank.value_or(State::kNoRank);
  }
  void on_page(World& world, const PageAct& act) override { judge_.on_page(world, act); }
  void on_graph_launch(const World& world, Name name, const GraphState& graph) override {
    judge_.on_graph_launch(world, name, graph);
  }
  void on_launch(World& world, const LaunchView& view) override {
    judge_.on_launch(world, view);
    if (view.attention != nullptr && of_kernel(view.attention->kernel)) {
      of_kernel_.push_back(view.event);
    }
    if (view.targets == nullptr || !report_.fault.address) return;
    for (const Target& target : view.targets->list) look(world, view, target);
  }

  void finish() {
    if (!of_kernel_.empty()) keep_kernel();
    const std::vector<Finding> findings = judge_.findings().sorted();
    for (const RuleInfo& rule : kRules) {
      const auto first = std::ranges::find_if(findings, [&](const Finding& finding) {
        return finding.rule == rule.rule && looked_at(finding.event);
      });
      if (first != findings.end()) report_.findings.push_back(*first);
    }
    // An access within a pool does not fault where another leaves its own.
    const auto leaves = [&](const JoinEntry& e) { return e.past_end(*report_.fault.address) >= 0; };
    if (std::ranges::any_of(found_, leaves)) {
      std::erase_if(found_, [&](const JoinEntry& e) { return !leaves(e); });
    }
    report_.total = found_.size();
    found_.resize(std::min(found_.size(), kJoinEntries));
    report_.entries = std::move(found_);
  }

 private:
  static std::array<bool, kRuleCount> every_rule() {
    std::array<bool, kRuleCount> rules;
    rules.fill(true);
    return rules;
  }

  // A compiler's name has more to it than an engine's, or less.
  bool of_kernel(Name kernel) const {
    const std::string_view said = report_.fault.kernel, name = report_.names->text(kernel);
    if (said.empty() || name.empty()) return false;
    return said.find(name) != said.npos || name.find(said) != name.npos;
  }
  bool looked_at(EventIndex event) const {
    return std::ranges::binary_search(report_.launches, event);
  }
  void keep_kernel() {
    report_.kernel_known = true;
    of_kernel_.erase(std::unique(of_kernel_.begin(), of_kernel_.end()), of_kernel_.end());
    report_.launches = of_kernel_;
    std::erase_if(found_, [&](const JoinEntry& e) { return !of_kernel(e.kernel); });
  }

  void look(const World& world, const LaunchView& view, const Target& target) {
    const ev::Bound* bound = bound_of(view);
    const std::uint32_t pool = target.binding.pool;
    const Name name = pool != kNoPool    ? world.pool(pool).name
                      : bound != nullptr ? bound->pool
                                         : kNone;
    const Pool* state = world.pools.find(name);
    if (state == nullptr) return;
    for (const PoolRegion& region : map_.regions(rank_, name, target.physical, bound)) {
      JoinEntry entry;
      entry.event = event_;
      entry.step = world.step;
      entry.launch = view.graph == nullptr ? -1 : view.number;
      entry.rank = rank_;
      entry.backend = view.backend->name;
      entry.graph = view.graph_name;
      entry.logical = target.logical;
      entry.region = region;
      if (view.attention != nullptr) look_at_entries(*view.attention, view, *state, entry);
      if (view.store != nullptr) look_at_slots(view, *state, entry);
    }
  }
  static const ev::Bound* bound_of(const LaunchView& view) {
    if (view.attention != nullptr && view.attention->bound) return &*view.attention->bound;
    if (view.store != nullptr && view.store->bound) return &*view.store->bound;
    return nullptr;
  }

  void look_at_entries(const ev::Attention& e, const LaunchView& view, const Pool& pool,
                       JoinEntry entry) {
    const std::int64_t tokens = e.page_size.value_or(pool.page_size);
    const std::uint64_t entry_bytes =
        entry.region.page_bytes * static_cast<std::uint64_t>(tokens) / pool.page_size;
    const Ids ids = ids_at(entry.region, entry_bytes, report_.fault);
    if (ids.last < ids.first) return;
    const std::int64_t page = ids_at(entry.region, entry.region.page_bytes, report_.fault).first;
    entry.kernel = e.kernel;
    entry.table = e.table;
    for (std::size_t i = 0; i < view.lanes.size(); ++i) {
      const Lane& lane = view.lanes[i];
      const std::int64_t seen = e.window.has_value() ? lane.q_pos + 1 - *e.window : 0;
      const std::int64_t first = std::max<std::int64_t>(seen, 0) / tokens - lane.first;
      std::int64_t end = lane.held();
      if (lane.len >= 0 && lane.logical == nullptr) {
        end = std::min(end, (lane.len + tokens - 1) / tokens - lane.first);
      }
      Cell cell;
      const std::int64_t begin = lane.logical == nullptr ? std::max<std::int64_t>(first, 0) : 0;
      for (std::int64_t j = begin; j < end; j = lane.next(j + 1)) {
        if (!lane.entry(j, cell) || !ids.hold(raw(cell.page))) continue;
        entry.table_row = lane.pages != nullptr ? -1 : lane.row;
        entry.page = tokens == pool.page_size ? raw(cell.page) : page;
        found(entry, lane, i, j, raw(cell.page));
      }
    }
  }
  void look_at_slots(const LaunchView& view, const Pool& pool, JoinEntry entry) {
    // Where heads come before tokens a slot has no one place, but its page has.
    const Ids pages = ids_at(entry.region, entry.region.page_bytes, report_.fault);
    for (std::size_t i = 0; i < view.lanes.size(); ++i) {
      const Lane& lane = view.lanes[i];
      for (std::uint32_t j = 0; j < lane.slots_count; ++j) {
        const std::int64_t slot = raw(view.slots[lane.slots_begin + j]);
        if (slot < 0 || !pages.hold(slot / pool.page_size)) continue;
        entry.is_slot = true;
        entry.page = slot / pool.page_size;
        found(entry, lane, i, j, slot);
        break;  // The others of that page say the same.
      }
    }
  }
  void found(const JoinEntry& entry, const Lane& lane, std::size_t row, std::int64_t column,
             std::int64_t id) {
    JoinEntry& made = found_.emplace_back(entry);
    made.req = lane.req;
    made.row = static_cast<std::int64_t>(row);
    made.column = column;
    made.id = id;
  }

  JoinReport& report_;
  const AddressMap& map_;
  Judge judge_;
  EventIndex event_ = 0;
  std::int64_t rank_ = State::kNoRank;
  std::vector<JoinEntry> found_;
  std::vector<EventIndex> of_kernel_;  // Launches of the fault's kernel.
};

// The launches at which a crash can have happened.
Status find_launches(JoinReport& report) {
  Suspects suspects;
  std::vector<EventIndex> last;
  const auto see = [&](const Event& event, EventIndex index, Source&) {
    const auto mark = launch_mark(event, index);
    if (!mark) return Status();
    suspects.see(*mark);
    if (mark->mark != Mark::kBegun) return Status();
    if (last.size() == 2 * Suspects::kKept) {
      last.erase(last.begin(), last.begin() + Suspects::kKept);
    }
    last.push_back(index);
    return Status();
  };
  Status status = each_event(report.trace, *report.names, see, [] {});
  report.completions_known = suspects.known();
  if (last.size() > Suspects::kKept) last.erase(last.begin(), last.end() - Suspects::kKept);
  report.launches = suspects.known() ? suspects.list() : last;
  return status;
}

}  // namespace

int JoinReport::exit_code() const {
  if (status.code() == Code::kDamaged) return 3;
  return status.ok() ? 0 : 2;
}

JoinReport join_trace(const std::string& path, const Fault& fault) {
  JoinReport report;
  report.trace = path;
  report.names = std::make_shared<Names>();
  report.fault = fault;
  report.status = find_launches(report);
  if (!report.status.ok() && report.status.code() != Code::kDamaged) return report;
  State state(*report.names);
  AddressMap map(*report.names);
  Joiner joiner(report, map);
  auto next = report.launches.begin();
  bool lost = false;
  const auto see = [&](const Event& event, EventIndex index, Source& source) {
    map.see(event);
    while (next != report.launches.end() && *next < index) ++next;
    const bool asked = next != report.launches.end() && *next == index;
    state.skip_to(index);
    const Outcome outcome = state.apply(event, asked ? &joiner : nullptr);
    return outcome.applied() || lost ? Status() : refusal(source, outcome, event, *report.names);
  };
  const auto missing = [&] {
    lost = true;
    forget_all(state, nullptr);
  };
  report.status = each_event(path, *report.names, see, missing);
  joiner.finish();
  if (fault.address) {
    report.places = map.places(*fault.address, fault.nearest);
    report.missing = map.missing();
  }
  return report;
}

}  // namespace pagetape
