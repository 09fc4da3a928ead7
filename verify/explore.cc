// SPDX-License-Identifier: Apache-2.0
#include "verify/explore.h"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "replay/for_each_event.h"
#include "replay/state.h"
#include "traces/source.h"
#include "verify/judge.h"
#include "verify/report.h"

namespace pagetape {
namespace {

// Judged behind a stretch, for what shows later.
constexpr EventIndex kBehind = 256;
// A drawn order begins and ends so far from its conflict, at most.
constexpr std::int64_t kAround = 64;

// A finding whatever order it was found in, but for what depends on the order alone.
std::uint64_t key_of(const Finding& f, EventIndex event) {
  std::uint64_t h = event;
  const auto mix = [&](std::uint64_t part) {
    h = (h ^ part) * 0x9e3779b97f4a7c15u;
    h ^= h >> 31;
  };
  mix(static_cast<std::uint64_t>(f.rule));
  for (std::int64_t part : {f.launch, f.row, f.column, f.page, f.slot}) {
    mix(static_cast<std::uint64_t>(part));
  }
  mix(f.has_layer ? static_cast<std::uint64_t>(f.layer.v) : UINT64_MAX);
  for (Name name : {f.pool, f.graph, f.map, f.buffer, f.object}) mix(raw(name));
  return h;
}

// What the recorded order says.
struct Survey {
  std::uint64_t events = 0, findings = 0;
  std::unordered_set<std::uint64_t> recorded;  // Keys of its findings.
  Coverage known;
  Conflicts conflicts;
  std::vector<Conflict> list;
  std::string unchecked;
};

class Both final : public Observer {
 public:
  Both(Judge& judge, Conflicts& conflicts) : judge_(judge), conflicts_(conflicts) {}
  void on_event(const World& world, const Event& event, EventIndex index) override {
    judge_.on_event(world, event, index);
    conflicts_.on_event(world, event, index);
  }
  void on_page(World& world, const PageAct& act) override {
    judge_.on_page(world, act);
    conflicts_.on_page(world, act);
  }
  void on_launch(World& world, const LaunchView& view) override {
    judge_.on_launch(world, view);
    conflicts_.on_launch(world, view);
  }
  void on_graph_launch(const World& world, Name name, const GraphState& graph) override {
    judge_.on_graph_launch(world, name, graph);
    conflicts_.on_graph_launch(world, name, graph);
  }

 private:
  Judge& judge_;
  Conflicts& conflicts_;
};

// Whether a trace tells enough of order, from its events alone.
class Streams {
 public:
  explicit Streams(const Names& names) : names_(names) {}

  void see(const Event& event) {
    const auto* header = std::get_if<ev::Header>(&event.body);
    if (header != nullptr && header->records) {
      lacks_waits_ = std::ranges::none_of(
          *header->records, [&](Name kind) { return names_.text(kind) == "stream_wait"; });
    }
    if (Dependencies::actor_of(event, false) != Actor::kDevice) return;
    operations_ |= std::holds_alternative<ev::AsyncBegin>(event.body);
    std::set<std::int32_t>& streams = by_rank_[event.rank.value_or(INT64_MIN)];
    streams.insert(event.stream);
    several_ |= streams.size() > 1;
  }
  std::string why_unchecked() const {
    if (!operations_ && !several_) {
      return "all its launches are on one stream, and no operation is asynchronous: it leaves one "
             "order (needs streams, async_begin, stream_wait)";
    }
    if (lacks_waits_) {
      return "its recorder writes no stream_wait, so that every order between streams is unknown "
             "(header.records)";
    }
    return {};
  }

 private:
  const Names& names_;
  bool operations_ = false, several_ = false, lacks_waits_ = false;
  std::map<std::int64_t, std::set<std::int32_t>> by_rank_;
};

// What the recorded order breaks, and whether there are others.
Status judge_recorded(const std::string& path, Names& names, Survey& survey) {
  State state(names);
  Streams streams(names);
  JudgeOptions options;
  options.max_findings = 1;
  Judge judge(names, options, all_rules());
  Status status = for_each_event(path, names, [&](const Event& event, EventIndex) {
    ++survey.events;
    streams.see(event);
    return state.apply(event, &judge);
  });
  judge.finish();
  survey.findings = judge.findings().total();
  survey.known = judge.coverage();
  survey.unchecked = streams.why_unchecked();
  return status;
}

Status take_survey(const std::string& path, Names& names, Survey& survey) {
  Status status = judge_recorded(path, names, survey);
  if (!status.ok() || !survey.unchecked.empty()) return status;
  State state(names);
  JudgeOptions options;
  options.max_findings = 1;
  // It has seen what those of other orders have: nothing is held back.
  Judge judge(names, options, all_rules(), survey.known);
  judge.findings().watch([&](const Finding& f) { survey.recorded.insert(key_of(f, f.event)); });
  Both both(judge, survey.conflicts);
  status = for_each_event(path, names, [&](const Event& event, EventIndex index) {
    const Outcome outcome = state.apply(event, &both);
    if (outcome.applied()) survey.conflicts.applied(event, index);
    return outcome;
  });
  survey.list = survey.conflicts.in_order();
  return status;
}

// One order to try: where its stretch lies, and the conflict that it is about.
struct Candidate {
  std::uint64_t seed = 0;
  EventIndex begin = 0, end = 0;
  Conflict conflict;
  bool drawn = false;
  std::uint64_t dice = 0;
};

Candidate candidate_of(const Survey& survey, std::uint64_t seed) {
  const std::vector<Conflict>& list = survey.list;
  if (seed >= 1 && seed <= list.size()) {
    const Conflict& c = list[seed - 1];
    return {seed, c.first, c.second + 1, c, false, 0};
  }
  Dice dice(seed);
  const auto n = static_cast<std::int64_t>(list.size());
  const Conflict& c = list[static_cast<std::size_t>(dice.below(n))];
  const auto before = static_cast<EventIndex>(dice.below(kAround));
  const auto behind = static_cast<EventIndex>(dice.below(kAround));
  return {seed,
          c.first - std::min(c.first, before),
          std::min(survey.events, c.second + 1 + behind),
          c,
          true,
          dice.next()};
}

Order order_of(const Candidate& candidate, const Stretch& stretch, const Acknowledged& known) {
  if (!candidate.drawn) return reversed(stretch, known);
  Dice dice(candidate.dice);
  return drawn(stretch, known, dice);
}

// Reads ahead of a state that is applied event by event.
class Window {
 public:
  Window(std::unique_ptr<Source> source, Names& names)
      : source_(std::move(source)), state_(names) {}

  EventIndex at() const { return state_.next_event(); }
  const State& state() const { return state_; }
  // Goes on to before that event. False where the trace ends, or cannot be read.
  bool go_to(EventIndex event) {
    while (at() < event) {
      if (!read(1)) return false;
      if (!state_.apply(events_.front()).applied()) return false;
      events_.pop_front();
    }
    return true;
  }
  // So many of the next events, or all that there are.
  Stretch next(std::size_t n) {
    read(n);
    Stretch out;
    out.begin = at();
    out.events.assign(events_.begin(),
                      events_.begin() + static_cast<std::ptrdiff_t>(std::min(n, events_.size())));
    return out;
  }

 private:
  bool read(std::size_t n) {
    Event event;
    while (events_.size() < n && source_->next(event)) events_.push_back(event);
    return events_.size() >= n;
  }

  std::unique_ptr<Source> source_;
  State state_;
  std::deque<Event> events_;
};

std::string stream_in_words(std::int32_t stream) { return "stream " + std::to_string(stream); }

std::string in_words(const Event& event, EventIndex index, std::int32_t op_stream,
                     const Names& names) {
  const std::string at = "event " + std::to_string(index);
  if (const auto* end = std::get_if<ev::AsyncEnd>(&event.body)) {
    return at + ", the completion of operation " + std::string(names.text(end->op)) + " of " +
           stream_in_words(op_stream);
  }
  return at + " on " + stream_in_words(event.stream) + ", " + describe(event, names);
}

std::string missing_between(const Conflict& c, const Event& first, const Names& names) {
  const std::string wait = "a stream_wait of " + stream_in_words(c.second_stream) + " on " +
                           stream_in_words(c.first_stream);
  if (const auto* end = std::get_if<ev::AsyncEnd>(&first.body)) {
    return wait + " for operation " + std::string(names.text(end->op)) + ", before event " +
           std::to_string(c.second) + " and behind the operation's begin";
  }
  return wait + ", behind event " + std::to_string(c.first) + " and before event " +
         std::to_string(c.second);
}

class Explorer {
 public:
  Explorer(const Survey& survey, Names& names, ExploreReport& report)
      : survey_(survey), names_(names), report_(report) {
    for (const Conflict& c : survey.list) {
      partners_[c.first].push_back(c.second);
      partners_[c.second].push_back(c.first);
    }
  }

  void try_order(const Candidate& candidate, Window& window) {
    const std::size_t length = candidate.end - candidate.begin;
    Stretch stretch = window.next(length + kBehind);
    std::vector<Event> behind(stretch.events.begin() + static_cast<std::ptrdiff_t>(
                                                           std::min(length, stretch.events.size())),
                              stretch.events.end());
    stretch.events.resize(std::min(length, stretch.events.size()));
    const Order order = order_of(candidate, stretch, survey_.conflicts.acknowledged());
    if (order.empty()) return;
    ++report_.orders;
    std::vector<Event> events = reordered(stretch, order);
    for (Event& event : behind) {
      redirect(stretch, order, event);
      events.push_back(std::move(event));
    }
    std::optional<Finding> finding = judge(window.state(), stretch.begin, order, events);
    if (!finding) return;
    ++report_.hazardous;
    keep(candidate, stretch, order, std::move(*finding));
  }

  void report(std::size_t most) {
    std::ranges::sort(found_, {}, &Hazard::seed);
    report_.hazard_kinds = found_.size();
    if (most != 0 && found_.size() > most) found_.resize(most);
    report_.hazards = std::move(found_);
  }

 private:
  EventIndex recorded_index(EventIndex index, EventIndex begin, const Order& order) const {
    const bool inside = index >= begin && index < begin + order.size();
    return inside ? begin + order[index - begin] : index;
  }

  // Did the event change places with one that it conflicts with? Where only the scheduler's acts
  // did, which are ordered against launches where they stand, nothing new came of it.
  bool met_another(EventIndex event, EventIndex begin,
                   const std::vector<std::uint32_t>& places) const {
    if (event < begin || event >= begin + places.size()) return true;
    const auto partners = partners_.find(event);
    return partners != partners_.end() &&
           std::ranges::any_of(partners->second, [&](EventIndex other) {
             if (other < begin || other >= begin + places.size()) return false;
             return (event < other) != (places[event - begin] < places[other - begin]);
           });
  }
  bool conflict(EventIndex a, EventIndex b) const {
    const auto partners = partners_.find(a);
    return partners != partners_.end() &&
           std::ranges::find(partners->second, b) != partners->second.end();
  }

  // The first finding that the recorded order does not have.
  std::optional<Finding> judge(const State& before, EventIndex begin, const Order& order,
                               const std::vector<Event>& events) {
    State state(before);
    JudgeOptions options;
    options.max_findings = 0;
    Judge judge(names_, options, all_rules(), survey_.known);
    bool met = false;
    const std::vector<std::uint32_t> places = places_of(order);
    const auto is_new = [&](const Finding& f) {
      const EventIndex event = recorded_index(f.event, begin, order);
      return !survey_.recorded.contains(key_of(f, event)) && met_another(event, begin, places);
    };
    judge.findings().watch([&](const Finding& f) { met = met || is_new(f); });
    for (const Event& event : events) {
      ++report_.judged;
      // Declarations come before their use in any order.
      if (!state.apply(event, &judge).applied()) return std::nullopt;
      if (met) break;
    }
    for (Finding& f : judge.findings().sorted()) {
      if (!is_new(f)) continue;
      f.event = recorded_index(f.event, begin, order);
      for (EventIndex& cause : f.cause) cause = recorded_index(cause, begin, order);
      std::ranges::sort(f.cause);
      return std::move(f);
    }
    return std::nullopt;
  }

  // Of a drawn order: what changed places with the event that broke the rule. What it conflicts
  // with, where that is one; what brought the finding about; else what stood next to it.
  Conflict swapped_in(const Stretch& stretch, const Order& order, const Finding& finding) const {
    const std::vector<std::uint32_t> places = places_of(order);
    const EventIndex at = finding.event - stretch.begin;
    std::optional<std::uint32_t> best;
    if (finding.event >= stretch.begin && finding.event < stretch.end()) {
      const auto distance = [&](EventIndex i) { return i < at ? at - i : i - at; };
      const auto rank = [&](std::uint32_t i) {
        const EventIndex event = stretch.begin + i;
        return std::tuple(!conflict(finding.event, event),
                          !std::ranges::binary_search(finding.cause, event), distance(i));
      };
      for (std::uint32_t i = 0; i < order.size(); ++i) {
        const bool changed = i != at && (i < at) != (places[i] < places[at]);
        if (changed && (!best || rank(i) < rank(*best))) best = i;
      }
    }
    if (best) return between(stretch, static_cast<std::uint32_t>(at), *best);
    // Nothing did, or the rule was broken behind the stretch: the last two that changed places.
    std::size_t k = order.size() - 1;
    while (k > 1 && order[k - 1] < order[k]) --k;
    return between(stretch, order[k - 1], order[k]);
  }

  Conflict between(const Stretch& stretch, std::uint32_t a, std::uint32_t b) const {
    Conflict out;
    out.first = stretch.begin + std::min(a, b);
    out.second = stretch.begin + std::max(a, b);
    name_streams(stretch, out);
    return out;
  }

  void name_streams(const Stretch& stretch, Conflict& c) const {
    const Event& first = stretch.events[c.first - stretch.begin];
    const Event& second = stretch.events[c.second - stretch.begin];
    c.first_kind = static_cast<std::uint8_t>(first.kind());
    c.second_kind = static_cast<std::uint8_t>(second.kind());
    c.first_stream = survey_.conflicts.stream_of(first, c.first);
    c.second_stream = survey_.conflicts.stream_of(second, c.second);
  }

  void keep(const Candidate& candidate, const Stretch& stretch, const Order& order,
            Finding&& finding) {
    const Conflict& c = candidate.conflict;
    const bool of_it = finding.event == c.first || finding.event == c.second ||
                       finding.event < stretch.begin || finding.event >= stretch.end();
    const Conflict swapped = candidate.drawn || !of_it ? swapped_in(stretch, order, finding) : c;
    const auto kind = std::tuple(finding.rule, swapped.first_kind, swapped.second_kind,
                                 swapped.first_stream, swapped.second_stream, finding.pool);
    const auto [at, fresh] = kinds_.try_emplace(kind, found_.size());
    if (!fresh) {
      Hazard& known = found_[at->second];
      ++known.others;
      if (known.seed < candidate.seed) return;
    } else {
      found_.emplace_back();
    }
    Hazard& hazard = found_[at->second];
    const Event& first = stretch.events[swapped.first - stretch.begin];
    const Event& second = stretch.events[swapped.second - stretch.begin];
    hazard.seed = candidate.seed;
    hazard.finding = std::move(finding);
    hazard.swapped = swapped;
    hazard.first = in_words(first, swapped.first, swapped.first_stream, names_);
    hazard.second = in_words(second, swapped.second, swapped.second_stream, names_);
    hazard.missing = missing_between(swapped, first, names_);
  }

  const Survey& survey_;
  Names& names_;
  ExploreReport& report_;
  std::unordered_map<EventIndex, std::vector<EventIndex>> partners_;  // Of each event in conflict.
  std::map<std::tuple<Rule, std::uint8_t, std::uint8_t, std::int32_t, std::int32_t, Name>,
           std::size_t>
      kinds_;
  std::vector<Hazard> found_;
};

// As many as the budget allows, in the order of their places.
std::vector<Candidate> choose(const Survey& survey, const ExploreOptions& options,
                              std::uint64_t& next_seed) {
  std::vector<Candidate> out;
  std::uint64_t cost = 0;
  std::uint64_t seed = options.seed;
  for (; out.size() < options.orders && !survey.list.empty(); ++seed) {
    const Candidate candidate = candidate_of(survey, seed);
    cost += candidate.end - candidate.begin + kBehind;
    if (cost > options.budget && !out.empty()) break;
    out.push_back(candidate);
  }
  next_seed = seed;
  std::ranges::stable_sort(out, {}, &Candidate::begin);
  return out;
}

}  // namespace

int ExploreReport::exit_code() const {
  if (!hazards.empty() || recorded > 0) return 1;
  if (status.code() == Code::kDamaged) return 3;
  if (!status.ok()) return 2;
  return unchecked.empty() ? 0 : 1;
}

ExploreReport explore(const std::string& path, const ExploreOptions& options) {
  ExploreReport report;
  report.trace = path;
  report.names = std::make_shared<Names>();
  report.seed = options.seed;
  Survey survey;
  report.status = take_survey(path, *report.names, survey);
  report.events = survey.events;
  report.recorded = survey.findings;
  report.unchecked = survey.unchecked;
  report.conflicts = survey.list.size();
  report.too_far = survey.conflicts.too_far();
  report.not_all = survey.conflicts.full();
  if (!report.status.ok()) return report;
  const std::vector<Candidate> candidates = choose(survey, options, report.next_seed);
  Explorer explorer(survey, *report.names, report);
  std::unique_ptr<Source> source = open_trace(path, *report.names, report.status);
  if (source == nullptr) return report;
  Window window(std::move(source), *report.names);
  for (const Candidate& candidate : candidates) {
    if (!window.go_to(candidate.begin)) break;
    explorer.try_order(candidate, window);
  }
  explorer.report(options.max_hazards);
  return report;
}

Status choose_order(const std::string& path, std::uint64_t seed, Names& names, ChosenOrder& out) {
  Survey survey;
  if (Status status = take_survey(path, names, survey); !status.ok()) return status;
  if (survey.list.empty()) {
    const std::string why = survey.unchecked.empty()
                                ? "no two unordered events touch the same page or buffer"
                                : survey.unchecked;
    return usage(path + ": there is no other order to write: " + why);
  }
  const Candidate candidate = candidate_of(survey, seed);
  Status status;
  std::unique_ptr<Source> source = open_trace(path, names, status);
  if (source == nullptr) return status;
  Window window(std::move(source), names);
  if (!window.go_to(candidate.begin)) return system_error(path + ": was changed while it was read");
  out.stretch = window.next(candidate.end - candidate.begin);
  out.order = order_of(candidate, out.stretch, survey.conflicts.acknowledged());
  if (!out.order.empty()) return {};
  return usage(path + ": the order of seed " + std::to_string(seed) + " is the recorded one");
}

}  // namespace pagetape
