// SPDX-License-Identifier: Apache-2.0
// The report of a comparison, as text and JSON.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "verify/diff.h"
#include "verify/report.h"

namespace pagetape {
namespace {

std::string side_text(const char* name, const std::optional<DiffSide>& side) {
  std::string out = std::string("  ") + name + "  ";
  if (!side) return out + "nothing\n";
  out += "event " + grouped(side->event);
  if (side->step >= 0) out += ", step " + std::to_string(side->step);
  return out + ": " + side->text + '\n';
}

std::string renamed_text(const DiffReport& report) {
  if (report.renamed == 0) return {};
  return " (" + grouped(report.renamed) + " requests of other names were matched by what they do)";
}

nlohmann::ordered_json side_json(const std::optional<DiffSide>& side) {
  if (!side) return nullptr;
  nlohmann::ordered_json out{{"event", side->event}, {"step", nullptr}, {"text", side->text}};
  if (side->step >= 0) out["step"] = side->step;
  return out;
}

}  // namespace

std::string diff_text(const DiffReport& report) {
  if (report.total == 0) {
    return "SAME  " + report.good + " and " + report.bad + ": " + grouped(report.compared) +
           " steps of requests say the same" + renamed_text(report) + "\n";
  }
  std::string out = "DIFFERENT  " + report.good + " and " + report.bad + ": " +
                    grouped(report.total) + " of " + grouped(report.compared) +
                    " steps of requests" + renamed_text(report) + "\n\nThe first, in " +
                    kAspectInfos[static_cast<std::size_t>(report.aspect)].text + ", ";
  out += report.request.empty()
             ? "of the engine itself"
             : "in step " + grouped(report.turn) + " of request " + report.request;
  if (!report.request_in_bad.empty()) out += " (there " + report.request_in_bad + ')';
  if (report.rank != INT64_MIN) out += " on rank " + std::to_string(report.rank);
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
                             {"renamed", report.renamed},
                             {"counts", nlohmann::ordered_json::object()},
                             {"first", nullptr}};
  for (std::size_t a = 0; a < kAspects; ++a) out["counts"][kAspectInfos[a].name] = report.counts[a];
  if (report.total > 0) {
    out["first"] = {{"aspect", kAspectInfos[static_cast<std::size_t>(report.aspect)].name},
                    {"rank", nullptr},
                    {"request", nullptr},
                    {"request_in_bad", nullptr},
                    {"turn", report.turn},
                    {"good", side_json(report.in_good)},
                    {"bad", side_json(report.in_bad)}};
    if (report.rank != INT64_MIN) out["first"]["rank"] = report.rank;
    if (!report.request.empty()) out["first"]["request"] = report.request;
    if (!report.request_in_bad.empty()) out["first"]["request_in_bad"] = report.request_in_bad;
  }
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

}  // namespace pagetape
