// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "verify/assert_traces.h"
#include "verify/report.h"

namespace pagetape {
namespace {

// Words that mean themselves, in a cell of a table too.
std::string plain(std::string_view text) {
  std::string out;
  for (char c : text) {
    constexpr std::string_view kMarks = "\\`*_{}[]<>#|~!&";
    if (kMarks.find(c) != std::string_view::npos) out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out;
}

}  // namespace

std::string assert_markdown(const std::vector<TraceResult>& results) {
  const auto passed = std::ranges::count(results, 0, &TraceResult::exit_code);
  std::string out = "## pagetape: " + std::to_string(passed) + " of " +
                    std::to_string(results.size()) + " traces passed\n\n" +
                    "| trace | outcome | events | launches | findings |\n" +
                    "| --- | --- | ---: | ---: | ---: |\n";
  for (const TraceResult& r : results) {
    out += "| " + plain(r.trace) + " | " + std::string(outcome(r)) + " | " + grouped(r.events) +
           " | " + grouped(r.launches) + " | " + grouped(r.total) + " |\n";
  }
  for (const TraceResult& r : results) {
    if (r.firsts.empty()) continue;
    out += "\n### " + plain(r.trace) + "\n\n";
    for (const Problem& p : r.firsts) {
      out += "- ";
      if (p.of_rule > 1) out += grouped(p.of_rule) + " findings, the first: ";
      out += plain(p.sentence()) + '\n';
    }
  }
  return out;
}

}  // namespace pagetape
