// SPDX-License-Identifier: Apache-2.0
// What changes over time, kept in bounded memory, and what of it one can see.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "gui/app/axis.h"

namespace pagetape {

// A stretch of a track as it is drawn.
struct Span {
  double x0 = 0, x1 = 0;  // Of [0, width].
  EventIndex begin = 0, end = 0;
  std::uint32_t value = 0;
  bool flagged = false;  // Anything in it is.
  bool mixed = false;    // Values that are too short to be seen one by one: the longest is given.
};

// A value over time: 0 is nothing. What would take more than kMost changes is kept coarser:
// neighbours shorter than a grain become one that is mixed.
class Track {
 public:
  static constexpr std::size_t kMost = std::size_t{1} << 17;

  // `most` is 2 at the least.
  explicit Track(std::size_t most = kMost) : most_(most) {}

  // From the event on. Events ascend; of several at one event the last counts.
  void set(EventIndex at, std::uint32_t value, bool flagged = false);
  void finish(EventIndex end) { end_ = end; }

  // In view, left to right; what is narrower than `least` pixels is gathered.
  std::vector<Span> spans(const Axis& axis, double width, double least = 1) const;
  // The stretch that the event is in; value 0 where none is.
  Span at(EventIndex event) const;
  // The first change behind the event whose flag is set; kNever where none is.
  EventIndex next_flagged(EventIndex event) const;
  // The same changes elsewhere: `to` is of events and does not fall.
  Track moved(const std::function<EventIndex(EventIndex)>& to) const;
  bool empty() const { return changes_.empty(); }
  std::size_t changes() const { return changes_.size(); }

 private:
  struct Change {
    EventIndex at = 0;
    std::uint32_t value = 0;
    bool flagged = false, mixed = false;
  };
  EventIndex end_of(std::size_t i) const {
    return i + 1 < changes_.size() ? changes_[i + 1].at : end_;
  }
  std::size_t index_at(EventIndex event) const;
  void gather();

  std::size_t most_;
  std::vector<Change> changes_;
  EventIndex end_ = 0, grain_ = 1;
};

// How often something happened, by equal stretches of the trace.
class Density {
 public:
  static constexpr std::size_t kBins = 8192;

  explicit Density(EventIndex events = 0)
      : bin_((events + kBins) / kBins), sums_(events / bin_ + 2, 0) {}

  void add(EventIndex event, std::uint64_t n = 1) {
    const std::size_t bin = event / bin_ + 1;
    if (bin < sums_.size()) sums_[bin] += n;
  }
  void finish() {
    for (std::size_t i = 1; i < sums_.size(); ++i) sums_[i] += sums_[i - 1];
  }
  // In [begin, end), whole bins: those that a bound cuts count by their share.
  double count(double begin, double end) const;
  EventIndex bin_events() const { return bin_; }
  std::uint64_t total() const { return sums_.back(); }

 private:
  double before(double event) const;

  EventIndex bin_ = 1;
  std::vector<std::uint64_t> sums_;  // After finish(): of all bins before.
};

}  // namespace pagetape
