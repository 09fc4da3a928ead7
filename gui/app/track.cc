// SPDX-License-Identifier: Apache-2.0
#include "gui/app/track.h"

#include <algorithm>
#include <cmath>

namespace pagetape {

void Track::set(EventIndex at, std::uint32_t value, bool flagged) {
  end_ = std::max(end_, at + 1);
  if (!changes_.empty()) {
    const Change& last = changes_.back();
    if (!last.mixed && last.value == value && last.flagged == flagged) return;
    if (last.at == at) {
      changes_.back() = {.at = at, .value = value, .flagged = flagged};
      return;
    }
  }
  changes_.push_back({.at = at, .value = value, .flagged = flagged});
  if (changes_.size() <= most_) return;
  gather();
  // By half, so that it is not done again at once.
  for (; changes_.size() > most_ / 2; gather()) grain_ *= 2;
}

void Track::gather() {
  std::vector<Change> kept;
  for (std::size_t i = 0; i < changes_.size(); ++i) {
    Change change = changes_[i];
    const bool is_short = end_of(i) - change.at < grain_;
    if (is_short && !kept.empty() && kept.back().mixed && change.at - kept.back().at < grain_) {
      kept.back().flagged = kept.back().flagged || change.flagged;
      continue;
    }
    change.mixed = change.mixed || is_short;
    kept.push_back(change);
  }
  changes_ = std::move(kept);
}

std::size_t Track::index_at(EventIndex event) const {
  const auto it = std::ranges::upper_bound(changes_, event, {}, &Change::at);
  return static_cast<std::size_t>(it - changes_.begin()) - (it == changes_.begin() ? 0 : 1);
}

std::vector<Span> Track::spans(const Axis& axis, double width, double least) const {
  std::vector<Span> out;
  if (changes_.empty()) return out;
  double longest = 0;  // Of what was gathered into the last span.
  for (std::size_t i = index_at(static_cast<EventIndex>(std::max(axis.begin(), 0.0)));
       i < changes_.size() && static_cast<double>(changes_[i].at) < axis.end(); ++i) {
    const Change& change = changes_[i];
    Span span{.x0 = std::max(0.0, axis.x_of(static_cast<double>(change.at), width)),
              .x1 = std::min(width, axis.x_of(static_cast<double>(end_of(i)), width)),
              .begin = change.at,
              .end = end_of(i),
              .value = change.value,
              .flagged = change.flagged,
              .mixed = change.mixed};
    const double wide = span.x1 - span.x0;
    if (wide <= 0) continue;
    if (wide < least && !out.empty() && out.back().mixed && out.back().x1 - out.back().x0 < least) {
      Span& last = out.back();
      if (wide > longest) last.value = span.value;
      longest = std::max(longest, wide);
      last.x1 = span.x1;
      last.end = span.end;
      last.flagged = last.flagged || span.flagged;
      continue;
    }
    longest = wide;
    span.mixed = span.mixed || wide < least;
    out.push_back(span);
  }
  return out;
}

Span Track::at(EventIndex event) const {
  if (changes_.empty() || event < changes_[0].at) return {};
  const std::size_t i = index_at(event);
  return {.begin = changes_[i].at,
          .end = end_of(i),
          .value = changes_[i].value,
          .flagged = changes_[i].flagged,
          .mixed = changes_[i].mixed};
}

EventIndex Track::next_flagged(EventIndex event) const {
  for (std::size_t i = 0; i < changes_.size(); ++i) {
    if (changes_[i].flagged && changes_[i].at > event) return changes_[i].at;
  }
  return kNever;
}

Track Track::moved(const std::function<EventIndex(EventIndex)>& to) const {
  Track out(most_);
  for (const Change& change : changes_) {
    const EventIndex at = to(change.at);
    // Of what comes to one place the last stays, flagged where any was.
    const bool same = !out.changes_.empty() && out.changes_.back().at == at;
    const bool flagged = change.flagged || (same && out.changes_.back().flagged);
    if (same) out.changes_.pop_back();
    out.changes_.push_back(
        {.at = at, .value = change.value, .flagged = flagged, .mixed = change.mixed || same});
  }
  out.end_ = to(end_);
  return out;
}

double Density::before(double event) const {
  const double bins =
      std::clamp(event / static_cast<double>(bin_), 0.0, static_cast<double>(sums_.size() - 1));
  const auto whole = static_cast<std::size_t>(bins);
  const auto below = static_cast<double>(sums_[whole]);
  if (whole + 1 >= sums_.size()) return below;
  return below + (bins - std::floor(bins)) * (static_cast<double>(sums_[whole + 1]) - below);
}

double Density::count(double begin, double end) const { return before(end) - before(begin); }

}  // namespace pagetape
