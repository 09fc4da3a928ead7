// SPDX-License-Identifier: Apache-2.0
#include "verify/diff.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <tuple>
#include <vector>

#include "traces/source.h"
#include "verify/meaning.h"
#include "verify/report.h"

namespace pagetape {
namespace {

// What a request does in one step (of the engine: one event), as hashes by aspect.
struct Turn {
  std::array<std::uint64_t, kAspects> said{};
  EventIndex event = kNever;  // The first of it.
  std::int64_t step = -1;
  std::uint64_t seen_step = 0;  // How many steps had begun.
};

struct Side {
  std::string engine, version;
  std::map<std::string, std::vector<Turn>> turns;  // By request; "": the engine.
  std::uint64_t deeds = 0;
};

using OnDeed = std::function<void(const std::string& req, std::uint64_t turn, const Deed& deed,
                                  EventIndex event, std::int64_t step)>;

Status go_over(const std::string& path, Side& side, const DiffWatch& watch, const OnDeed& on_deed) {
  Names names;
  Status status;
  const std::unique_ptr<Source> source = open_trace(path, names, status);
  if (source == nullptr) return status;
  Meaning meaning(names);
  Event event;
  std::int64_t step = -1;
  std::uint64_t steps = 0;
  const auto tell = [&](Deed&& deed) {
    const std::string req(names.text(deed.req));
    std::vector<Turn>& turns = side.turns[req];
    if (turns.empty() || req.empty() || turns.back().seen_step != steps) {
      turns.push_back({.event = source->position() - 1, .step = step, .seen_step = steps});
    }
    std::uint64_t& said = turns.back().said[static_cast<std::size_t>(deed.aspect)];
    said = (said * 0x9e3779b97f4a7c15u) ^ (std::hash<std::string>()(deed.text) + 1);
    ++side.deeds;
    if (on_deed) on_deed(req, turns.size() - 1, deed, source->position() - 1, step);
  };
  constexpr EventIndex kAsk = 1024;
  while (source->next(event)) {
    if (source->position() % kAsk == 0 && watch.goes_on && !watch.goes_on(source->position())) {
      return usage(path + ": comparing it was stopped");
    }
    if (const auto* header = std::get_if<ev::Header>(&event.body)) {
      side.engine = names.text(header->engine);
      side.version = names.text(header->engine_version);
    }
    if (const auto* s = std::get_if<ev::Step>(&event.body)) {
      step = s->step;
      ++steps;
    }
    meaning.see(event, tell);
  }
  return source->status();
}

Status comparable(const DiffReport& report, const Side& good, const Side& bad, bool any_engine) {
  for (const auto* side : {&good, &bad}) {
    if (side->deeds > 0) continue;
    return usage((side == &good ? report.good : report.bad) +
                 ": nothing to compare: it holds none of pool, backend, alloc, table, lens, "
                 "attention, store, graph_launch");
  }
  const auto differ = [](const std::string& a, const std::string& b) {
    return !a.empty() && !b.empty() && a != b;
  };
  if (any_engine || (!differ(good.engine, bad.engine) && !differ(good.version, bad.version))) {
    return {};
  }
  return usage("the traces are of different engines or versions: " + report.good + " of " +
               good.engine + ' ' + good.version + ", " + report.bad + " of " + bad.engine + ' ' +
               bad.version + " (--any-engine compares them nevertheless)");
}

// The turns of the first difference; kNever: that side has none there.
struct First {
  EventIndex at = kNever;
  std::string req;
  std::uint64_t good = kNever, bad = kNever;
};

using Turns = std::vector<Turn>;

// How many turns of the good and of the bad side to pass over until both say the same again: the
// fewest. Without such a place nearby, one of each.
std::pair<std::size_t, std::size_t> until_alike(const Turns& good, std::size_t i, const Turns& bad,
                                                std::size_t j) {
  constexpr std::size_t kFarthest = 128;
  for (std::size_t sum = 1; sum <= kFarthest; ++sum) {
    for (std::size_t g = 0; g <= sum; ++g) {
      const std::size_t b = sum - g;
      if (i + g < good.size() && j + b < bad.size() && good[i + g].said == bad[j + b].said) {
        return {g, b};
      }
    }
  }
  return {1, 1};
}

// Counts the turns that differ, by aspect, and finds the one that comes first. What the engine does
// besides its requests may be more or less on one side; a request's steps stand side by side.
void compare_turns(const std::string& req, const Turns& good, const Turns& bad,
                   const DiffWatch& watch, DiffReport& report, First& first) {
  std::size_t i = 0, j = 0;
  while (i < good.size() || j < bad.size()) {
    std::size_t more_good = 1, more_bad = 1;
    const bool both = i < good.size() && j < bad.size();
    if (both && req.empty() && good[i].said != bad[j].said) {
      std::tie(more_good, more_bad) = until_alike(good, i, bad, j);
    }
    const std::size_t end_good = std::min(i + more_good, good.size());
    const std::size_t end_bad = std::min(j + more_bad, bad.size());
    while (i < end_good || j < end_bad) {
      const Turn g = i < end_good ? good[i] : Turn{}, b = j < end_bad ? bad[j] : Turn{};
      ++report.compared;
      if (watch.on_pair) watch.on_pair({g.event, b.event, g.said != b.said});
      if (g.said != b.said) {
        ++report.total;
        for (std::size_t a = 0; a < kAspects; ++a) report.counts[a] += g.said[a] != b.said[a];
        const EventIndex at = std::min(g.event, b.event);
        if (at < first.at) {
          first = {at, req, i < end_good ? i : kNever, j < end_bad ? j : kNever};
        }
      }
      i += i < end_good;
      j += j < end_bad;
    }
  }
}

struct Told {
  Deed deed;
  DiffSide side;
};

Status turn_of(const std::string& path, const std::string& of, std::uint64_t which,
               const DiffWatch& watch, std::vector<Told>& out) {
  Side side;
  return go_over(path, side, watch,
                 [&](const std::string& req, std::uint64_t turn, const Deed& deed, EventIndex event,
                     std::int64_t step) {
                   if (turn != which || req != of) return;
                   out.push_back({deed, {event, step, deed.text}});
                 });
}

// The first deed of that turn that the sides do not share.
Status show_first(const First& first, const DiffWatch& watch, DiffReport& report) {
  std::vector<Told> good, bad;
  Status status = turn_of(report.good, first.req, first.good, watch, good);
  if (status.ok()) status = turn_of(report.bad, first.req, first.bad, watch, bad);
  if (!status.ok()) return status;
  report.request = first.req;
  report.turn = std::min(first.good, first.bad);
  std::size_t i = 0;
  while (i < std::min(good.size(), bad.size()) && good[i].deed.text == bad[i].deed.text) ++i;
  if (i < good.size()) report.in_good = good[i].side;
  if (i < bad.size()) report.in_bad = bad[i].side;
  if (i < good.size() || i < bad.size()) {
    report.aspect = (i < good.size() ? good[i] : bad[i]).deed.aspect;
  }
  return {};
}

std::string side_text(const char* name, const std::optional<DiffSide>& side) {
  std::string out = std::string("  ") + name + "  ";
  if (!side) return out + "nothing\n";
  out += "event " + grouped(side->event);
  if (side->step >= 0) out += ", step " + std::to_string(side->step);
  return out + ": " + side->text + '\n';
}

nlohmann::ordered_json side_json(const std::optional<DiffSide>& side) {
  if (!side) return nullptr;
  nlohmann::ordered_json out{{"event", side->event}, {"step", nullptr}, {"text", side->text}};
  if (side->step >= 0) out["step"] = side->step;
  return out;
}

}  // namespace

DiffReport diff_traces(const std::string& good, const std::string& bad, bool any_engine,
                       const DiffWatch& watch) {
  DiffReport report;
  report.good = good;
  report.bad = bad;
  Side g, b;
  report.status = go_over(good, g, watch, nullptr);
  if (report.status.ok()) report.status = go_over(bad, b, watch, nullptr);
  if (report.status.ok()) report.status = comparable(report, g, b, any_engine);
  if (!report.status.ok()) return report;
  First first;
  static const std::vector<Turn> kNothing;
  for (const auto& [req, turns] : g.turns) {
    const auto other = b.turns.find(req);
    compare_turns(req, turns, other == b.turns.end() ? kNothing : other->second, watch, report,
                  first);
  }
  for (const auto& [req, turns] : b.turns) {
    if (!g.turns.contains(req)) compare_turns(req, kNothing, turns, watch, report, first);
  }
  if (report.total > 0) report.status = show_first(first, watch, report);
  return report;
}

std::string diff_text(const DiffReport& report) {
  if (report.total == 0) {
    return "SAME  " + report.good + " and " + report.bad + ": " + grouped(report.compared) +
           " steps of requests say the same\n";
  }
  std::string out = "DIFFERENT  " + report.good + " and " + report.bad + ": " +
                    grouped(report.total) + " of " + grouped(report.compared) +
                    " steps of requests\n\nThe first, in " +
                    kAspectInfos[static_cast<std::size_t>(report.aspect)].text + ", ";
  out += report.request.empty()
             ? "of the engine itself"
             : "in step " + grouped(report.turn) + " of request " + report.request;
  out += ":\n" + side_text("good", report.in_good) + side_text("bad ", report.in_bad);
  out += "\nSteps of requests that differ, by what differs:\n";
  for (std::size_t a = 0; a < kAspects; ++a) {
    std::string name = kAspectInfos[a].text;
    name.resize(std::max<std::size_t>(name.size(), 32), ' ');
    out += "  " + name + grouped(report.counts[a]) + '\n';
  }
  return out;
}

std::string diff_json(const DiffReport& report) {
  nlohmann::ordered_json out{{"schema", 1},
                             {"good", report.good},
                             {"bad", report.bad},
                             {"compared", report.compared},
                             {"different", report.total},
                             {"counts", nlohmann::ordered_json::object()},
                             {"first", nullptr}};
  for (std::size_t a = 0; a < kAspects; ++a) out["counts"][kAspectInfos[a].name] = report.counts[a];
  if (report.total > 0) {
    out["first"] = {{"aspect", kAspectInfos[static_cast<std::size_t>(report.aspect)].name},
                    {"request", nullptr},
                    {"turn", report.turn},
                    {"good", side_json(report.in_good)},
                    {"bad", side_json(report.in_bad)}};
    if (!report.request.empty()) out["first"]["request"] = report.request;
  }
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

}  // namespace pagetape
