// SPDX-License-Identifier: Apache-2.0
#include "gui/measure.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include "gui/app/loader.h"
#include "verify/report.h"

namespace pagetape {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

// Milliseconds, each of the same thing.
class Times {
 public:
  void add(double ms) { all_.push_back(ms); }
  std::string text() {
    if (all_.empty()) return "none";
    std::ranges::sort(all_);
    const auto at = [&](double share) {
      return all_[static_cast<std::size_t>(share * static_cast<double>(all_.size() - 1))];
    };
    char line[120];
    std::snprintf(line, sizeof line, "p50 %.1f ms, p99 %.1f ms, longest %.1f ms, of %zu", at(0.5),
                  at(0.99), all_.back(), all_.size());
    return line;
  }

 private:
  std::vector<double> all_;
};

void draw(Canvas& canvas, Viewer& viewer, Times& frames) {
  const Clock::time_point begin = Clock::now();
  canvas.draw(viewer);
  frames.add(milliseconds(begin));
}

// From far to near and along the trace, at several depths, and the same way back.
void tour(Canvas& canvas, Viewer& viewer, Times& frames) {
  viewer.run("fit");
  for (const double depth : {0.5, 0.5, 0.1, 0.1, 0.1}) {
    for (int frame = 0; frame < 10; ++frame) {
      viewer.zoom(std::pow(depth, 0.1), viewer.axis().begin() + viewer.axis().span() * 0.3);
      draw(canvas, viewer, frames);
    }
    for (int frame = 0; frame < 30; ++frame) {
      viewer.pan(viewer.axis().span() / 20 * (frame < 20 ? 1 : -2));
      draw(canvas, viewer, frames);
    }
  }
  for (int frame = 0; frame < 30; ++frame) {
    viewer.zoom(1.6, viewer.axis().begin());
    draw(canvas, viewer, frames);
  }
}

// Events all over the trace, as a fixed sequence jumps.
void seek(Viewer& viewer, Times& seeks) {
  constexpr int kSeeks = 300;
  std::uint64_t x = 1;
  for (int i = 0; i < kSeeks && viewer.index().events > 0; ++i) {
    x = x * 6364136223846793005U + 1442695040888963407U;
    const EventIndex event = (x >> 11) % viewer.index().events;
    const Clock::time_point begin = Clock::now();
    viewer.run("goto " + std::to_string(event));
    seeks.add(milliseconds(begin));
  }
}

}  // namespace

Status measure_viewer(const std::string& trace, const Picture& picture, std::string& out) {
  const Clock::time_point begin = Clock::now();
  Status status;
  const auto canvas = Canvas::open(picture, status);
  if (canvas == nullptr) return status;
  Loader loader(trace, false);
  std::unique_ptr<Viewer> viewer;
  Times reading, touring, seeks;
  double first_paint = 0, whole = 0;
  for (;;) {
    const bool over = loader.over();
    if (std::unique_ptr<OpenTrace> known = loader.take()) {
      viewer == nullptr ? void(viewer = std::make_unique<Viewer>(std::move(known)))
                        : viewer->adopt(std::move(known));
    } else if (over) {
      break;
    }
    if (viewer == nullptr) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      continue;
    }
    draw(*canvas, *viewer, reading);
    if (first_paint == 0) first_paint = milliseconds(begin);
    if (viewer->index().whole()) whole = milliseconds(begin);
  }
  if (viewer == nullptr) return loader.status();
  tour(*canvas, *viewer, touring);
  seek(*viewer, seeks);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto line = [&](const std::string& what, const std::string& figure) {
    out += what + std::string(what.size() < 24 ? 24 - what.size() : 1, ' ') + figure + '\n';
  };
  char text[64];
  line("trace", grouped(viewer->index().events) + " events, " + grouped(viewer->index().launches) +
                    " launches");
  std::snprintf(text, sizeof text, "%.0f ms", first_paint);
  line("first paint", text);
  std::snprintf(text, sizeof text, "%.1f s", whole / 1000);
  line("whole trace read", text);
  line("frames while reading", reading.text());
  line("frames of the tour", touring.text());
  line("seeks", seeks.text());
  line("most memory", std::to_string(usage.ru_maxrss / 1024) + " MiB");
  return {};
}

}  // namespace pagetape
