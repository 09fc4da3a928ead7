// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <nlohmann/json.hpp>

#include "verify/blame_trace.h"
#include "verify/report.h"

namespace pagetape {
namespace {

using Json = nlohmann::ordered_json;

Json text_or_null(Name name, const Names& names) {
  return name == kNone ? Json(nullptr) : Json(names.text(name));
}
Json number_or_null(std::int64_t value) { return value < 0 ? Json(nullptr) : Json(value); }
Json layer_json(Layer layer, const Names& names) {
  return layer.is_named() ? Json(names.text(layer.name())) : Json(layer.v);
}

std::vector<Json> findings_json(const Report& r) {
  std::vector<Link> all;
  for (const Finding& f : r.firsts) all.insert(all.end(), f.blame.begin(), f.blame.end());
  std::ranges::stable_sort(all, {}, &Link::event);
  annotate(r.trace, *r.names, all);
  std::vector<Json> out;
  for (const Finding& f : r.findings) {
    Json& json = out.emplace_back(finding_json(f, *r.names));
    if (std::ranges::find(r.firsts, f) == r.firsts.end()) continue;
    std::vector<Link> links = f.blame;
    for (Link& link : links) {
      const auto read = std::ranges::lower_bound(all, link.event, {}, &Link::event);
      link.take_event(*read);
    }
    json["blame"] = links_json(links, f.event, *r.names);
  }
  return out;
}

Json head(const Report& r) {
  Json out;
  out["schema"] = 1;
  out["trace"] = r.trace;
  out["verdict"] = verdict_name(r.verdict);
  out["events"] = r.events;
  out["launches"] = r.launches;
  out["damaged"] = nullptr;
  if (!r.status.ok()) {
    out[r.status.code() == Code::kDamaged ? "damaged" : "error"] = {
        {"event", r.status_event}, {"message", r.status.message()}};
  }
  Json rules = Json::object(), counts = Json::object(), unchecked = Json::array(),
       not_applicable = Json::array();
  for (std::size_t i = 0; i < kRuleCount; ++i) {
    rules[std::string(kRules[i].name)] = {{"judged", r.judged[i]}, {"findings", r.counts[i]}};
    if (r.counts[i] > 0) counts[std::string(kRules[i].name)] = r.counts[i];
  }
  for (const NotChecked& n : r.not_checked) {
    Json line;
    line["rule"] = info(n.rule).name;
    line["object"] = text_or_null(n.object, *r.names);
    if (n.rank != INT64_MIN) line["rank"] = n.rank;
    line["needs"] = n.needs;
    (n.applicable ? unchecked : not_applicable).push_back(std::move(line));
  }
  out["rules"] = std::move(rules);
  out["not_checked"] = std::move(unchecked);
  out["not_applicable"] = std::move(not_applicable);
  out["counts"] = std::move(counts);
  if (r.suspects) out["suspects"] = {{"total", r.suspects_total}, {"events", *r.suspects}};
  if (r.cuda_errors_total > 0) {
    out["cuda_errors"] = {{"total", r.cuda_errors_total}, {"events", r.cuda_errors}};
  }
  out["warnings"] = r.warnings;
  return out;
}

std::string dump(const Json& json) {
  // A name of a binary trace need not be UTF-8.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace

Json finding_json(const Finding& f, const Names& names) {
  Json out;
  out["id"] = f.id(names);
  out["rule"] = info(f.rule).name;
  out["event"] = f.event;
  out["launch"] = number_or_null(f.launch);
  out["rank"] = f.rank == INT64_MIN ? Json(nullptr) : Json(f.rank);
  out["step"] = number_or_null(f.step);
  out["backend"] = text_or_null(f.backend, names);
  out["layer"] = f.has_layer ? layer_json(f.layer, names) : Json(nullptr);
  out["logical_layer"] = f.has_layer ? layer_json(f.logical_layer, names) : Json(nullptr);
  out["req"] = text_or_null(f.req, names);
  out["row"] = number_or_null(f.row);
  out["column"] = number_or_null(f.column);
  out["page"] = f.page == INT64_MIN ? Json(nullptr) : Json(f.page);
  out["bound"] = number_or_null(f.bound);
  out["pool"] = text_or_null(f.pool, names);
  if (f.slot != INT64_MIN) out["slot"] = f.slot;
  const std::pair<const char*, Name> further[] = {
      {"op", f.op}, {"graph", f.graph}, {"map", f.map}, {"buffer", f.buffer}, {"object", f.object}};
  for (const auto& [key, name] : further) {
    if (name != kNone) out[key] = names.text(name);
  }
  out["message"] = f.message;
  out["cause"] = f.cause;
  return out;
}

std::string report_json(const Report& r) {
  Json out = head(r);
  out["findings"] = findings_json(r);
  return dump(out);
}

std::string report_jsonl(const Report& r) {
  std::string out;
  for (const Json& finding : findings_json(r)) out += dump(finding);
  return out + dump(head(r));
}

}  // namespace pagetape
