// SPDX-License-Identifier: Apache-2.0
// The score in words and as JSON.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "verify/report.h"
#include "verify/selfcheck.h"

namespace pagetape {
namespace {

using Json = nlohmann::ordered_json;

std::string text_of(const Names& names, Name name) {
  return name == kNone ? "the trace" : std::string(names.text(name));
}

// Why no fault of the rule was made.
std::string why_none(const SelfcheckReport& report, Rule rule) {
  std::string objects;
  for (const NotChecked& n : report.unchecked) {
    if (n.rule != rule || !n.applicable) continue;
    objects += (objects.empty() ? "not checked: " : ", ") + text_of(*report.names, n.object) +
               " (needs " + n.needs + ')';
  }
  return objects.empty() ? "the trace has no place for a fault of it" : objects;
}

}  // namespace

std::string selfcheck_text(const SelfcheckReport& report) {
  const Names& names = *report.names;
  if (report.findings > 0) {
    std::string out = report.trace + ": not clean, " + grouped(report.findings) +
                      " findings; a fault can be planted only where there is none\n";
    for (const Finding& f : report.firsts) out += "  " + place_of(f, names) + '\n';
    return out;
  }
  if (!report.status.ok()) return {};
  std::string out = report.full()        ? "FULL SCORE: "
                    : report.made() == 0 ? "NO PLACE FOR A FAULT: "
                                         : "MISSED: ";
  out += grouped(report.found()) + " of " + grouped(report.made()) +
         " planted faults found, seed " + std::to_string(report.seed) + ", " +
         grouped(report.events) + " events\n";
  std::string left_out;
  for (const RuleInfo& info : kRules) {
    const auto r = static_cast<std::size_t>(info.rule);
    const RuleScore& score = report.scores[r];
    if (!report.rules[r]) continue;
    char line[160];
    if (score.made == 0) {
      std::snprintf(line, sizeof line, "  %-16s ", std::string(info.name).c_str());
      left_out += line + why_none(report, info.rule) + '\n';
      continue;
    }
    std::snprintf(line, sizeof line, "  %-16s %4llu of %llu found, %llu made anew\n",
                  std::string(info.name).c_str(), static_cast<unsigned long long>(score.found),
                  static_cast<unsigned long long>(score.made),
                  static_cast<unsigned long long>(score.remade));
    out += line;
  }
  for (const Miss& miss : report.misses) {
    out += "missed: " + std::string(info(miss.rule).name) + " at event " +
           std::to_string(miss.event) + ", " + text_of(names, miss.object) + ": " +
           std::string(miss.mutation) + " (--seed " + std::to_string(report.seed) +
           ", the fault's " + std::to_string(miss.seed) + ")\n";
  }
  if (!left_out.empty()) out += "Left out of the score:\n" + left_out;
  return out;
}

std::string selfcheck_json(const SelfcheckReport& report) {
  const Names& names = *report.names;
  Json rules = Json::object(), misses = Json::array(), left_out = Json::array();
  for (const RuleInfo& info : kRules) {
    const auto r = static_cast<std::size_t>(info.rule);
    const RuleScore& score = report.scores[r];
    if (!report.rules[r]) continue;
    if (score.made == 0) {
      left_out.push_back({{"rule", info.name}, {"why", why_none(report, info.rule)}});
    } else {
      rules[std::string(info.name)] = {
          {"made", score.made}, {"found", score.found}, {"made_anew", score.remade}};
    }
  }
  for (const Miss& miss : report.misses) {
    misses.push_back({{"rule", info(miss.rule).name},
                      {"event", miss.event},
                      {"object", miss.object == kNone ? Json() : Json(names.text(miss.object))},
                      {"mutation", miss.mutation},
                      {"seed", miss.seed}});
  }
  const Json out = {{"schema", 1},
                    {"trace", report.trace},
                    {"full", report.full()},
                    {"seed", report.seed},
                    {"events", report.events},
                    {"findings", report.findings},
                    {"made", report.made()},
                    {"found", report.found()},
                    {"rules", rules},
                    {"left_out", left_out},
                    {"misses", misses},
                    {"error", report.status.ok() ? Json() : Json(report.status.message())}};
  return out.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace pagetape
