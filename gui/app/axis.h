// SPDX-License-Identifier: Apache-2.0
// The part of a trace that is in view: events on the x axis.
#pragma once

#include <cstdint>
#include <vector>

#include "replay/extents.h"

namespace pagetape {

// A value. Events are whole numbers; event e covers [e, e + 1) of the axis.
class Axis {
 public:
  static constexpr double kLeast = 8;  // Events that are in view at the least.

  explicit Axis(EventIndex events = 0);

  double begin() const { return begin_; }
  double end() const { return end_; }
  double span() const { return end_ - begin_; }
  double events() const { return events_; }
  double x_of(double event, double width) const { return (event - begin_) / span() * width; }
  double event_at(double x, double width) const { return begin_ + x / width * span(); }

  // The trace has so many events by now; what shows all goes on to do so.
  void grow(EventIndex events);
  void fit() { show(0, events_); }
  // Both are brought into the trace; a span too small grows around its middle.
  void show(double begin, double end);
  // `factor` below 1 goes nearer. The event `at` stays where it is on the screen.
  void zoom(double factor, double at);
  void pan(double events) { show(begin_ + events, end_ + events); }
  // Moves as little as makes the event visible, with a margin around it.
  void reveal(double event);

  bool operator==(const Axis&) const = default;

 private:
  double events_ = kLeast, begin_ = 0, end_ = kLeast;
};

// Round numbers within [begin, end), at most `most` of them.
std::vector<double> ticks_of(double begin, double end, int most);

}  // namespace pagetape
