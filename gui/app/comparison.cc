// SPDX-License-Identifier: Apache-2.0
#include "gui/app/comparison.h"

#include <algorithm>

#include "traces/source.h"

namespace pagetape {

Alignment::Alignment(EventIndex first, EventIndex second)
    : first_(first),
      second_(second),
      bin_(first / kMost + 1),
      bins_(first / bin_ + 1, {kNever, kNever}) {}

void Alignment::add(EventIndex first, EventIndex second) {
  if (first >= first_ || second >= second_) return;
  Pair& kept = bins_[first / bin_];
  kept = std::min(kept, {first, second});
}

// The longest of what ascends in both.
void Alignment::finish() {
  std::erase_if(bins_, [](const Pair& pair) { return pair.first == kNever; });
  constexpr std::size_t kNone = SIZE_MAX;
  std::vector<std::size_t> before(bins_.size(), kNone);
  std::vector<std::size_t> ends;  // Of the best sequence of each length, its last pair.
  for (std::size_t i = 0; i < bins_.size(); ++i) {
    const auto at = std::ranges::lower_bound(
        ends, bins_[i].second, {}, [this](std::size_t pair) { return bins_[pair].second; });
    if (at != ends.begin()) before[i] = *std::prev(at);
    if (at == ends.end()) {
      ends.push_back(i);
    } else {
      *at = i;
    }
  }
  anchors_ = {{first_, second_}};
  for (std::size_t i = ends.empty() ? kNone : ends.back(); i != kNone; i = before[i]) {
    if (bins_[i].first > 0 && bins_[i].second > 0) anchors_.push_back(bins_[i]);
  }
  anchors_.emplace_back(0, 0);
  std::ranges::reverse(anchors_);
  bins_ = {};
}

template <class Pair>
static double between(const std::vector<Pair>& anchors, double at, EventIndex Pair::*from,
                      EventIndex Pair::*to) {
  if (anchors.size() < 2) return at;
  auto it = std::ranges::upper_bound(
      anchors, at, {}, [from](const Pair& pair) { return static_cast<double>(pair.*from); });
  it = std::clamp(it, std::next(anchors.begin()), std::prev(anchors.end()));
  const Pair &low = *std::prev(it), &high = *it;
  const auto a = static_cast<double>(low.*from), b = static_cast<double>(high.*from);
  const double share = b > a ? std::clamp((at - a) / (b - a), 0.0, 1.0) : 0;
  const auto c = static_cast<double>(low.*to), d = static_cast<double>(high.*to);
  return c + share * (d - c);
}

double Alignment::to_first(double second) const {
  return between(anchors_, second, &Pair::second, &Pair::first);
}

// The event that it falls into: a whole number may come out a little less.
EventIndex Alignment::first_of(EventIndex second) const {
  return static_cast<EventIndex>(to_first(static_cast<double>(second)) + 1e-6);
}

double Alignment::to_second(double first) const {
  return between(anchors_, first, &Pair::first, &Pair::second);
}

namespace {

constexpr std::size_t kMostDiffering = std::size_t{1} << 20;

// Onto the axis of the first trace.
void move_over(TraceIndex& index, EventIndex events, const Alignment& alignment) {
  const auto to = [&](EventIndex at) { return alignment.first_of(at); };
  const auto density = [&](Density& of) {
    Density moved(events);
    const EventIndex bin = moved.bin_events();
    double rest = 0;
    for (EventIndex at = 0; at < events; at += bin) {
      const double end = static_cast<double>(std::min(at + bin, events));
      rest += of.count(alignment.to_second(static_cast<double>(at)), alignment.to_second(end));
      const auto whole = static_cast<std::uint64_t>(rest + 1e-6);
      moved.add(at, whole);
      rest -= static_cast<double>(whole);
    }
    moved.finish();
    of = std::move(moved);
  };
  for (BackendLane& lane : index.backends) {
    density(lane.launches);
    density(lane.findings);
    lane.pool = lane.pool.moved(to);
    lane.swa = lane.swa.moved(to);
  }
  for (GraphLane& lane : index.graphs) density(lane.launches);
  for (StreamLane& lane : index.streams) density(lane.events);
  density(index.finding_density);
  index.ops = index.ops.moved(to);
  for (StepStart& step : index.steps) step.event = to(step.event);
  for (Incident& incident : index.incidents) incident.event = to(incident.event);
  // Not shown over another's axis; a million of them are not worth the moving.
  index.lives.clear();
  index.pools.clear();
  index.events = index.read_to = events;
}

EventIndex events_of(const std::string& path, Status& status) {
  Names names;
  const auto source = open_trace(path, names, status);
  return source == nullptr ? 0 : source->events();
}

}  // namespace

std::shared_ptr<const Comparison> compare(
    const std::string& first, const std::string& second,
    const std::function<bool(const std::string& doing, EventIndex at)>& doing) {
  auto out = std::make_shared<Comparison>();
  Status& status = out->report.status;
  const EventIndex events = events_of(first, status);
  const EventIndex others = status.ok() ? events_of(second, status) : 0;
  if (!status.ok()) return out;
  out->alignment = Alignment(events, others);
  std::vector<DiffPair> only_second;
  DiffWatch watch;
  watch.goes_on = [&](EventIndex at) { return doing("comparing", at); };
  watch.on_pair = [&](const DiffPair& pair) {
    if (pair.good != kNever && pair.bad != kNever) out->alignment.add(pair.good, pair.bad);
    if (!pair.differs) return;
    out->more_differing = out->differing.size() + only_second.size() >= kMostDiffering;
    if (out->more_differing) return;
    pair.good != kNever ? out->differing.push_back(pair.good) : only_second.push_back(pair);
  };
  // Engines and versions may differ: whoever looks at both knows.
  out->report = diff_traces(first, second, true, watch);
  if (!out->report.status.ok()) return out;
  out->alignment.finish();
  for (const DiffPair& pair : only_second) {
    out->differing.push_back(out->alignment.first_of(pair.bad));
  }
  std::ranges::sort(out->differing);
  out->differing.erase(std::unique(out->differing.begin(), out->differing.end()),
                       out->differing.end());
  Loading loading;
  loading.going = [&](EventIndex at) { return doing("reading the other", at); };
  out->other = load_trace(second, loading, out->report.status);
  if (out->other != nullptr) {
    move_over(out->other->index, events, out->alignment);
    out->other->place.reset();
  }
  return out;
}

std::unique_ptr<CompareRun> run_compare(const std::string& first, const std::string& second) {
  const auto work = [first, second](CompareRun& run) {
    auto made = compare(first, second, [&run](const std::string& doing, EventIndex at) {
      run.tell(
          [&](CompareTold& told) { told = {.doing = doing, .at = at, .comparison = nullptr}; });
      return !run.stopped();
    });
    run.tell(
        [&](CompareTold& told) { told = {.doing = "", .at = 0, .comparison = std::move(made)}; });
  };
  return std::make_unique<CompareRun>(
      work, CompareTold{.doing = "comparing", .at = 0, .comparison = nullptr});
}

Track differing_steps(const std::vector<EventIndex>& events, const TraceIndex& index) {
  Track out;
  EventIndex end = 0;
  for (const EventIndex event : events) {
    if (event < end) continue;
    const StepStart* step = index.step_at(event);
    const EventIndex begin = step == nullptr ? event : step->event;
    const auto next = std::ranges::upper_bound(index.steps, event, {}, &StepStart::event);
    if (begin > end) out.set(end, 0);
    out.set(begin, 1);
    end = next == index.steps.end() ? index.events : next->event;
  }
  out.set(end, 0);
  out.finish(index.events);
  return out;
}

}  // namespace pagetape
