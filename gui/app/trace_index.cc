// SPDX-License-Identifier: Apache-2.0
#include "gui/app/trace_index.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <new>
#include <set>
#include <utility>

#include "gui/app/moment.h"
#include "traces/reader.h"
#include "verify/condition.h"

namespace pagetape {
namespace {

constexpr std::size_t kKeptFindings = 10'000;
constexpr std::size_t kMostKinds = std::size_t{64} << 20;

using Counts = std::array<std::uint64_t, kRuleCount>;

// Into a table that is empty: the same ids.
void copy_names(const Names& from, Names& to) {
  for (std::size_t i = 1; i < from.size(); ++i) {
    to.intern(from.text(Name{static_cast<std::uint32_t>(i)}));
  }
}

// Whom findings are about, ascending.
struct Concerned {
  std::vector<Name> reqs;
  std::vector<Layer> layers;  // Logical and physical ones.

  void add(const Finding& finding) {
    if (finding.req != kNone) insert(reqs, finding.req);
    if (!finding.has_layer) return;
    insert(layers, finding.layer);
    insert(layers, finding.logical_layer);
  }

 private:
  template <class T>
  static void insert(std::vector<T>& sorted, T value) {
    const auto at = std::ranges::lower_bound(sorted, value);
    if (at == sorted.end() || *at != value) sorted.insert(at, value);
  }
};

// Builds the index while a timeline goes by.
class Builder final : public JudgeWatch {
 public:
  Builder(Names& names, const Timeline& timeline, TraceIndex& index)
      : JudgeWatch(names, kKeptFindings, {}), names_(names), timeline_(timeline), index_(index) {
    index_.events = timeline.end();
    index_.finding_density = Density(index_.events);
    judge().findings().watch([this](const Finding& finding) {
      concerned_[static_cast<std::size_t>(finding.rule)].add(finding);
    });
  }

  void on_event(const World& world, const Event& event, EventIndex at) override {
    at_ = at;
    rank_ = event.rank.value_or(State::kNoRank);
    unsettled_ = false;
    JudgeWatch::on_event(world, event, at);
    // Those that are missing are of no kind.
    while (kinds_.size() <= at && at < kMostKinds) kinds_.push_back(PoolHistory::kNoKind);
    if (at < kinds_.size()) kinds_[at] = static_cast<std::uint8_t>(event.kind());
    stream(event.stream);
    t_.reset();
    if (event.t.has_value()) t_ = *event.t;
    index_.timed = index_.timed || t_.has_value();
    for (PoolHistory& pool : index_.pools) {
      if (pool.rank == rank_) pool.sample(world, at, kinds_);
    }
    std::visit([&](const auto& body) { note(world, body); }, event.body);
  }
  void on_launch(World& world, const LaunchView& view) override {
    const std::uint64_t before = outside(), total = judge().findings().total();
    JudgeWatch::on_launch(world, view);
    if (view.backend != nullptr) {
      BackendLane& to = lane(view.backend->name);
      to.launches.add(at_);
      const std::uint64_t found = judge().findings().total() - total;
      if (found > 0) to.findings.add(at_, found);
      if (stale_.add(rank_, world, names_, view, at_)) {
        to.swa.set(at_, to.swa.at(at_).value, true);
      }
      unsettled_ = unsettled_ || view.graph != nullptr;
    }
    if (view.attention != nullptr && outside() > before) add_beyond(world, view);
  }
  void on_graph_launch(const World& world, Name name, const GraphState& graph) override {
    JudgeWatch::on_graph_launch(world, name, graph);
    GraphLane& lane = graph_lane(name);
    lane.declared = std::min(lane.declared, graph.by);
    lane.launches.add(at_);
  }
  // After each event.
  bool met() override {
    const World* world = timeline_.state().world(rank_);
    if (world != nullptr && unsettled_) settle(*world);
    if (world != nullptr) add_pools(*world);
    const Counts& counts = judge().findings().counts();
    if (counts != counts_) add_findings(counts);
    return false;
  }

  void finish() {
    judge().finish();
    index_.read_to = index_.events;
    conclude(index_);
  }

  // What is known before the event.
  std::unique_ptr<OpenTrace> told(const std::string& path) {
    auto out = std::make_unique<OpenTrace>();
    out->path = path;
    copy_names(names_, out->names);
    out->index = index_;
    out->index.read_to = at_ + 1;
    conclude(out->index);
    return out;
  }

 private:
  // Sums up, in the index itself or in a copy.
  void conclude(TraceIndex& index) {
    Findings& findings = judge().findings();
    index.launches = judge().launches();
    index.counts = findings.counts();
    index.total = findings.total();
    index.judged = judge().coverage().judged();
    index.known = {.read_to = index.read_to, .rules = judge().coverage(), .stale = stale_};
    for (const RuleInfo& rule : kRules) {
      if (const Finding* first = findings.first(rule.rule)) index.firsts.push_back(*first);
    }
    std::ranges::sort(index.firsts, earlier);
    index.findings = merged_groups(findings.sorted());
    index.req_sets = index_.req_sets;
    index.layer_sets = index_.layer_sets;
    for (BackendLane& lane : index.backends) {
      lane.launches.finish();
      lane.findings.finish();
      lane.pool.finish(index.read_to);
      lane.swa.finish(index.read_to);
    }
    for (GraphLane& lane : index.graphs) lane.launches.finish();
    for (StreamLane& lane : index.streams) lane.events.finish();
    index.finding_density.finish();
    index.ops.finish(index.read_to);
  }
  std::uint64_t outside() {
    return judge().findings().counts()[static_cast<std::size_t>(Rule::kOobPage)];
  }
  std::uint32_t value_of(const std::string& text) {
    const auto [it, is_new] = values_.try_emplace(text, 0);
    if (is_new) {
      index_.words.push_back(text);
      it->second = static_cast<std::uint32_t>(index_.words.size());
    }
    return it->second;
  }
  BackendLane& lane(Name name) {
    const auto [it, is_new] = lanes_.try_emplace({rank_, name}, index_.backends.size());
    if (is_new) {
      index_.backends.push_back({.rank = rank_,
                                 .name = name,
                                 .declared = at_,
                                 .launches = Density(index_.events),
                                 .findings = Density(index_.events),
                                 .pool = Track(),
                                 .swa = Track()});
    }
    return index_.backends[it->second];
  }
  GraphLane& graph_lane(Name name) {
    const auto [it, is_new] = graphs_.try_emplace({rank_, name}, index_.graphs.size());
    if (is_new) {
      index_.graphs.push_back(
          {.rank = rank_, .name = name, .declared = kNever, .launches = Density(index_.events)});
    }
    return index_.graphs[it->second];
  }

  // ---- what an event says ----

  template <class T>
  void note(const World& world, const T& e) {
    using std::is_same_v;
    constexpr bool moves_facts = is_same_v<T, ev::Backend> || is_same_v<T, ev::PoolSwap> ||
                                 is_same_v<T, ev::SwaState> || is_same_v<T, ev::Cached> ||
                                 is_same_v<T, ev::Version> || is_same_v<T, ev::Pool> ||
                                 is_same_v<T, ev::PoolSet> || is_same_v<T, ev::Buffer> ||
                                 is_same_v<T, ev::Map> || is_same_v<T, ev::Gap>;
    unsettled_ = moves_facts;
    if constexpr (is_same_v<T, ev::Step>) {
      index_.steps.push_back({.event = at_, .step = e.step, .mode = e.mode, .t = t_});
    } else if constexpr (is_same_v<T, ev::Request>) {
      const std::string_view state = names_.text(e.state);
      live(e.req, state != "finish" && state != "abort");
    } else if constexpr (is_same_v<T, ev::CudaError>) {
      incident("CUDA error " + std::to_string(e.code) + ' ' + std::string(names_.text(e.name)));
    } else if constexpr (is_same_v<T, ev::End>) {
      index_.ended = true;
    } else if constexpr (is_same_v<T, ev::Gap>) {
      incident("gap: " + std::string(names_.text(e.why)));
    } else if constexpr (is_same_v<T, ev::Dropped>) {
      incident(std::to_string(e.events) + " events dropped");
    } else if constexpr (is_same_v<T, ev::AsyncBegin>) {
      index_.ops.set(at_, static_cast<std::uint32_t>(world.ops.size() + 1));
    } else if constexpr (is_same_v<T, ev::AsyncEnd>) {
      index_.ops.set(at_,
                     static_cast<std::uint32_t>(std::max<std::size_t>(world.ops.size(), 1)) - 1);
    }
  }
  void stream(std::int32_t stream) {
    auto lane = std::ranges::find(index_.streams, stream, &StreamLane::stream);
    if (lane == index_.streams.end()) {
      if (index_.streams.size() >= TraceIndex::kMostStreams) return;
      index_.streams.push_back({.stream = stream, .events = Density(index_.events)});
      lane = std::prev(index_.streams.end());
    }
    lane->events.add(at_);
  }
  void incident(std::string text) {
    if (index_.incidents.size() < TraceIndex::kMostIncidents) {
      index_.incidents.push_back({.event = at_, .text = std::move(text)});
    }
  }

  void live(Name req, bool lives) {
    const auto it = living_.find({rank_, req});
    if (lives && it == living_.end() && index_.lives.size() < TraceIndex::kMostLives) {
      std::uint32_t row = index_.life_rows;
      if (free_rows_.empty()) {
        ++index_.life_rows;
      } else {
        row = *free_rows_.begin();
        free_rows_.erase(free_rows_.begin());
      }
      living_[{rank_, req}] = index_.lives.size();
      index_.lives.push_back({.req = req, .begin = at_, .end = kNever, .row = row});
    } else if (!lives && it != living_.end()) {
      index_.lives[it->second].end = at_;
      free_rows_.insert(index_.lives[it->second].row);
      living_.erase(it);
    }
  }

  void add_beyond(const World& world, const LaunchView& view) {
    for (const Targets::Group& group : view.targets->groups) {
      if (group.pool == kNoPool) continue;
      const Pool& pool = world.pool(group.pool);
      const auto history = std::ranges::find_if(index_.pools, [&](const PoolHistory& h) {
        return h.rank == rank_ && h.name == pool.name;
      });
      if (history == index_.pools.end()) continue;
      const std::int64_t tokens = view.attention->page_size.value_or(pool.page_size);
      for (const Lane& lane : view.lanes) {
        const std::int64_t end =
            std::min(lane.held(), (std::max<std::int64_t>(lane.len, 0) + tokens - 1) / tokens);
        for (std::int64_t j = 0; j < end; ++j) {
          Cell cell;
          if (!lane.entry(j, cell)) continue;
          const std::int64_t page = raw(cell.page) * tokens / pool.page_size;
          if (page >= pool.pages) history->read_beyond(at_, page);
        }
      }
    }
  }

  // ---- after an event ----

  void add_pools(const World& world) {
    if (world.pools.size() == pools_of_[rank_]) return;
    for (std::uint32_t p = pools_of_[rank_]; p < world.pools.size(); ++p) {
      const Pool& pool = world.pool(p);
      index_.pools.emplace_back(rank_, pool.name, pool, index_.events);
      index_.pools.back().declared = at_;
    }
    pools_of_[rank_] = world.pools.size();
  }

  // What stands behind the event.
  void settle(const World& world) {
    for (std::uint32_t b = 0; b < world.backends.size(); ++b) {
      const Name name = world.backends.key(b);
      if (name == kNone) continue;
      const BackendState& backend = world.backends[b];
      const std::vector<Binding> bindings = bindings_in_effect(backend);
      BackendLane& to = lane(name);
      to.pool.set(at_ + 1, pools_value(world, bindings));
      const auto fact = std::ranges::find(backend.facts, kNone, &Fact::attr);
      if (fact == backend.facts.end()) continue;
      to.swa.set(at_ + 1,
                 value_of(fact->uses_swa ? "window pool " + std::string(names_.text(fact->swa_pool))
                                         : "no window pool"));
    }
  }
  std::uint32_t pools_value(const World& world, const std::vector<Binding>& bindings) {
    std::set<std::string> pools;
    for (const Binding& binding : bindings) {
      if (binding.pool != kNoPool) {
        pools.insert(std::string(names_.text(world.pool(binding.pool).name)));
      }
    }
    std::string text;
    for (const std::string& pool : pools) text += (text.empty() ? "" : " + ") + pool;
    return text.empty() ? 0 : value_of(text);
  }

  void add_findings(const Counts& counts) {
    for (std::size_t r = 0; r < kRuleCount; ++r) {
      const std::uint64_t more = counts[r] - counts_[r];
      if (more == 0) continue;
      Concerned who = std::exchange(concerned_[r], {});
      index_.finding_density.add(at_, more);
      if (index_.findings.size() < TraceIndex::kMostGroups) {
        index_.findings.push_back({.event = at_,
                                   .rule = static_cast<Rule>(r),
                                   .count = static_cast<std::uint32_t>(more),
                                   .reqs = reqs_.of(std::move(who.reqs)),
                                   .layers = layers_.of(std::move(who.layers))});
      }
    }
    counts_ = counts;
  }

  // The earliest findings are known one by one. What was counted on the way may stand where a rule
  // became able to judge: it is used behind those only.
  std::vector<FindingGroup> merged_groups(const std::vector<Finding>& kept) {
    const bool all = kept.size() == judge().findings().total();
    const EventIndex exact = all || kept.empty() ? kNever : kept.back().event;
    std::map<std::pair<EventIndex, Rule>, std::pair<std::uint32_t, Concerned>> groups;
    for (const Finding& finding : kept) {
      if (finding.event >= exact) continue;
      auto& [count, who] = groups[{finding.event, finding.rule}];
      ++count;
      who.add(finding);
    }
    std::vector<FindingGroup> out;
    out.reserve(groups.size());
    for (auto& [key, group] : groups) {
      out.push_back({.event = key.first,
                     .rule = key.second,
                     .count = group.first,
                     .reqs = reqs_.of(std::move(group.second.reqs)),
                     .layers = layers_.of(std::move(group.second.layers))});
    }
    for (const FindingGroup& group : index_.findings) {
      if (exact != kNever && group.event >= exact) out.push_back(group);
    }
    return out;
  }

  Names& names_;
  const Timeline& timeline_;
  TraceIndex& index_;
  EventIndex at_ = 0;
  std::int64_t rank_ = 0;
  std::optional<std::int64_t> t_;  // Of the event at hand.
  bool unsettled_ = false;  // Bindings, facts or what a graph used in their place may have moved.
  std::map<std::string, std::uint32_t> values_;
  std::map<std::pair<std::int64_t, Name>, std::size_t> lanes_, graphs_, living_;
  std::map<std::int64_t, std::uint32_t> pools_of_;
  std::set<std::uint32_t> free_rows_;
  std::vector<std::uint8_t> kinds_;                // Of the first kMostKinds events.
  std::array<Concerned, kRuleCount> concerned_{};  // By what was found at the event at hand.
  SetNumbers<Name> reqs_{index_.req_sets, TraceIndex::kMostMembers};
  SetNumbers<Layer> layers_{index_.layer_sets, TraceIndex::kMostMembers};
  Counts counts_{};
  StaleUses stale_;
};

}  // namespace

const StepStart* TraceIndex::step_at(EventIndex event) const {
  const auto it = std::ranges::upper_bound(steps, event, {}, &StepStart::event);
  return it == steps.begin() ? nullptr : &*std::prev(it);
}

std::size_t TraceIndex::first_finding_from(EventIndex event) const {
  return static_cast<std::size_t>(
      std::ranges::lower_bound(findings, event, {}, &FindingGroup::event) - findings.begin());
}

// What the index of a binary file says of it, without reading an event.
static void add_summary(TraceIndex& index, const std::string& path) {
  Names names;
  Status status;
  const std::unique_ptr<Reader> reader = Reader::open(path, names, status);
  if (reader == nullptr) return;
  index.summary = Density(index.events);
  for (const SegmentInfo& segment : reader->segments()) {
    index.launches += segment.summary.launches;
    // Spread over its bins.
    const EventIndex bin = index.summary.bin_events();
    const std::uint64_t parts = std::max<std::uint64_t>(1, segment.events / bin);
    const std::uint64_t launches = segment.summary.launches;
    for (std::uint64_t i = 0; i < parts; ++i) {
      index.summary.add(segment.first_event + i * bin,
                        launches * (i + 1) / parts - launches * i / parts);
    }
  }
  index.summary.finish();
}

static std::unique_ptr<Seeker> open_place(const std::string& path, Status& status) {
  auto place = std::make_unique<Seeker>();
  place->path = path;
  TimelineOptions options;
  options.goes_on = [to = place.get()](EventIndex at) {
    to->going = at;
    return !to->stop;
  };
  place->timeline = Timeline::open(path, place->names, options, status);
  return place->timeline == nullptr ? nullptr : std::move(place);
}

// Less and less often, so that what it costs stays a small share.
class Teller {
 public:
  explicit Teller(const Loading& loading) : loading_(loading) {}
  void tell(Builder& builder, const std::string& path) {
    const auto now = std::chrono::steady_clock::now();
    if (!loading_.tell || now < next_) return;
    loading_.tell(builder.told(path));
    next_ = std::chrono::steady_clock::now() + wait_;
    wait_ *= 2;
  }

 private:
  const Loading& loading_;
  std::chrono::milliseconds wait_{500};
  std::chrono::steady_clock::time_point next_ = std::chrono::steady_clock::now() + wait_;
};

// Before anything but the file's index was read.
static bool tell_first(const std::string& path, Loading& loading, Status& status) {
  auto first = std::make_unique<OpenTrace>();
  first->path = path;
  first->place = open_place(path, status);
  if (first->place == nullptr) return false;
  first->index.events = first->place->timeline->end();
  copy_names(first->place->names, first->names);
  add_summary(first->index, path);
  loading.tell(std::move(first));
  return true;
}

static std::unique_ptr<OpenTrace> load(const std::string& path, Loading& loading, Status& status) {
  if (loading.tell && !tell_first(path, loading, status)) return nullptr;
  auto trace = std::make_unique<OpenTrace>();
  trace->path = path;
  trace->place = open_place(path, status);
  if (trace->place == nullptr) return nullptr;
  Timeline& timeline = *trace->place->timeline;
  loading.events = timeline.end();
  Builder builder(trace->place->names, timeline, trace->index);
  Teller teller(loading);
  constexpr EventIndex kTell = 256;  // Events from one look at the outside to the next.
  for (EventIndex n = 0; timeline.step(&builder); ++n) {
    builder.met();
    if (n % kTell != 0) continue;
    loading.done = timeline.at();
    if (loading.cancel || (loading.going && !loading.going(timeline.at()))) {
      status = usage(path + ": opening it was cancelled");
      return nullptr;
    }
    teller.tell(builder, path);
  }
  // An event that cannot apply ends the trace before it.
  trace->index.events = timeline.end();
  builder.finish();
  trace->index.status = timeline.status();
  trace->index.warnings = timeline.warnings();
  if (trace->index.events == 0 && !timeline.status().ok()) {
    status = timeline.status();
    return nullptr;
  }
  (void)timeline.seek(0);  // Behind damage: to the first event that there is.
  copy_names(trace->place->names, trace->names);
  return trace;
}

std::unique_ptr<OpenTrace> load_trace(const std::string& path, Loading& loading, Status& status) {
  try {
    return load(path, loading, status);
  } catch (const std::bad_alloc&) {
    status = system_error(path + ": there is not enough memory to show it");
    return nullptr;
  }
}

}  // namespace pagetape
