// SPDX-License-Identifier: Apache-2.0
// Headroom in words and as JSON.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "verify/headroom.h"
#include "verify/report.h"

namespace pagetape {
namespace {

std::string signed_grouped(std::int64_t n) {
  return n < 0 ? '-' + grouped(static_cast<std::uint64_t>(-n))
               : grouped(static_cast<std::uint64_t>(n));
}

std::string share(std::int64_t part, std::int64_t whole) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f%%",
                whole <= 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole));
  return text;
}

std::string or_dash(Name name, const Names& names) {
  return name == kNone ? "-" : std::string(names.text(name));
}

std::string table_name(const TableUse& t, const Names& names) {
  return t.table == kNone ? "(inline)" : std::string(names.text(t.table));
}

// Rows of cells, padded to columns; numbers to the right from column `right` on.
std::string aligned(const std::vector<std::vector<std::string>>& rows, std::size_t right) {
  std::vector<std::size_t> widths(rows[0].size());
  for (const auto& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line = " ";
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string pad(widths[c] - row[c].size(), ' ');
      line += ' ' + (c >= right ? pad + row[c] : row[c] + pad) + ' ';
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
  return out;
}

// What an id counts, where that is not pages.
std::string unit(const TableUse& t) {
  if (t.tokens == t.page_size) return "";
  return t.tokens == 1 ? ", slots" : ", of " + std::to_string(t.tokens) + " tokens";
}

std::string margin_words(const TableUse& t) {
  return t.safe() ? "safe" : signed_grouped(t.margin());
}

std::string first_line(const HeadroomReport& r, const HeadroomOptions& options) {
  std::string out = r.failed.empty() && !r.nothing_measured ? "" : "FAIL  ";
  if (options.judged && out.empty()) out = "PASS  ";
  out += r.trace + ": ";
  const auto worst = std::ranges::min_element(
      r.tables, {}, [](const TableUse& t) { return t.safe() ? INT64_MAX : t.margin(); });
  if (worst == r.tables.end())
    return out +
           "no launch uses a pool that the trace knows (needs pool, and attention or store with "
           "pool_swap or bound)\n";
  if (worst->safe()) {
    return out + "every table is of the space of the pool bound: no id can be outside\n";
  }
  return out + "a margin of " + signed_grouped(worst->margin()) +
         " pages: " + table_name(*worst, *r.names) + " in pool " + or_dash(worst->pool, *r.names) +
         '\n';
}

std::string warning(const HeadroomReport& r, const TableUse& t) {
  const Names& names = *r.names;
  const std::string pool = or_dash(t.pool, names), space = or_dash(t.space, names);
  const auto whole = [](std::int64_t n) { return signed_grouped(n); };
  std::string out;
  if (t.wrong || t.possible > t.bound) {
    out += "\nRISK  " + table_name(t, names) + " of backend " + or_dash(t.backend, names) +
           " holds ids of space " + space + " and is used in pool " + pool +
           (t.first_wrong == kNever
                ? ""
                : ", first at event " + whole(static_cast<std::int64_t>(t.first_wrong))) +
           ".\n";
  }
  if (t.first_oob_fill >= 0) {
    out += "  The first out-of-bounds id, " + whole(t.bound) +
           ", becomes possible when more than " + whole(t.first_oob_fill) + " pages of space " +
           space + " are handed out (" + share(t.first_oob_fill, t.space_capacity) + " of it); ";
    const SpaceFill* fill = r.fill_of(t);
    out += fill == nullptr ? "its allocations are not recorded.\n"
                           : "the run reached " + whole(fill->peak) + " (" +
                                 share(fill->peak, t.space_capacity) + "), its greatest id was " +
                                 whole(fill->greatest) + ".\n";
  }
  const std::uint64_t compared = t.camouflaged + t.misplaced;
  if (t.camouflaged > 0) {
    out += "  Identity camouflage: " + grouped(t.camouflaged) + " of " + grouped(compared) +
           " entries named the right page by accident; " + grouped(t.misplaced) +
           " named a wrong one.\n";
  } else if (compared > 0) {
    out += "  " + grouped(compared) + " entries named a wrong page.\n";
  }
  return out;
}

}  // namespace

std::string headroom_text(const HeadroomReport& r, const HeadroomOptions& options) {
  std::string out = first_line(r, options);
  if (!r.tables.empty()) {
    const bool ranks =
        std::ranges::any_of(r.tables, [](const TableUse& t) { return t.rank != INT64_MIN; });
    std::vector<std::vector<std::string>> rows{
        {"pool", "table", "backend", "ids of", "greatest id", "bound", "distance", "margin"}};
    for (const TableUse& t : r.tables) {
      const std::string rank =
          !ranks || t.rank == INT64_MIN ? "" : " (rank " + std::to_string(t.rank) + ')';
      rows.push_back({or_dash(t.pool, *r.names) + rank, table_name(t, *r.names),
                      or_dash(t.backend, *r.names), or_dash(t.space, *r.names) + unit(t),
                      signed_grouped(t.greatest), signed_grouped(t.bound),
                      signed_grouped(t.distance()), margin_words(t)});
    }
    out += '\n' + aligned(rows, 4);
  }
  for (const TableUse& t : r.tables) out += warning(r, t);
  if (!r.spaces.empty()) out += '\n';
  for (const SpaceFill& f : r.spaces) {
    out += "Space " + or_dash(f.space, *r.names) + ": " + signed_grouped(f.peak) + " of " +
           signed_grouped(f.capacity) + " pages handed out at most (" + share(f.peak, f.capacity) +
           "), greatest id " + signed_grouped(f.greatest) + '\n';
  }
  if (!r.status.ok()) out += "\nReading ended early: " + r.status.message() + '\n';
  for (const std::string& warning : r.warnings) out += "warning: " + warning + '\n';
  return out;
}

std::string headroom_json(const HeadroomReport& r) {
  using Json = nlohmann::ordered_json;
  const Names& names = *r.names;
  const auto text = [&](Name n) { return n == kNone ? Json(nullptr) : Json(names.text(n)); };
  const auto number = [](std::int64_t n) { return n < 0 ? Json(nullptr) : Json(n); };
  const auto rank = [](std::int64_t n) { return n == INT64_MIN ? Json(nullptr) : Json(n); };
  Json out;
  out["schema"] = 1;
  out["trace"] = r.trace;
  out["events"] = r.events;
  if (!r.status.ok()) out["error"] = r.status.message();
  out["tables"] = Json::array();
  for (std::size_t i = 0; i < r.tables.size(); ++i) {
    const TableUse& t = r.tables[i];
    Json line{{"rank", rank(t.rank)}, {"pool", text(t.pool)}, {"table", text(t.table)}};
    line["backend"] = text(t.backend);
    line["space"] = text(t.space);
    line["id_tokens"] = t.tokens;
    line["wrong_space"] = t.wrong;
    line["launches"] = t.launches;
    line["entries"] = t.entries;
    line["greatest"] = t.greatest;
    line["bound"] = t.bound;
    line["distance"] = t.distance();
    line["possible"] = number(t.possible);
    line["safe"] = t.safe();
    line["margin_pages"] = t.margin();
    line["first_oob_fill"] = number(t.first_oob_fill);
    line["space_capacity"] = number(t.space_capacity);
    line["camouflaged"] = t.camouflaged;
    line["misplaced"] = t.misplaced;
    line["first_wrong"] = t.first_wrong == kNever ? Json(nullptr) : Json(t.first_wrong);
    line["failed"] = std::ranges::find(r.failed, i) != r.failed.end();
    out["tables"].push_back(std::move(line));
  }
  out["spaces"] = Json::array();
  for (const SpaceFill& f : r.spaces) {
    out["spaces"].push_back({{"rank", rank(f.rank)},
                             {"space", text(f.space)},
                             {"capacity", f.capacity},
                             {"peak", f.peak},
                             {"greatest", f.greatest}});
  }
  out["warnings"] = r.warnings;
  return out.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace pagetape
