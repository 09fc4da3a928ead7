// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>

#include "verify/report.h"

namespace pagetape {
namespace {

std::string grouped(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), ",");
  }
  return digits;
}

std::string upper(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return std::toupper(c); });
  return out;
}

// "OOB_PAGE at event 9, layer 22 (logical a0) of backend d, request A, row 0, column 1"
std::string where(const Finding& f, const Names& names) {
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

std::string verdict_line(const Report& r) {
  std::string out = upper(verdict_name(r.verdict)) + "  " + r.trace + ": ";
  if (!r.findings.empty()) {
    const Finding& f = r.findings.front();
    std::size_t rules = 0;
    for (std::uint64_t n : r.counts) rules += n > 0;
    out += grouped(r.total) + (r.total == 1 ? " finding of " : " findings of ") +
           std::to_string(rules) + (rules == 1 ? " rule; " : " rules; ") +
           "the first: " + where(f, *r.names);
  } else if (!r.status.ok()) {
    out += r.status.message();
    if (r.status.code() == Code::kDamaged) {
      out += "; no finding in " + grouped(r.events) + " events that could be judged";
    }
  } else if (!r.missing.empty()) {
    out += "no finding, but " + std::to_string(r.missing.size()) + " required checks are missing";
  } else {
    out += "no finding in " + grouped(r.events) + " events, " + grouped(r.launches) + " launches";
  }
  return out + '\n';
}

// What was on the device when the run ended.
std::string suspects(const Report& r) {
  if (!r.suspects || r.suspects->empty()) return "";
  constexpr std::size_t kShown = 8;
  const std::vector<EventIndex> last(
      r.suspects->end() - static_cast<std::ptrdiff_t>(std::min(kShown, r.suspects->size())),
      r.suspects->end());
  std::string out = "\nSuspects: " + grouped(r.suspects_total) +
                    (r.suspects_total == 1 ? " launch" : " launches") +
                    " begun and not completed when the run ended" +
                    (r.suspects_total > kShown ? "; the last:\n" : ":\n");
  for (const auto& [index, event] : fetch_events(r.trace, *r.names, last)) {
    out += "  event " + grouped(index) + ": " + describe(event, *r.names) + '\n';
  }
  return out;
}

// How the earliest finding came about, event by event, then what the same event broke besides.
std::string chain(const Report& r) {
  const Finding& f = r.findings.front();
  std::vector<EventIndex> wanted = f.cause;
  // The other rules' firsts at the same event know more of the story (a table's cell, a map).
  for (const Finding& other : r.firsts) {
    if (other.event == f.event) wanted.insert(wanted.end(), other.cause.begin(), other.cause.end());
  }
  std::ranges::sort(wanted);
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  std::vector<EventIndex> fetched = wanted;
  fetched.push_back(f.event);
  const auto events = fetch_events(r.trace, *r.names, fetched);
  std::string out = "\nHow it came about:\n";
  for (const auto& [index, event] : events) {
    out += "  event " + grouped(index) + ": " + describe(event, *r.names) + '\n';
  }
  for (const Finding& other : r.firsts) {
    if (other.event != f.event) continue;
    out += "  -> " + where(other, *r.names) + ": " + other.message + '\n';
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
  // One line a rule: objects that lack the same events together.
  std::map<std::pair<Rule, bool>, std::vector<std::string>> lines;
  for (const NotChecked& n : r.not_checked) {
    std::string object = n.object == kNone ? "the trace" : std::string(r.names->text(n.object));
    if (n.rank != INT64_MIN) object += " (rank " + std::to_string(n.rank) + ')';
    lines[{n.rule, n.applicable}].push_back(object);
  }
  std::string out;
  for (const bool applicable : {true, false}) {
    std::string part;
    for (const auto& [key, objects] : lines) {
      if (key.second != applicable) continue;
      std::string name(info(key.first).name);
      name.resize(16, ' ');
      part += "  " + name;
      for (std::size_t i = 0; i < objects.size(); ++i) part += (i == 0 ? "" : ", ") + objects[i];
      if (applicable) part += "  (needs " + std::string(info(key.first).needs) + ')';
      part += '\n';
    }
    if (part.empty()) continue;
    out += (applicable ? "\nNot checked (the trace holds no such events there):\n"
                       : "\nNot applicable (nothing to judge):\n") +
           part;
  }
  return out;
}

}  // namespace

std::string report_text(const Report& r) {
  std::string out = verdict_line(r) + suspects(r);
  if (!r.findings.empty()) {
    out += chain(r) + by_rule(r);
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
