// SPDX-License-Identifier: Apache-2.0
// A chain of last writers in words and as JSON.
#include <nlohmann/json.hpp>

#include "verify/blame_trace.h"
#include "verify/report.h"

namespace pagetape {
namespace {

// "F page 9", "draft.page_table row 0 column 8": where the link's value stands.
std::string place_of(const Spot& spot, const Names& names) {
  std::string out(names.text(spot.object));
  const auto number = [](const char* word, std::int64_t n) { return word + std::to_string(n); };
  switch (spot.kind) {
    case LinkKind::kAllocation:
    case LinkKind::kWrite:
      return out + number(" page ", spot.a);
    case LinkKind::kMapEntry:
      return out + number(" ", spot.a);
    case LinkKind::kLength:
    case LinkKind::kSlot:
      return out + number(" row ", spot.a);
    case LinkKind::kTableCell:
      return out + number(" row ", spot.a) + number(" column ", spot.b);
    case LinkKind::kBinding:
    case LinkKind::kRemap:
      return out + " layer " + names.layer(spot.layer);
    case LinkKind::kFact:
      return out + (spot.attribute == kNone ? "" : ' ' + std::string(names.text(spot.attribute)));
    default:
      return out;
  }
}

std::string age(EventIndex event, EventIndex at) {
  if (event == at) return "";
  return grouped(at - event) + (at - event == 1 ? " event before" : " events before");
}

}  // namespace

std::string blame_text(const BlameReport& r) {
  if (r.links.empty()) return {};
  std::string out = "Blame at event " + grouped(r.at) + " of " + r.trace + ": " + r.subject + '\n';
  for (const Finding& f : r.findings) {
    out += "  " + place_of(f, *r.names) + ": " + f.message + '\n';
  }
  EventIndex last = kNever;
  for (const Link& link : r.links) {
    if (link.event != last) {
      out += "\n  event " + grouped(link.event);
      if (link.step >= 0) out += ", step " + grouped(static_cast<std::uint64_t>(link.step));
      if (const std::string a = age(link.event, r.at); !a.empty()) out += ", " + a;
      out += "\n    " + (link.sentence.empty() ? "(cannot be read)" : link.sentence) + '\n';
    }
    last = link.event;
    if (link.value.empty()) continue;
    std::string line = "      " + std::string(link_kind_name(link.spot.kind));
    line.resize(std::max<std::size_t>(line.size(), 16), ' ');
    out += line + "  " + place_of(link.spot, *r.names) + ": " + link.value;
    if (!link.value_before.empty()) out += "; before: " + link.value_before;
    out += '\n';
  }
  return out;
}

std::string blame_json(const BlameReport& r) {
  nlohmann::ordered_json out;
  out["schema"] = 1;
  out["trace"] = r.trace;
  out["at"] = r.at;
  out["subject"] = r.subject;
  if (!r.status.ok()) out["error"] = r.status.message();
  out["findings"] = nlohmann::ordered_json::array();
  for (const Finding& f : r.findings) {
    out["findings"].push_back({{"id", f.id(*r.names)}, {"message", f.message}});
  }
  out["blame"] = links_json(r.links, r.at, *r.names);
  // A name of a binary trace need not be UTF-8.
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

nlohmann::ordered_json links_json(const std::vector<Link>& links, EventIndex at,
                                  const Names& names) {
  using Json = nlohmann::ordered_json;
  const auto text = [](const std::string& s) { return s.empty() ? Json(nullptr) : Json(s); };
  Json out = Json::array();
  for (const Link& link : links) {
    Json line;
    line["kind"] = link_kind_name(link.spot.kind);
    line["event"] = link.event;
    line["step"] = link.step < 0 ? Json(nullptr) : Json(link.step);
    line["age"] = at - link.event;
    line["t"] = link.t == INT64_MIN ? Json(nullptr) : Json(link.t);
    line["src"] = text(link.src);
    line["sentence"] = text(link.sentence);
    line["place"] = text(place_of(link.spot, names));
    line["value"] = text(link.value);
    line["value_before"] = text(link.value_before);
    out.push_back(std::move(line));
  }
  return out;
}

}  // namespace pagetape
