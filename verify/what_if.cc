// SPDX-License-Identifier: Apache-2.0
#include "verify/what_if.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>

#include "replay/refusal.h"
#include "traces/source.h"
#include "verify/rewriter.h"
#include "verify/right_page.h"

namespace pagetape {

// Bins by the leading bits of a float: its exponent and 11 bits of its fraction.
static constexpr int kBinShift = 12;

void ErrorHistogram::add(double relative) {
  if (bins_.empty()) bins_.resize(std::size_t{1} << (31 - kBinShift));
  ++bins_[std::bit_cast<std::uint32_t>(static_cast<float>(relative)) >> kBinShift];
  ++count_;
  max_ = std::max(max_, relative);
}

double ErrorHistogram::quantile(double q) const {
  const auto wanted = static_cast<std::uint64_t>(std::ceil(q * static_cast<double>(count_)));
  std::uint64_t seen = 0;
  for (std::size_t bin = 0; bin < bins_.size(); ++bin) {
    seen += bins_[bin];
    if (seen < wanted || seen == 0) continue;
    return std::bit_cast<float>(static_cast<std::uint32_t>(bin << kBinShift));
  }
  return 0;
}

namespace {

// Everything that one pass over the trace tells of.
class Several final : public Observer {
 public:
  explicit Several(std::vector<Observer*> all) : all_(std::move(all)) {}
  void on_event(const World& world, const Event& event, EventIndex index) override {
    for (Observer* o : all_) o->on_event(world, event, index);
  }
  void on_page(World& world, const PageAct& act) override {
    for (Observer* o : all_) o->on_page(world, act);
  }
  void on_launch(World& world, const LaunchView& view) override {
    for (Observer* o : all_) o->on_launch(world, view);
  }

 private:
  std::vector<Observer*> all_;
};

// Counts what launches read, and gathers the layers in which something is wrong.
class Counter final : public Observer {
 public:
  Counter(const Names& names, const Variant& variant, VariantReport& report)
      : names_(names), clamps_(variant.clamp), report_(report) {}

  void on_event(const World&, const Event& event, EventIndex index) override {
    event_ = index;
    rank_ = event.rank.value_or(State::kNoRank);
    graphs_ = graphs_ || std::holds_alternative<ev::GraphCapture>(event.body);
  }

  void on_launch(World& world, const LaunchView& view) override {
    if (view.attention == nullptr) return;
    const bool draft = view.backend != nullptr && names_.text(view.backend->role) == "draft";
    for (const Targets::Group& group : view.targets->groups) {
      if (group.pool == kNoPool) continue;
      const Pool& pool = world.pool(group.pool);
      const EntryUnit unit = entry_unit(*view.attention, pool);
      const std::int64_t window = view.attention->window.value_or(0);
      LaneList given;
      if (!gather_lanes(view, unit.tokens, window, given)) continue;
      if (clamps_) clamp_entries(given, unit.bound);
      LaneList right = given;
      amend_lanes(world, pool, unit.tokens, right);
      bool any = false;
      for (std::size_t i = 0; i < given.lanes.size(); ++i) {
        any = count_lane(given, right, i, unit, window, group.members.size(), draft) || any;
      }
      if (!any) continue;
      for (std::uint32_t member : group.members) {
        layers_[{rank_, group.pool}].insert(view.targets->list[member].physical);
      }
    }
  }

  void finish() {
    report_.requests = requests_.size();
    const Queries& queries = draft_.all > 0 ? draft_ : other_;
    report_.queries = queries.all;
    report_.affected = queries.affected;
  }

  bool saw_graphs() const { return graphs_; }
  bool wrong_in(const PoolRef& pool, Layer layer) const {
    const auto at = layers_.find(pool);
    return at != layers_.end() && at->second.contains(layer);
  }

 private:
  struct Queries {
    std::uint64_t all = 0, affected = 0;
  };

  // True where an entry is wrong.
  bool count_lane(const LaneList& given, const LaneList& right, std::size_t i,
                  const EntryUnit& unit, std::int64_t window, std::uint64_t layers, bool draft) {
    const AttentionLane& lane = given.lanes[i];
    if (given.reqs[i] == kNone) return false;
    std::vector<std::int64_t> wrong;  // Logical entries.
    for (std::uint32_t j = 0; j < lane.entries; ++j) {
      const std::int32_t id = given.entries_of(i)[j];
      if (id == kNoEntry) continue;
      const bool outside = id < 0 || id >= unit.bound;
      if (!outside && id == right.entries_of(i)[j]) continue;
      (outside ? report_.oob_reads : report_.wrong_reads) += layers;
      wrong.push_back(std::int64_t{lane.first} + j);
    }
    Queries& queries = draft ? draft_ : other_;
    queries.all += static_cast<std::uint64_t>(lane.q_len) * layers;
    if (wrong.empty()) return false;
    for (std::int32_t q = 0; q < lane.q_len; ++q) {
      const std::int64_t begin = lane.live_begin(q, static_cast<std::int32_t>(window));
      const std::int64_t end = lane.live_end(q);
      queries.affected += layers * std::ranges::any_of(wrong, [&](std::int64_t entry) {
                            return entry * unit.tokens < end && (entry + 1) * unit.tokens > begin;
                          });
    }
    requests_.insert({rank_, given.reqs[i]});
    if (!report_.first) report_.first = event_;
    return true;
  }

  const Names& names_;
  const bool clamps_;
  VariantReport& report_;
  EventIndex event_ = 0;
  std::int64_t rank_ = State::kNoRank;
  bool graphs_ = false;
  Queries draft_, other_;
  std::set<std::pair<std::int64_t, Name>> requests_;
  std::map<PoolRef, std::set<Layer>> layers_;
};

class Right final : public Reference {
 public:
  explicit Right(ErrorHistogram& errors) : errors_(errors) {}
  void amend(const World& world, std::uint32_t pool, std::int64_t entry_tokens,
             LaneList& list) override {
    amend_lanes(world, world.pool(pool), entry_tokens, list);
  }
  void on_error(Name, double relative) override { errors_.add(relative); }

 private:
  ErrorHistogram& errors_;
};

struct NoResults final : Results {
  void on_step(std::int64_t, const std::vector<LaneDigest>&,
               const std::vector<ReplayFinding>&) override {}
};

// Applies what a variant says beside the event that `source` gave last.
Status imply(State& state, const std::vector<Event>& events, Observer& observer,
             const Variant& variant, const Source& source, const Names& names) {
  for (const Event& event : events) {
    const Outcome outcome = state.imply(event, &observer);
    if (outcome.applied()) continue;
    return usage(variant.name +
                 ", what it inserts: " + refusal(source, outcome, event, names).message());
  }
  return {};
}

// Goes over the trace as the variant has it.
Status go_over(const std::string& path, Names& names, const Variant& variant, Observer& observer,
               const GoesOn& goes_on, std::vector<std::string>* warnings) {
  constexpr EventIndex kAsk = 256;  // Events from one question to the next.
  Status status;
  std::unique_ptr<Source> source = open_trace(path, names, status);
  if (source == nullptr) return status;
  State state(names);
  Rewriter rewriter(variant, names);
  Event event;
  while (source->next(event)) {
    const EventIndex at = source->position() - 1;
    if (goes_on && at % kAsk == 0 && !goes_on(at)) return usage(path + ": stopped");
    status = rewriter.rewrite(state, at, event);
    if (status.ok()) status = imply(state, rewriter.before(), observer, variant, *source, names);
    if (!status.ok()) return status;
    if (rewriter.dropped()) {
      state.skip_to(at + 1);
    } else if (const Outcome outcome = state.apply(event, &observer); !outcome.applied()) {
      return refusal(*source, outcome, event, names);
    }
    status = imply(state, rewriter.after(), observer, variant, *source, names);
    if (!status.ok()) return status;
  }
  if (warnings != nullptr) *warnings = source->warnings();
  return source->status();
}

// Executes the launches that read something wrong.
Status measure(const std::string& path, Names& names, const Variant& variant,
               const ReplayOptions& given, const Survey& survey, const Counter& counter,
               Machine& machine, const GoesOn& goes_on, VariantReport& report) {
  Right right(report.errors);
  NoResults results;
  ExecutorOptions options = given.executor;
  options.reference = &right;
  if (variant.clamp) options.on_oob = OnOob::kClamp;
  const auto wanted = [&](const PoolRef& pool, Layer layer) {
    return given.wants(layer) && counter.wrong_in(pool, layer);
  };
  const std::uint64_t memory = given.memory_of(machine);
  for (const Executor::PassLayers& pass : passes_of(survey, memory, wanted)) {
    Executor executor(names, survey, pass, machine, results, options);
    if (!executor.allocate()) return no_room(machine, memory);
    Status status = go_over(path, names, variant, executor, goes_on, nullptr);
    if (status.ok()) status = executor.finish();
    if (!status.ok()) return status;
    for (const auto& [why, what] : executor.not_executed()) report.not_executed[why] = what;
  }
  return {};
}

// Ends what was counted of a variant.
void conclude(const Variant& variant, Counter& counter, VariantReport& out) {
  counter.finish();
  if (!variant.needs_graphs() || counter.saw_graphs()) return;
  out = {};
  out.name = variant.name;
  out.not_applicable = "no graph is recorded";
}

Status run_variant(const std::string& path, const Variant& variant, const ReplayOptions& options,
                   Machine& machine, const GoesOn& goes_on, WhatIfReport& report) {
  Names names;
  VariantReport& out = report.variants.emplace_back();
  out.name = variant.name;
  Surveyor surveyor(names, options.heads);
  Counter counter(names, variant, out);
  Several both({&surveyor, &counter});
  const Status status = go_over(path, names, variant, both, goes_on, &report.warnings);
  if (!status.ok()) return status;
  conclude(variant, counter, out);
  if (!out.first) return {};
  const Survey survey = surveyor.survey();
  return measure(path, names, variant, options, survey, counter, machine, goes_on, out);
}

}  // namespace

Status count_reads(const std::string& path, const Variant& variant, const GoesOn& goes_on,
                   VariantReport& out) {
  Names names;
  out = {};
  out.name = variant.name;
  Counter counter(names, variant, out);
  const Status status = go_over(path, names, variant, counter, goes_on, nullptr);
  conclude(variant, counter, out);
  return status;
}

WhatIfReport what_if(const std::string& path, const std::vector<Variant>& variants,
                     const ReplayOptions& options, Machine& machine, const GoesOn& goes_on) {
  WhatIfReport report;
  report.trace = path;
  report.machine = machine.name();
  report.measured = options.name();
  for (const Variant& variant : variants) {
    report.status = run_variant(path, variant, options, machine, goes_on, report);
    if (!report.status.ok()) break;
  }
  return report;
}

}  // namespace pagetape
