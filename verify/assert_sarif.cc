// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "verify/assert_traces.h"

namespace pagetape {
namespace {

using Json = nlohmann::ordered_json;

// A path as a relative reference, or as a file URI where it is absolute.
std::string uri_of(const std::string& path) {
  std::string out = path.starts_with('/') ? "file://" : "";
  for (char c : path) {
    constexpr std::string_view kPlain = "-._~/!$&'()*+,;=@";
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       kPlain.find(c) != std::string_view::npos;
    constexpr const char* kHex = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(c);
    if (plain) {
      out += c;
    } else {
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

Json text(std::string_view words) { return {{"text", words}}; }

Json event_place(EventIndex event) {
  const std::string name = "event " + std::to_string(event);
  return Json::array({{{"name", name}, {"fullyQualifiedName", name}, {"kind", "event"}}});
}

Json location(const std::string& trace, EventIndex event, std::uint64_t line) {
  Json out;
  out["physicalLocation"]["artifactLocation"]["uri"] = uri_of(trace);
  if (line > 0) out["physicalLocation"]["region"]["startLine"] = line;
  if (event != kNever) out["logicalLocations"] = event_place(event);
  return out;
}

std::size_t rule_index(const Problem& p) {
  switch (p.kind) {
    case Problem::Kind::kDamaged:
      return kRuleCount;
    case Problem::Kind::kUnreadable:
      return kRuleCount + 1;
    default:
      return static_cast<std::size_t>(p.rule);
  }
}

Json result(const std::string& trace, const Problem& p) {
  Json out;
  out["ruleId"] = p.title();
  out["ruleIndex"] = rule_index(p);
  out["level"] = "error";
  out["message"] = text(p.sentence());
  out["locations"] = Json::array({location(trace, p.event, p.line)});
  for (EventIndex cause : p.cause) {
    Json from = location(trace, cause, 0);
    from["message"] = text("event " + std::to_string(cause) + " brought it about");
    out["relatedLocations"].push_back(std::move(from));
  }
  out["partialFingerprints"] = {{"pagetape/v1", p.id}};
  return out;
}

Json rules() {
  Json out = Json::array();
  const auto add = [&](std::string_view id, std::string_view sentence) {
    out.push_back({{"id", id},
                   {"shortDescription", text(sentence)},
                   {"defaultConfiguration", {{"level", "error"}}}});
  };
  for (const RuleInfo& rule : kRules) add(rule.name, rule.sentence);
  add("DAMAGED", "The file is as it was written.");
  add("UNREADABLE", "The file is a trace, and can be read to its end.");
  return out;
}

}  // namespace

std::string assert_sarif(const std::vector<TraceResult>& results) {
  Json run;
  run["tool"]["driver"] = {{"name", "pagetape"}, {"rules", rules()}};
  run["artifacts"] = Json::array();
  run["results"] = Json::array();
  for (const TraceResult& r : results) {
    run["artifacts"].push_back({{"location", {{"uri", uri_of(r.trace)}}}});
    for (const Problem& p : r.problems) run["results"].push_back(result(r.trace, p));
  }
  Json out;
  out["$schema"] = "https://json.schemastore.org/sarif-2.1.0.json";
  out["version"] = "2.1.0";
  out["runs"] = Json::array({std::move(run)});
  // A name of a binary trace need not be UTF-8.
  return out.dump(1, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace pagetape
