// SPDX-License-Identifier: Apache-2.0
#include "verify/diff.h"

#include <algorithm>
#include <deque>
#include <map>
#include <tuple>
#include <vector>

#include "verify/request_match.h"
#include "verify/turns.h"

namespace pagetape {
namespace {

// The turns of the first difference; kNever: that side has none there.
struct First {
  EventIndex at = kNever;
  Doer doer;
  EventIndex good = kNever, bad = kNever;  // Their first events.
};

// Goes over both traces side by side. What one side did and the other not yet waits here: as much
// as they are apart, not as they are long.
class Alignment {
 public:
  Alignment(const Aliases& aliases, const DiffWatch& watch, DiffReport& report)
      : aliases_(aliases), watch_(watch), report_(report) {}

  void go(Turns& good, Turns& bad);
  const First& first() const { return first_; }

 private:
  using Queue = std::deque<Turn>;
  struct Pair {
    Queue good, bad;
  };

  void take(Turns& side, bool is_good);
  void settle(const Doer& doer, Pair& pair);
  void compare(const Doer& doer, Pair& pair, std::size_t goods, std::size_t bads);
  static std::pair<std::size_t, std::size_t> until_alike(const Pair& pair);

  static constexpr std::size_t kFarthest = 128;
  const Aliases& aliases_;
  const DiffWatch& watch_;
  DiffReport& report_;
  First first_;
  std::map<Doer, Pair> waiting_;
  bool good_ended_ = false, bad_ended_ = false;
};

void Alignment::go(Turns& good, Turns& bad) {
  while (!good_ended_ || !bad_ended_) {
    const bool of_good = bad_ended_ || (!good_ended_ && good.steps() <= bad.steps());
    take(of_good ? good : bad, of_good);
  }
  for (auto& [doer, pair] : waiting_) settle(doer, pair);
}

void Alignment::take(Turns& side, bool is_good) {
  std::vector<std::pair<Doer, Turn>> turns;
  if (!side.next(turns)) (is_good ? good_ended_ : bad_ended_) = true;
  for (auto& [doer, turn] : turns) {
    if (!is_good) doer.request = alias_of(aliases_, doer.request);
    const auto at = waiting_.try_emplace(doer).first;
    (is_good ? at->second.good : at->second.bad).push_back(turn);
    settle(doer, at->second);
    if (at->second.good.empty() && at->second.bad.empty()) waiting_.erase(at);
  }
}

// How many turns of the good and of the bad side to pass over until both say the same again: the
// fewest. Without such a place nearby, one of each.
std::pair<std::size_t, std::size_t> Alignment::until_alike(const Pair& pair) {
  for (std::size_t sum = 1; sum <= kFarthest; ++sum) {
    for (std::size_t g = 0; g <= sum; ++g) {
      const std::size_t b = sum - g;
      if (g < pair.good.size() && b < pair.bad.size() && pair.good[g].said == pair.bad[b].said) {
        return {g, b};
      }
    }
  }
  return {1, 1};
}

// Compares what both sides have shown. A request's steps stand side by side; what the engine does
// besides its requests may be more or less on one side.
void Alignment::settle(const Doer& doer, Pair& pair) {
  while (!pair.good.empty() || !pair.bad.empty()) {
    const bool more_good = !good_ended_, more_bad = !bad_ended_;
    if ((pair.good.empty() && more_good) || (pair.bad.empty() && more_bad)) return;
    const bool both = !pair.good.empty() && !pair.bad.empty();
    if (!both || !doer.request.empty() || pair.good.front().said == pair.bad.front().said) {
      compare(doer, pair, 1, 1);
      continue;
    }
    if ((pair.good.size() <= kFarthest && more_good) ||
        (pair.bad.size() <= kFarthest && more_bad)) {
      return;
    }
    const auto [goods, bads] = until_alike(pair);
    compare(doer, pair, goods, bads);
  }
}

void Alignment::compare(const Doer& doer, Pair& pair, std::size_t goods, std::size_t bads) {
  goods = std::min(goods, pair.good.size());
  bads = std::min(bads, pair.bad.size());
  for (; goods > 0 || bads > 0; goods -= goods > 0, bads -= bads > 0) {
    const Turn g = goods > 0 ? pair.good.front() : Turn{};
    const Turn b = bads > 0 ? pair.bad.front() : Turn{};
    if (goods > 0) pair.good.pop_front();
    if (bads > 0) pair.bad.pop_front();
    ++report_.compared;
    if (watch_.on_pair) watch_.on_pair({g.event, b.event, g.said != b.said});
    if (g.said == b.said) continue;
    ++report_.total;
    for (std::size_t a = 0; a < kAspects; ++a) report_.counts[a] += g.said[a] != b.said[a];
    const EventIndex at = std::min(g.event, b.event);
    if (std::tie(at, doer) < std::tie(first_.at, first_.doer))
      first_ = {at, doer, g.event, b.event};
  }
}

Status comparable(const DiffReport& report, const Turns& good, const Turns& bad, bool any_engine) {
  for (const auto* side : {&good, &bad}) {
    if (side->deeds() > 0) continue;
    return usage((side == &good ? report.good : report.bad) +
                 ": nothing to compare: it holds none of pool, backend, alloc, table, lens, "
                 "attention, store, graph_launch");
  }
  const auto differ = [](const std::string& a, const std::string& b) {
    return !a.empty() && !b.empty() && a != b;
  };
  if (any_engine ||
      (!differ(good.engine(), bad.engine()) && !differ(good.version(), bad.version()))) {
    return {};
  }
  return usage("the traces are of different engines or versions: " + report.good + " of " +
               good.engine() + ' ' + good.version() + ", " + report.bad + " of " + bad.engine() +
               ' ' + bad.version() + " (--any-engine compares them nevertheless)");
}

struct Told {
  Deed deed;
  DiffSide side;
};

// What is done in the turn that begins with that event; and how many turns of the same doer came
// before it.
Status turn_of(const std::string& path, const Aliases& aliases, const DiffWatch& watch,
               const Doer& doer, EventIndex turn, std::vector<Told>& out, std::uint64_t& before) {
  before = 0;
  EventIndex last = kNever;
  Turns turns(path, aliases, watch.goes_on,
              [&](const Doer& who, EventIndex at, const Deed& deed, DiffSide side) {
                if (who.rank != doer.rank || alias_of(aliases, who.request) != doer.request) return;
                if (at == turn) out.push_back({deed, std::move(side)});
                before += at != last && at < turn;
                last = at;
              });
  std::vector<std::pair<Doer, Turn>> some;
  while ((turn != kNever && (last == kNever || last <= turn)) && turns.next(some)) some.clear();
  return turns.status();
}

// The first deed of that turn that the sides do not share.
Status show_first(const First& first, const Aliases& aliases, const DiffWatch& watch,
                  DiffReport& report) {
  const Aliases none;
  std::vector<Told> good, bad;
  std::uint64_t before_good = 0, before_bad = 0;
  Status status = turn_of(report.good, none, watch, first.doer, first.good, good, before_good);
  if (status.ok()) {
    status = turn_of(report.bad, aliases, watch, first.doer, first.bad, bad, before_bad);
  }
  if (!status.ok()) return status;
  report.rank = first.doer.rank;
  report.request = first.doer.request;
  for (const auto& [theirs, ours] : aliases) {
    if (ours == report.request) report.request_in_bad = theirs;
  }
  report.turn = first.good == kNever ? before_bad : before_good;
  std::size_t i = 0;
  while (i < std::min(good.size(), bad.size()) && good[i].deed.text == bad[i].deed.text) ++i;
  if (i < good.size()) report.in_good = good[i].side;
  if (i < bad.size()) report.in_bad = bad[i].side;
  if (i < good.size() || i < bad.size()) {
    report.aspect = (i < good.size() ? good[i] : bad[i]).deed.aspect;
  }
  return {};
}

}  // namespace

DiffReport diff_traces(const std::string& good, const std::string& bad, bool any_engine,
                       const DiffWatch& watch) {
  DiffReport report;
  report.good = good;
  report.bad = bad;
  Aliases aliases;
  report.status = match_requests(good, bad, watch.goes_on, aliases);
  if (!report.status.ok()) return report;
  report.renamed = aliases.size();
  const Aliases none;
  Turns g(good, none, watch.goes_on), b(bad, aliases, watch.goes_on);
  Alignment alignment(aliases, watch, report);
  alignment.go(g, b);
  for (const Turns* side : {&g, &b}) {
    if (report.status.ok()) report.status = side->status();
  }
  if (report.status.ok()) report.status = comparable(report, g, b, any_engine);
  if (report.status.ok() && report.total > 0) {
    report.status = show_first(alignment.first(), aliases, watch, report);
  }
  return report;
}

}  // namespace pagetape
