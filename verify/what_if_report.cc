// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "verify/report.h"
#include "verify/what_if.h"

namespace pagetape {
namespace {

using Json = nlohmann::ordered_json;

// Three digits that mean something.
double rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return std::strtod(text, nullptr);
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

// Nothing was wrong: all outputs are the right ones.
bool errors_known(const VariantReport& v) { return v.affected == 0 || v.errors.count() > 0; }

Json error_json(const VariantReport& v) {
  if (!errors_known(v)) return nullptr;
  return {{"median", rounded(v.errors.quantile(0.5))},
          {"p99", rounded(v.errors.quantile(0.99))},
          {"max", rounded(v.errors.max())}};
}

Json variant_json(const VariantReport& v) {
  if (!v.not_applicable.empty()) {
    return {{"name", v.name},      {"oob_reads", nullptr}, {"wrong_reads", nullptr},
            {"requests", nullptr}, {"rel_err", nullptr},   {"not_applicable", v.not_applicable}};
  }
  Json not_executed = Json::array();
  for (const auto& [why, what] : v.not_executed) {
    not_executed.push_back({{"why", why}, {"launches", what.launches}, {"first", what.first}});
  }
  return {{"name", v.name},
          {"oob_reads", v.oob_reads},
          {"wrong_reads", v.wrong_reads},
          {"requests", v.requests},
          {"rel_err", error_json(v)},
          {"queries", v.queries},
          {"queries_affected", v.affected},
          {"first_event", v.first ? Json(*v.first) : Json(nullptr)},
          {"not_executed", std::move(not_executed)}};
}

}  // namespace

WhatIfRow what_if_head() {
  return {"variant", "OOB reads",     "wrong reads", "requests",
          "queries", "error: median", "p99",         "worst"};
}

WhatIfRow what_if_row(const VariantReport& v) {
  if (!v.not_applicable.empty()) {
    return {v.name, "not applicable: " + v.not_applicable, "", "", "", "", "", ""};
  }
  char share[32];
  std::snprintf(share, sizeof share, "%.1f%%",
                v.queries == 0
                    ? 0.0
                    : 100.0 * static_cast<double>(v.affected) / static_cast<double>(v.queries));
  const bool known = errors_known(v);
  return {v.name,
          grouped(v.oob_reads),
          grouped(v.wrong_reads),
          grouped(v.requests),
          share,
          known ? number(v.errors.quantile(0.5)) : "-",
          known ? number(v.errors.quantile(0.99)) : "-",
          known ? number(v.errors.max()) : "-"};
}

std::string what_if_json(const WhatIfReport& report) {
  Json variants = Json::array();
  for (const VariantReport& v : report.variants) variants.push_back(variant_json(v));
  const Json json = {{"schema", 1},
                     {"trace", report.trace},
                     {"machine", report.machine},
                     {"measured", report.measured},
                     {"variants", std::move(variants)}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

std::string what_if_text(const WhatIfReport& report) {
  std::vector<WhatIfRow> rows = {what_if_head()};
  for (const VariantReport& v : report.variants) rows.push_back(what_if_row(v));
  std::array<std::size_t, 8> widths{};
  for (const WhatIfRow& row : rows) {
    const bool merged = row[1].starts_with("not applicable");
    for (std::size_t c = 0; c < row.size(); ++c) {
      if (!merged || c == 0) widths[c] = std::max(widths[c], row[c].size());
    }
  }
  std::string out;
  for (const WhatIfRow& row : rows) {
    std::string line = row[0] + std::string(widths[0] - row[0].size(), ' ');
    for (std::size_t c = 1; c < row.size(); ++c) {
      const std::size_t pad = widths[c] > row[c].size() ? widths[c] - row[c].size() : 0;
      line += "  " + std::string(row[c].empty() ? 0 : pad, ' ') + row[c];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
  out +=
      "Reads: live table entries, once a layer. Queries: the share of the draft's (without a\n"
      "draft, of all) that read a page outside the pool or a wrong one. Error: of their outputs\n"
      "against those of the right pages, relative; pages outside the pool are left out (" +
      report.measured + ", " + report.machine + ").\n";
  for (const VariantReport& v : report.variants) {
    for (const auto& [why, what] : v.not_executed) {
      out += v.name + ": not executed: " + grouped(what.launches) +
             " launches, the first at event " + grouped(what.first) + ": " + why + ".\n";
    }
  }
  return out;
}

}  // namespace pagetape
