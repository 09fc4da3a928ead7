// SPDX-License-Identifier: Apache-2.0
// What goes along with a trace as it is written. Made outside of this folder, which knows no state
// and no rule.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "traces/event.h"
#include "traces/names.h"

namespace pagetape {

struct Keyframe {
  std::string state;
  std::uint64_t digest = 0;
};

class Companion {
 public:
  virtual ~Companion() = default;
  // The state before the event that comes next, where a keyframe is due.
  virtual std::optional<Keyframe> keyframe() = 0;
  // Each event, before it is written.
  virtual void see(const Event& event) = 0;
  // Gives events that say again what was seen so far, so that a trace may begin behind it. `why` is
  // said where something of it is unknown.
  virtual void restate(std::string_view why, const std::function<void(const Event&)>& give) = 0;
  // The rule of which a first finding was made since the last call; "": of none.
  virtual std::string found() { return ""; }
  // After the last event: a line on the whole trace; "": none.
  virtual std::string verdict() { return ""; }
};

// Makes one for a trace whose names are those of the table.
using CompanionFactory = std::function<std::unique_ptr<Companion>(Names&)>;

}  // namespace pagetape
