// SPDX-License-Identifier: Apache-2.0
#include "verify/replay_report.h"

#include <cinttypes>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "verify/report.h"

namespace pagetape {
namespace {

using Json = nlohmann::ordered_json;

// "1 step", "2 steps".
std::string counted(std::uint64_t n, const std::string& one, const std::string& many) {
  return grouped(n) + ' ' + (n == 1 ? one : many);
}

std::string hex(std::uint64_t digest) {
  char text[17];
  std::snprintf(text, sizeof text, "%016" PRIx64, digest);
  return text;
}

std::string finding_text(const ReplayFinding& f, const Names& names) {
  const auto s = [&](Name name) { return std::string(names.text(name)); };
  std::string out = "  event " + std::to_string(f.event);
  if (f.launch >= 0) out += ", launch " + std::to_string(f.launch) + " of the graph";
  out += ", layer " + names.layer(f.layer) + (f.layers > 1 ? " and others" : "") + ", row " +
         std::to_string(f.row) + ", column " + std::to_string(f.column) + " (" +
         (f.req == kNone ? "padding" : s(f.req)) + "): id " + std::to_string(f.id);
  if (f.outside) {
    return out + " is outside pool " + s(f.pool) + " of " + std::to_string(f.bound) + '\n';
  }
  if (f.owner != kNone) return out + " belongs to " + s(f.owner) + '\n';
  return out + " is not the request's\n";
}

Json name_json(Name name, const Names& names) {
  return name == kNone ? Json(nullptr) : Json(names.text(name));
}

Json finding_json(const ReplayFinding& f, const Names& names) {
  return {{"event", f.event},
          {"launch", f.launch < 0 ? Json(nullptr) : Json(f.launch)},
          {"layer", names.layer(f.layer)},
          {"layers", f.layers},
          {"row", f.row},
          {"column", f.column},
          {"req", name_json(f.req, names)},
          {"id", f.id},
          {"pool", name_json(f.pool, names)},
          {"bound", f.bound},
          {"outside", f.outside},
          {"owner", name_json(f.owner, names)}};
}

}  // namespace

std::string replay_text(const ReplayReport& report, std::size_t max_findings) {
  std::string out = std::string(report.findings.empty() ? "DONE" : "FAIL") + "  " + report.trace +
                    " on " + report.machine + ": " +
                    counted(report.launches, "launch", "launches") + " in " +
                    counted(static_cast<std::uint64_t>(report.passes), "pass", "passes") + ", " +
                    counted(report.steps.size(), "step", "steps") + "\ndigest " +
                    hex(report.digest) + "  (" + report.digest_name + ")\n";
  for (const std::string& pool : report.assumed) {
    out +=
        "Pool " + pool + " has no geometry in the trace: one head of 64 bf16 numbers is assumed.\n";
  }
  for (const auto& [why, what] : report.not_executed) {
    out += "Not executed: " + counted(what.launches, "launch", "launches") +
           ", the first at event " + std::to_string(what.first) + ": " + why + ".\n";
  }
  if (report.findings.empty()) return out;
  out += '\n' + counted(report.findings.size(), "use of an id", "uses of ids") +
         " that a launch must not use; the first:\n";
  for (std::size_t i = 0; i < report.findings.size() && i < max_findings; ++i) {
    out += finding_text(report.findings[i], *report.names);
  }
  return out;
}

std::string replay_json(const ReplayReport& report, std::size_t max_findings,
                        const CrossCheck* check) {
  Json findings = Json::array(), not_executed = Json::array();
  for (std::size_t i = 0; i < report.findings.size() && i < max_findings; ++i) {
    findings.push_back(finding_json(report.findings[i], *report.names));
  }
  for (const auto& [why, what] : report.not_executed) {
    not_executed.push_back({{"why", why}, {"launches", what.launches}, {"first", what.first}});
  }
  Json json = {{"schema", 1},
               {"trace", report.trace},
               {"machine", report.machine},
               {"launches", report.launches},
               {"passes", report.passes},
               {"steps", report.steps.size()},
               {"digest", hex(report.digest)},
               {"digest_of", report.digest_name},
               {"uses_found", report.findings.size()},
               {"findings", std::move(findings)},
               {"not_executed", std::move(not_executed)},
               {"assumed_geometry", report.assumed}};
  json["crosscheck"] = check == nullptr
                           ? Json(nullptr)
                           : Json({{"agreed", check->agreed}, {"differing", check->differing}});
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

std::string crosscheck_text(const CrossCheck& check) {
  if (check.differing == 0 && check.agreed == 0) return "";
  if (check.differing == 0) {
    return "The verifier finds the same " + counted(check.agreed, "use", "uses") + ".\n";
  }
  std::string out = "The verifier says otherwise of " + counted(check.differing, "use", "uses") +
                    ": this is a defect of pagetape itself.\n";
  for (const std::string& difference : check.differences) out += "  " + difference + '\n';
  return out;
}

}  // namespace pagetape
