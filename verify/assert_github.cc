// SPDX-License-Identifier: Apache-2.0
#include "verify/assert_traces.h"

namespace pagetape {
namespace {

// As the runner reads it: `property` values besides end at a comma or a colon.
std::string escaped(std::string_view text, bool property) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '%':
        out += "%25";
        break;
      case '\r':
        out += "%0D";
        break;
      case '\n':
        out += "%0A";
        break;
      case ':':
        out += property ? "%3A" : ":";
        break;
      case ',':
        out += property ? "%2C" : ",";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace

std::string assert_github(const std::vector<TraceResult>& results) {
  std::string out;
  for (const TraceResult& r : results) {
    for (const Problem& p : r.firsts) {
      out += "::error file=" + escaped(r.trace, true);
      if (p.line > 0) out += ",line=" + std::to_string(p.line);
      std::string title(p.title());
      if (p.of_rule > 1) title += " (the first of " + std::to_string(p.of_rule) + ")";
      out += ",title=" + escaped(title, true) + "::" + escaped(p.sentence(), false) + '\n';
    }
  }
  return out;
}

}  // namespace pagetape
