// SPDX-License-Identifier: Apache-2.0
// What was explored, in words and as JSON.
#include <nlohmann/json.hpp>

#include "verify/explore.h"
#include "verify/report.h"

namespace pagetape {
namespace {

using Json = nlohmann::ordered_json;

std::string verdict_of(const ExploreReport& report) {
  if (!report.status.ok()) return report.status.code() == Code::kDamaged ? "damaged" : "incomplete";
  if (!report.hazards.empty()) return "hazard";
  if (!report.unchecked.empty()) return "not checked";
  return report.recorded > 0 ? "fail" : "pass";
}

std::string counted(std::uint64_t n, const char* one, const char* many) {
  return grouped(n) + ' ' + (n == 1 ? one : many);
}

std::string headline(const ExploreReport& r) {
  const std::string tried = counted(r.orders, "order", "orders") + " tried, " +
                            counted(r.judged, "event", "events") + " judged in them";
  if (!r.hazards.empty()) {
    return "HAZARD  " + r.trace + ": " +
           counted(r.hazard_kinds, "kind of hazard", "kinds of hazards") +
           " that did not happen this time; " + grouped(r.hazardous) + " of " + tried + '\n';
  }
  if (!r.unchecked.empty()) return "NOT CHECKED  " + r.trace + ": " + r.unchecked + '\n';
  if (r.conflicts == 0) {
    return "PASS  " + r.trace + ": no two unordered events touch the same page or buffer, in " +
           counted(r.events, "event", "events") + '\n';
  }
  return "PASS  " + r.trace + ": no new hazard, " + tried + '\n';
}

std::string again(const ExploreReport& r, const Hazard& h) {
  return "pagetape explore " + r.trace + " --seed " + std::to_string(h.seed);
}

void add_hazard(const ExploreReport& r, const Hazard& h, std::string& out) {
  out += "\n  " + place_of(h.finding, *r.names) + ": " + h.finding.message + '\n';
  out += "    were       " + h.second + '\n';
  out += "    to come before\n";
  out += "               " + h.first + '\n';
  out += "    ruled out by " + h.missing + '\n';
  out += "    again      " + again(r, h) + " -o order.ptape && pagetape verify order.ptape\n";
  if (h.others > 0) {
    out += "    the same in " + counted(h.others, "further order", "further orders") + '\n';
  }
}

}  // namespace

std::string explore_text(const ExploreReport& r) {
  if (!r.status.ok()) return {};
  std::string out = headline(r);
  for (const Hazard& h : r.hazards) add_hazard(r, h, out);
  if (r.hazard_kinds > r.hazards.size()) {
    out += "\nand " + counted(r.hazard_kinds - r.hazards.size(), "kind", "kinds") +
           " more (--max-hazards)\n";
  }
  std::string notes;
  if (r.recorded > 0) {
    notes += "  the recorded order itself has " + counted(r.recorded, "finding", "findings") +
             ", which are no hazards here: pagetape verify " + r.trace + '\n';
  }
  if (r.conflicts > 0) {
    notes += "  " + counted(r.conflicts, "unordered pair", "unordered pairs") +
             " of events that touch the same page or buffer";
    const bool left = r.next_seed <= r.conflicts;
    notes += left ? "; those from --seed " + std::to_string(r.next_seed) + " on were not tried\n"
                  : ", each tried both ways\n";
  }
  if (r.too_far > 0) {
    notes += "  " + counted(r.too_far, "pair", "pairs") + " further apart than " +
             grouped(kFarApart) + " events: not tried\n";
  }
  if (r.not_all) {
    notes += "  pairs beyond the first " + grouped(Conflicts::kMost) + ": not tried\n";
  }
  return notes.empty() ? out : out + '\n' + notes;
}

std::string explore_json(const ExploreReport& r) {
  Json hazards = Json::array();
  for (const Hazard& h : r.hazards) {
    const auto event = [&](EventIndex index, std::int32_t stream, std::uint8_t kind,
                           const std::string& words) {
      return Json{{"event", index}, {"stream", stream}, {"ev", kKindNames[kind]}, {"words", words}};
    };
    hazards.push_back(
        {{"seed", h.seed},
         {"rule", info(h.finding.rule).name},
         {"first", event(h.swapped.first, h.swapped.first_stream, h.swapped.first_kind, h.first)},
         {"second",
          event(h.swapped.second, h.swapped.second_stream, h.swapped.second_kind, h.second)},
         {"missing", h.missing},
         {"others", h.others},
         {"again", again(r, h)},
         {"finding", finding_json(h.finding, *r.names)}});
  }
  const Json out = {{"schema", 1},
                    {"trace", r.trace},
                    {"verdict", verdict_of(r)},
                    {"events", r.events},
                    {"recorded_findings", r.recorded},
                    {"not_checked", r.unchecked.empty() ? Json() : Json(r.unchecked)},
                    {"pairs", r.conflicts},
                    {"pairs_too_far", r.too_far},
                    {"pairs_complete", !r.not_all},
                    {"seed", r.seed},
                    {"next_seed", r.next_seed},
                    {"orders", r.orders},
                    {"events_judged", r.judged},
                    {"hazardous_orders", r.hazardous},
                    {"hazard_kinds", r.hazard_kinds},
                    {"hazards", std::move(hazards)},
                    {"error", r.status.ok() ? Json() : Json(r.status.message())}};
  return out.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace pagetape
