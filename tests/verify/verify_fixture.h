// SPDX-License-Identifier: Apache-2.0
// Reports of traces written as text.
#pragma once

#include "tests/replay/replay_fixture.h"
#include "verify/report.h"

namespace pagetape {

// Verifies lines as a text trace in a folder that is gone afterwards.
inline Report verify_lines(const std::string& lines, const VerifyOptions& options = {}) {
  const ScratchFolder folder;
  return verify_trace(folder.write("trace.jsonl", lines), options);
}

inline std::uint64_t count_of(const Report& report, Rule rule) {
  return report.counts[static_cast<std::size_t>(rule)];
}

// "RULE object" for each line of not_checked, applicable ones or the others.
inline std::vector<std::string> unchecked(const Report& report, bool applicable = true) {
  std::vector<std::string> out;
  for (const NotChecked& n : report.not_checked) {
    if (n.applicable != applicable) continue;
    out.push_back(std::string(info(n.rule).name) + ' ' +
                  std::string(n.object == kNone ? "-" : report.names->text(n.object)));
  }
  return out;
}

inline bool contains(const std::vector<std::string>& list, const std::string& line) {
  return std::ranges::find(list, line) != list.end();
}

// A pool of 8 pages of 4 tokens, a backend bound to it, pages 1 and 2 of request A.
inline const char* const kSmallTrace = R"({"ev":"pool","pool":"F","pages":8,"page_size":4}
{"ev":"backend","backend":"t"}
{"ev":"pool_swap","backend":"t","layers":"*","pool":"F"}
{"ev":"alloc","pool":"F","req":"A","pages":[1,2],"first":0}
{"ev":"fill","pool":"F","req":"A","pages":[1,2]}
)";
inline const char* const kGoodLaunch =
    R"({"ev":"attention","backend":"t","layer":0,"rows":[{"req":"A","len":8,"pages":[1,2]}]}
)";
// One OOB_PAGE.
inline const char* const kBadLaunch =
    R"({"ev":"attention","backend":"t","layer":0,"rows":[{"req":"A","len":8,"pages":[1,9]}]}
)";

}  // namespace pagetape
