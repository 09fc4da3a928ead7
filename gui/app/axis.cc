// SPDX-License-Identifier: Apache-2.0
#include "gui/app/axis.h"

#include <algorithm>
#include <cmath>

namespace pagetape {

Axis::Axis(EventIndex events) : events_(std::max(static_cast<double>(events), kLeast)) { fit(); }

void Axis::grow(EventIndex events) {
  const bool fits = span() >= events_;
  events_ = std::max(static_cast<double>(events), kLeast);
  fits ? fit() : show(begin_, end_);
}

void Axis::show(double begin, double end) {
  const double span = std::clamp(end - begin, kLeast, events_);
  const double middle = (begin + end) / 2;
  begin_ = std::clamp(middle - span / 2, 0.0, events_ - span);
  end_ = begin_ + span;
}

void Axis::zoom(double factor, double at) {
  const double span = std::clamp(this->span() * factor, kLeast, events_);
  const double share = (at - begin_) / this->span();
  show(at - share * span, at + (1 - share) * span);
}

void Axis::reveal(double event) {
  const double margin = span() / 10;
  if (event >= begin_ && event < end_) {
    if (event < begin_ + margin) pan(event - begin_ - margin);
    if (event > end_ - margin) pan(event - end_ + margin);
  } else {
    show(event - span() / 2, event + span() / 2);
  }
}

std::vector<double> ticks_of(double begin, double end, int most) {
  std::vector<double> out;
  if (most < 1 || !(end > begin)) return out;
  double step = 1;
  for (int i = 0; (end - begin) / step > most && i < 60; ++i) step *= i % 3 == 1 ? 2.5 : 2;
  for (double at = std::ceil(begin / step) * step; at < end; at += step) out.push_back(at);
  return out;
}

}  // namespace pagetape
