// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "verify/blame_trace.h"
#include "verify/fetch.h"
#include "verify/report.h"

namespace pagetape {

std::string grouped(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), ",");
  }
  return digits;
}

namespace {

std::string upper(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return std::toupper(c); });
  return out;
}

std::string verdict_line(const Report& r) {
  std::string out = upper(verdict_name(r.verdict)) + "  " + r.trace + ": ";
  if (!r.findings.empty()) {
    const Finding& f = r.findings.front();
    std::size_t rules = 0;
    for (std::uint64_t n : r.counts) rules += n > 0;
    out += grouped(r.total) + (r.total == 1 ? " finding of " : " findings of ") +
           std::to_string(rules) + (rules == 1 ? " rule; " : " rules; ") +
           "the first: " + place_of(f, *r.names);
  } else if (!r.status.ok()) {
    out += r.status.message();
    if (r.status.code() == Code::kDamaged) {
      out += "; no finding in " + grouped(r.events) + " events that could be judged";
    }
  } else if (!r.missing.empty()) {
    const std::size_t n = r.missing.size();
    out += "no finding, but " + std::to_string(n) +
           (n == 1 ? " required check is missing" : " required checks are missing");
  } else {
    out += "no finding in " + grouped(r.events) + " events, " + grouped(r.launches) + " launches";
  }
  return out + '\n';
}

std::string events_in_words(const Report& r, const std::vector<EventIndex>& events) {
  std::string out;
  for (const Fetched& f : fetch_events(r.trace, *r.names, events)) {
    out += "  event " + grouped(f.index) + ": " + describe(f.event, *r.names) + '\n';
  }
  return out;
}

// A run that CUDA ended need not have a finding: the fault may lie where no event shows it.
std::string cuda_errors(const Report& r) {
  if (r.cuda_errors.empty()) return "";
  constexpr std::size_t kShown = 3;
  const std::vector<EventIndex> first(
      r.cuda_errors.begin(),
      r.cuda_errors.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, r.cuda_errors.size())));
  return "\nCUDA reported " + grouped(r.cuda_errors_total) +
         (r.cuda_errors_total == 1 ? " error" : " errors") +
         (r.cuda_errors_total > kShown ? "; the first:\n" : ":\n") + events_in_words(r, first);
}

// What was on the device when the run ended.
std::string suspects(const Report& r) {
  if (!r.suspects || r.suspects->empty()) return "";
  constexpr std::size_t kShown = 8;
  const std::vector<EventIndex> last(
      r.suspects->end() - static_cast<std::ptrdiff_t>(std::min(kShown, r.suspects->size())),
      r.suspects->end());
  return "\nSuspects: " + grouped(r.suspects_total) +
         (r.suspects_total == 1 ? " launch" : " launches") +
         " begun and not completed when the run ended" +
         (r.suspects_total > kShown ? "; the last:\n" : ":\n") + events_in_words(r, last);
}

// How the first finding of each rule came about: a chain for all of one event. An event that an
// earlier chain has said is only named.
std::string chains(const Report& r) {
  std::vector<Finding> firsts = r.firsts;
  std::ranges::stable_sort(firsts, {}, &Finding::event);
  std::vector<Link> links;
  for (const Finding& f : firsts) {
    links.insert(links.end(), f.blame.begin(), f.blame.end());
    links.emplace_back().event = f.event;
  }
  std::ranges::stable_sort(links, {}, &Link::event);
  annotate(r.trace, *r.names, links);
  std::string out = "\nHow it came about:\n";
  std::set<EventIndex> said;
  for (std::size_t i = 0; i < firsts.size();) {
    const EventIndex at = firsts[i].event;
    if (i > 0) out += '\n';
    std::size_t end = i;
    std::set<EventIndex> events{at};
    for (; end < firsts.size() && firsts[end].event == at; ++end) {
      for (const Link& link : firsts[end].blame) events.insert(link.event);
    }
    std::string above, lines;
    for (EventIndex event : events) {
      const auto link = std::ranges::lower_bound(links, event, {}, &Link::event);
      if (link->sentence.empty()) continue;  // It cannot be read again.
      if (said.insert(event).second) {
        lines += "  event " + grouped(event) + ": " + link->sentence + '\n';
      } else {
        above += (above.empty() ? "" : ", ") + grouped(event);
      }
    }
    if (!above.empty()) out += "  as above: " + above + '\n';
    out += lines;
    for (; i < end; ++i) {
      out += "  -> " + place_of(firsts[i], *r.names) + ": " + firsts[i].message + '\n';
    }
  }
  return out;
}

std::string by_rule(const Report& r) {
  std::string out = "\nFindings by rule:\n";
  for (const Finding& f : r.firsts) {
    const auto i = static_cast<std::size_t>(f.rule);
    std::string name(info(f.rule).name);
    name.resize(16, ' ');
    out += "  " + name + grouped(r.counts[i]) + " of " + grouped(r.judged[i]) +
           " judged; first at event " + grouped(f.event) + ": " + f.message + '\n';
  }
  return out;
}

std::string unchecked(const Report& r) {
  enum class Why : std::uint8_t { kNoEvents, kUnknown, kNothing };
  constexpr std::pair<Why, const char*> kHeads[] = {
      {Why::kNoEvents, "\nNot checked (the trace holds no such events there):\n"},
      {Why::kUnknown, "\nNot checked in part (unknown there, since a gap or for good):\n"},
      {Why::kNothing, "\nNot applicable (nothing to judge):\n"}};
  // One line a rule: objects that lack the same together.
  std::map<std::tuple<Rule, Why, std::string>, std::vector<std::string>> lines;
  for (const NotChecked& n : r.not_checked) {
    std::string object = n.object == kNone ? "the trace" : std::string(r.names->text(n.object));
    if (n.rank != INT64_MIN) object += " (rank " + std::to_string(n.rank) + ')';
    const Why why = !n.applicable ? Why::kNothing : n.unknown ? Why::kUnknown : Why::kNoEvents;
    lines[{n.rule, why, n.needs}].push_back(object);
  }
  std::string out;
  for (const auto& [why, head] : kHeads) {
    std::string part;
    for (const auto& [key, objects] : lines) {
      const auto& [rule, of, needs] = key;
      if (of != why) continue;
      std::string name(info(rule).name);
      name.resize(16, ' ');
      part += "  " + name;
      for (std::size_t i = 0; i < objects.size(); ++i) part += (i == 0 ? "" : ", ") + objects[i];
      if (why != Why::kNothing) part += "  (needs " + needs + ')';
      part += '\n';
    }
    if (!part.empty()) out += head + part;
  }
  return out;
}

}  // namespace

std::string place_of(const Finding& f, const Names& names) {
  const auto s = [&](Name n) { return std::string(names.text(n)); };
  std::string out(info(f.rule).name);
  out += " at event " + grouped(f.event);
  if (f.step >= 0) out += ", step " + grouped(static_cast<std::uint64_t>(f.step));
  if (f.rank != INT64_MIN) out += ", rank " + std::to_string(f.rank);
  if (f.graph != kNone) out += ", graph " + s(f.graph);
  if (f.launch >= 0) out += " launch " + std::to_string(f.launch);
  if (f.backend != kNone) out += ", backend " + s(f.backend);
  if (f.has_layer) {
    out += ", layer " + names.layer(f.layer);
    if (f.logical_layer != f.layer) out += " (logical " + names.layer(f.logical_layer) + ")";
  }
  if (f.req != kNone) out += ", request " + s(f.req);
  if (f.row >= 0) out += ", row " + std::to_string(f.row);
  if (f.column >= 0) out += ", column " + std::to_string(f.column);
  if (f.page != INT64_MIN) out += ", page " + std::to_string(f.page);
  if (f.bound >= 0) out += " of " + std::to_string(f.bound);
  if (f.pool != kNone) out += " in pool " + s(f.pool);
  if (f.object != kNone) out += ", " + s(f.object);
  return out;
}

std::string report_text(const Report& r) {
  std::string out = verdict_line(r) + cuda_errors(r) + suspects(r);
  if (!r.findings.empty()) {
    out += chains(r) + by_rule(r);
    if (r.total > r.findings.size()) {
      out += "\n" + grouped(r.total - r.findings.size()) +
             " more findings are counted and not listed (--max-findings).\n";
    }
    if (!r.status.ok()) {
      const bool damaged = r.status.code() == Code::kDamaged;
      out += (damaged ? "\nBesides: " : "\nReading ended early: ") + r.status.message() + '\n';
    }
  }
  for (const NotChecked& n : r.missing) {
    out += "required, not checked: " + std::string(info(n.rule).name) + " of " +
           std::string(n.object == kNone ? "the trace" : r.names->text(n.object)) + "\n";
  }
  out += unchecked(r);
  for (const std::string& warning : r.warnings) out += "warning: " + warning + '\n';
  return out;
}

}  // namespace pagetape
