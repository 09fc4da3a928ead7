// SPDX-License-Identifier: Apache-2.0
// A broken rule, and the keeper of those that a report shows.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "replay/world.h"
#include "traces/names.h"
#include "verify/blame.h"
#include "verify/rules.h"

namespace pagetape {

// A copyable value. -1, kNone and kNever: not known, or does not apply (null in JSON).
struct Finding {
  Rule rule = Rule::kOobPage;
  EventIndex event = kNever;
  std::int64_t launch = -1;  // Within a graph launch.
  std::int64_t rank = INT64_MIN;
  std::int64_t step = -1;
  Name backend = kNone;
  bool has_layer = false;
  Layer layer, logical_layer;  // Physical; as the launch said it.
  Name req = kNone;
  std::int64_t row = -1;
  std::int64_t column = -1;
  std::int64_t page = INT64_MIN;  // INT64_MIN: none.
  std::int64_t bound = -1;        // Pages of the pool bound.
  Name pool = kNone;
  std::int64_t slot = INT64_MIN;
  Name op = kNone, graph = kNone, map = kNone, buffer = kNone, object = kNone;
  std::string message;
  std::vector<EventIndex> cause;  // Oldest first.
  std::vector<Link> blame;        // The chain of last writers, of each rule's first finding.

  bool operator==(const Finding&) const = default;
  // The same finding with the names of another table.
  void rename(Renaming& renamed);
  // Stable over runs of the same trace, and unique within it.
  std::string id(const Names& names) const;
};

// Orders findings as reports list them: event, launch, row, column, rule, layer, page. Those alike
// stay in the order in which they were found, so that no order hangs on how names are numbered.
bool earlier(const Finding& a, const Finding& b);

// Counts every finding and keeps the earliest `limit` (0: all), and each rule's first. Bounded
// memory: what lies beyond the limit is counted only.
class Findings {
 public:
  explicit Findings(std::size_t limit) : limit_(limit) {}

  // `finding` without message, cause and blame, which `complete(finding, first)` adds where it is
  // kept. `first`: it is the earliest of its rule so far.
  template <class F>
  void add(Finding&& finding, F&& complete) {
    const auto r = static_cast<std::size_t>(finding.rule);
    ++counts_[r];
    if (watch_) watch_(finding);
    const bool first = first_[r].empty() || earlier(finding, first_[r][0]);
    const bool keep = limit_ == 0 || !full_ || earlier(finding, last_);
    if (!first && !keep) return;
    complete(finding, first);
    if (first) first_[r].assign(1, finding);
    if (keep) {
      kept_.push_back(std::move(finding));
      if (limit_ != 0 && kept_.size() >= 2 * limit_ + 64) trim();
    }
  }

  // Told of each that is added, kept or not, without message, cause and blame.
  void watch(std::function<void(const Finding&)> watch) { watch_ = std::move(watch); }

  // Takes over another keeper's findings and counts (of rules that were held back).
  void merge(Findings&& other);
  // The same where they are of the events that follow, judged apart with other names.
  void append(Findings&& later, Renaming& renamed);

  // The kept ones in order, at most `limit`.
  std::vector<Finding> sorted();
  const std::array<std::uint64_t, kRuleCount>& counts() const { return counts_; }
  std::uint64_t total() const;
  // The earliest finding of a rule; null where it has none.
  const Finding* first(Rule rule) const {
    const auto& f = first_[static_cast<std::size_t>(rule)];
    return f.empty() ? nullptr : &f[0];
  }

 private:
  void trim();

  std::size_t limit_;
  std::function<void(const Finding&)> watch_;
  bool full_ = false;
  Finding last_;  // Once full: the latest of the kept.
  std::vector<Finding> kept_;
  std::array<std::vector<Finding>, kRuleCount> first_;
  std::array<std::uint64_t, kRuleCount> counts_{};
};

}  // namespace pagetape
