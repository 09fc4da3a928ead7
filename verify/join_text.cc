// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "replay/state.h"
#include "verify/join.h"
#include "verify/report.h"

namespace pagetape {
namespace {

using Json = nlohmann::ordered_json;

std::string hex(std::uint64_t address) {
  char digits[24];
  std::snprintf(digits, sizeof digits, "0x%llx", static_cast<unsigned long long>(address));
  return digits;
}

std::string fault_words(const Fault& fault) {
  std::string out = "Fault: " + (fault.access.empty() ? "an access" : "a " + fault.access);
  if (fault.address) {
    out += " at " + hex(*fault.address);
    if (fault.bytes > 1) out += " to " + hex(*fault.address + fault.bytes - 1);
  } else {
    out += " at an address that is not said";
  }
  if (!fault.kernel.empty()) out += ", in kernel " + fault.kernel;
  return out + ", says " + fault.said_by + '\n';
}

std::string launches_words(const JoinReport& r) {
  if (r.launches.empty()) return "Launches: none that could have been it\n";
  const std::string count = grouped(r.launches.size());
  std::string out = "Launches looked at: ";
  if (r.kernel_known) {
    out += count + " of that kernel, ";
  } else {
    out += (r.completions_known ? "" : "the last ") + count + ", ";
  }
  out += "events " + grouped(r.launches.front()) + " to " + grouped(r.launches.back());
  return out + (r.completions_known
                    ? ", begun and not completed\n"
                    : " (no `launch_done` event: which of them completed is not known)\n");
}

std::string distance_words(const JoinEntry& e, std::uint64_t address) {
  const std::int64_t past = e.past_end(address);
  const std::string bytes = grouped(static_cast<std::uint64_t>(std::llabs(past))) + " bytes ";
  return bytes + (past >= 0 ? "past the end" : "before the end: within the pool");
}

std::string entry_words(const JoinEntry& e, const JoinReport& r) {
  const Names& names = *r.names;
  const auto s = [&](Name name) { return std::string(names.text(name)); };
  std::string out = "  event " + grouped(e.event);
  if (e.rank != State::kNoRank) out += ", rank " + std::to_string(e.rank);
  if (e.step >= 0) out += ", step " + std::to_string(e.step);
  out += ", backend " + s(e.backend) + ", layer " + names.layer(e.region.layer);
  if (e.logical != e.region.layer) out += " (logical " + names.layer(e.logical) + ')';
  if (e.launch >= 0) out += ", launch " + std::to_string(e.launch) + " of graph " + s(e.graph);
  if (e.kernel != kNone) out += ", kernel " + s(e.kernel);
  out += "\n    " + (e.req == kNone ? "a padding lane" : "request " + s(e.req)) + ", row " +
         std::to_string(e.row);
  if (e.table_row >= 0) {
    out += " (row " + std::to_string(e.table_row) + " of table " + s(e.table) + ')';
  }
  out += ", column " + std::to_string(e.column) + ": " + (e.is_slot ? "slot " : "entry ") +
         grouped(static_cast<std::uint64_t>(e.id)) + '\n';
  return out + "    page " + grouped(static_cast<std::uint64_t>(e.page)) + " of " +
         grouped(e.region.pages) + " in " + e.region.side + " of pool " + s(e.region.pool) + ", " +
         distance_words(e, *r.fault.address) + '\n';
}

std::string entries_words(const JoinReport& r) {
  if (!r.fault.address) {
    return "\nWithout an address no entry can be told. The driver's log has it (NVRM: Xid 31): "
           "--address A\n";
  }
  if (r.entries.empty()) return "\nNo entry of these launches leads there.\n";
  std::string out = "\nLed there by:\n";
  for (const JoinEntry& e : r.entries) out += entry_words(e, r);
  if (r.total > r.entries.size()) out += "  and " + grouped(r.total - r.entries.size()) + " more\n";
  return out;
}

Json entry_json(const JoinEntry& e, const JoinReport& r) {
  const Names& names = *r.names;
  const auto text = [&](Name name) { return name == kNone ? Json() : Json(names.text(name)); };
  const auto number = [](std::int64_t value) { return value < 0 ? Json() : Json(value); };
  Json out;
  out["event"] = e.event;
  out["launch"] = number(e.launch);
  out["rank"] = e.rank == State::kNoRank ? Json() : Json(e.rank);
  out["step"] = number(e.step);
  out["backend"] = text(e.backend);
  out["graph"] = text(e.graph);
  out["kernel"] = text(e.kernel);
  out["layer"] = names.layer(e.region.layer);
  out["logical_layer"] = names.layer(e.logical);
  out["req"] = text(e.req);
  out["row"] = e.row;
  out["table"] = text(e.table);
  out["table_row"] = number(e.table_row);
  out["column"] = e.column;
  out[e.is_slot ? "slot" : "entry"] = e.id;
  out["pool"] = text(e.region.pool);
  out["side"] = std::string(1, e.region.side);
  out["page"] = e.page;
  out["bound"] = e.region.pages;
  out["past_end"] = e.past_end(*r.fault.address);
  return out;
}

}  // namespace

std::string join_text(const JoinReport& r) {
  std::string out = fault_words(r.fault);
  for (const std::string& place : r.places) out += "  " + place + '\n';
  out += launches_words(r) + entries_words(r);
  if (!r.findings.empty()) out += "\nWhat the rules find in these launches, the first of each:\n";
  for (const Finding& finding : r.findings) {
    out += "  " + place_of(finding, *r.names) + ": " + finding.message + '\n';
  }
  if (!r.missing.empty()) out += "\nNot in the trace:\n";
  for (const std::string& missing : r.missing) out += "  " + missing + '\n';
  return out;
}

std::string join_json(const JoinReport& r) {
  Json out;
  out["schema"] = 1;
  out["trace"] = r.trace;
  out["address"] = r.fault.address ? Json(hex(*r.fault.address)) : Json();
  out["bytes"] = r.fault.bytes;
  out["access"] = r.fault.access.empty() ? Json() : Json(r.fault.access);
  out["kernel"] = r.fault.kernel.empty() ? Json() : Json(r.fault.kernel);
  out["places"] = r.places;
  out["launches"] = r.launches;
  out["completions_known"] = r.completions_known;
  out["total"] = r.total;
  out["entries"] = Json::array();
  for (const JoinEntry& e : r.entries) out["entries"].push_back(entry_json(e, r));
  out["findings"] = Json::array();
  for (const Finding& f : r.findings) out["findings"].push_back(finding_json(f, *r.names));
  out["missing"] = r.missing;
  return out.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace pagetape
