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

// Of frames, whole and by their parts.
struct Frames {
  Times images, panes, lists, gl, whole, cpu;
  void add(const FrameTimes& times) {
    images.add(times.images);
    panes.add(times.panes);
    lists.add(times.lists);
    gl.add(times.gl);
    whole.add(times.whole);
    cpu.add(times.cpu);
  }
};

void draw(Canvas& canvas, Viewer& viewer, Frames& frames) {
  FrameTimes times;
  canvas.draw(viewer, &times);
  frames.add(times);
}

// From far to near and along the trace, at several depths, and the same way back.
void tour(Canvas& canvas, Viewer& viewer, Frames& frames) {
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
class Jumps {
 public:
  explicit Jumps(EventIndex events) : events_(std::max<EventIndex>(events, 1)) {}
  std::string next() {
    x_ = x_ * 6364136223846793005U + 1442695040888963407U;
    return "goto " + std::to_string((x_ >> 11) % events_);
  }

 private:
  const EventIndex events_;
  std::uint64_t x_ = 1;
};

void seek(Viewer& viewer, Times& seeks) {
  constexpr int kSeeks = 300;
  Jumps jumps(viewer.index().events);
  for (int i = 0; i < kSeeks; ++i) {
    const Clock::time_point begin = Clock::now();
    viewer.run(jumps.next());
    viewer.wait();
    seeks.add(milliseconds(begin));
  }
}

// Frames go on while the thread seeks; a jump replaces the one before, come or not.
void draw_while_seeking(Canvas& canvas, Viewer& viewer, Frames& frames) {
  constexpr int kFrames = 100;
  Jumps jumps(viewer.index().events);
  for (int frame = 0; frame < kFrames; ++frame) {
    if (frame % 4 == 0) viewer.run(jumps.next());
    draw(canvas, viewer, frames);
  }
  viewer.wait();
}

// What a window does until all is read.
struct Reading {
  Frames frames;
  Times adopting;
  double first_paint = 0, whole = 0;
};

std::unique_ptr<Viewer> read(Canvas& canvas, Loader& loader, Clock::time_point begin,
                             Reading& out) {
  std::unique_ptr<Viewer> viewer;
  for (;;) {
    const bool over = loader.over();
    if (std::unique_ptr<OpenTrace> known = loader.take()) {
      const Clock::time_point taken = Clock::now();
      viewer == nullptr
          ? void(viewer = std::make_unique<Viewer>(std::move(known), Lookup::Where::kThread))
          : viewer->adopt(std::move(known));
      out.adopting.add(milliseconds(taken));
    } else if (over) {
      return viewer;
    }
    if (viewer == nullptr) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      continue;
    }
    draw(canvas, *viewer, out.frames);
    if (out.first_paint == 0) out.first_paint = milliseconds(begin);
    if (viewer->index().whole()) out.whole = milliseconds(begin);
  }
}

}  // namespace

Status measure_viewer(const std::string& trace, const Picture& picture, std::string& out) {
  const Clock::time_point begin = Clock::now();
  Status status;
  const auto canvas = Canvas::open(picture, status);
  if (canvas == nullptr) return status;
  Loader loader(trace, false);
  Reading reading;
  const std::unique_ptr<Viewer> viewer = read(*canvas, loader, begin, reading);
  if (viewer == nullptr) return loader.status();
  Frames touring, seeking;
  Times seeks;
  tour(*canvas, *viewer, touring);
  seek(*viewer, seeks);
  draw_while_seeking(*canvas, *viewer, seeking);
  const Clock::time_point read_back = Clock::now();
  (void)canvas->pixels();
  const double readback = milliseconds(read_back);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto line = [&](const std::string& what, const std::string& figure) {
    out += what + std::string(what.size() < 28 ? 28 - what.size() : 1, ' ') + figure + '\n';
  };
  const auto ms = [](double value) {
    char text[48];
    std::snprintf(text, sizeof text, "%.1f ms", value);
    return std::string(text);
  };
  line("trace", grouped(viewer->index().events) + " events, " + grouped(viewer->index().launches) +
                    " launches");
  line("drawn by", canvas->renderer() + ", " + std::to_string(picture.width) + "x" +
                       std::to_string(picture.height));
  line("first paint", ms(reading.first_paint));
  line("whole trace read", ms(reading.whole));
  line("frames while reading", reading.frames.whole.text());
  line("  news taken in", reading.adopting.text());
  line("frames of the tour", touring.whole.text());
  line("  queries and images", touring.images.text());
  line("  panes", touring.panes.text());
  line("  draw lists", touring.lists.text());
  line("  OpenGL", touring.gl.text());
  line("  CPU of all threads", touring.cpu.text());
  line("seeks", seeks.text());
  line("frames while seeking", seeking.whole.text());
  line("picture read back", ms(readback));
  line("most memory", std::to_string(usage.ru_maxrss / 1024) + " MiB");
  return {};
}

}  // namespace pagetape
