// SPDX-License-Identifier: Apache-2.0
// The flight recorder: keeps the recent past of a run in parts on the disk, and makes traces of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "capture/companion.h"
#include "capture/flight_flags.h"
#include "capture/flight_parts.h"
#include "traces/writer.h"

namespace pagetape {

struct FlightOptions {
  FlightLimits limits;
  std::vector<Trigger> triggers;
  int zstd_level = 3;
  CompanionFactory keyframes;                   // For the traces that are made; may be empty.
  std::function<void(const std::string&)> say;  // A line on each that was made, from any thread.

  // Where something is to be started, nothing is kept before that.
  bool begins_stopped() const;
};

// A writer of events that are counted from the beginning of the run. One thread at a time; traces
// that are asked for in between are written by a thread of its own, from the files.
class FlightRecorder final : public Writer {
 public:
  // `trace`: what close() makes. `names` is the table of the events.
  FlightRecorder(std::string trace, Names& names, FlightOptions options);
  ~FlightRecorder() override;
  FlightRecorder(const FlightRecorder&) = delete;
  FlightRecorder& operator=(const FlightRecorder&) = delete;

  // Before the companion sees the event that add() will be given: begins a part if one is due.
  Status before(const Event& event, Companion& companion);
  Status add(const Event& event) override;
  // After add(): pulls the triggers of what happened.
  void after(const Event& event, Companion& companion);
  // What the triggers of this cause ask for, if any.
  void pull(const std::string& cause);

  // Parts say their state as events.
  Status add_keyframe(std::string_view, std::uint64_t) override { return {}; }
  Status flush() override;
  // Makes the trace, where something is kept, and waits for all that were asked for.
  Status close() override;

  std::uint64_t events() const override { return events_; }
  std::uint64_t written() const override;
  std::uint64_t bytes() const override;

 private:
  using Clock = std::chrono::steady_clock;
  // Its file goes with the last of those who use it, once it was dropped.
  struct Part : FlightPart {
    ~Part();
    Clock::time_point begun;
    std::uint64_t bytes = 0;  // Of the file; of the one being written, at its beginning.
    bool dropped = false;
  };
  using Parts = std::deque<std::shared_ptr<Part>>;

  bool due(const Event& event) const;
  Status begin_part(Companion& companion);
  void drop_old();
  void drop_all();
  void act(Trigger::Act act, const std::string& cause);
  void dump(const std::string& cause);
  Status make_trace(const std::string& path, const Parts& parts, const std::string& cause);

  const std::string trace_;
  Names& names_;
  const FlightOptions options_;
  bool recording_;
  std::uint64_t events_ = 0;
  Parts parts_;
  std::unique_ptr<Writer> writer_;  // Of the last one; null: the next event begins one.
  std::vector<std::pair<std::string, Clock::time_point>> pulled_;  // Causes, and when they came.
  std::thread worker_;
};

}  // namespace pagetape
