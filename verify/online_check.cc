// SPDX-License-Identifier: Apache-2.0
#include "verify/online_check.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "verify/report.h"

namespace pagetape {
namespace {

std::string seconds(std::int64_t ns) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3f s", static_cast<double>(ns) / 1e9);
  return text;
}

}  // namespace

OnlineCheck::OnlineCheck(const Names& names, Say say)
    : names_(names), say_(std::move(say)), state_(names), judge_(names, {}, all_rules()) {}

bool OnlineCheck::see(const Event& event) {
  if (!good_) {
    (void)state_.apply(event);
    return false;
  }
  if (event.t.has_value() && !has_begin_) {
    begin_ = *event.t;
    has_begin_ = true;
  }
  good_ = state_.apply(event, &judge_).applied();
  if (!good_) return false;
  ++events_;
  const auto& counts = judge_.findings().counts();
  for (std::size_t r = 0; r < kRuleCount; ++r) {
    if (counts[r] == 0 || std::exchange(said_[r], true)) continue;
    const Finding& first = *judge_.findings().first(kRules[r].rule);
    // A clock may be set back.
    const std::int64_t since = std::max<std::int64_t>(event.t.value_or(begin_) - begin_, 0);
    const std::string when = event.t.has_value() ? seconds(since) + ": " : "";
    say_(kRules[r].name, when + place_of(first, names_) + ": " + first.message);
  }
  return true;
}

std::string OnlineCheck::verdict() {
  judge_.finish();
  const std::uint64_t total = judge_.findings().total();
  std::string line =
      (total > 0 ? "FAIL: " + grouped(total) + (total == 1 ? " finding" : " findings")
       : good_   ? "no finding"
                 : "INCOMPLETE: no finding") +
      " in " + grouped(events_) + " events and " + grouped(judge_.launches()) + " launches";
  if (!good_) line += "; the next event contradicts those before it, and ended the check";
  std::size_t applicable = 0;
  for (const NotChecked& n : judge_.coverage().not_checked(names_)) applicable += n.applicable;
  if (applicable > 0) {
    line += "; not checked in part: " + std::to_string(applicable) + " (pagetape verify says what)";
  }
  return line;
}

}  // namespace pagetape
