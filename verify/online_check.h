// SPDX-License-Identifier: Apache-2.0
// The rules on a trace that is still being recorded: says each rule's first finding as it is made.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "replay/state.h"
#include "verify/judge.h"

namespace pagetape {

// Bounded memory but for the state's. One thread at a time.
class OnlineCheck {
 public:
  // The rule's name, and a line without newline, for each rule's first finding.
  using Say = std::function<void(std::string_view rule, const std::string& line)>;
  // `names` must outlive this.
  OnlineCheck(const Names& names, Say say);
  OnlineCheck(const OnlineCheck&) = delete;
  OnlineCheck& operator=(const OnlineCheck&) = delete;

  // Applies the trace's next event to state(). False from the first one on that cannot: no later
  // event is judged.
  bool see(const Event& event);
  const State& state() const { return state_; }
  // Call once, after the last event: the findings held back until then are not counted.
  std::string verdict();

 private:
  const Names& names_;
  const Say say_;
  State state_;
  Judge judge_;
  std::array<bool, kRuleCount> said_{};
  std::uint64_t events_ = 0;
  std::int64_t begin_ = 0;  // Time of the first event that has one.
  bool has_begin_ = false, good_ = true;
};

}  // namespace pagetape
