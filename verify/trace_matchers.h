// SPDX-License-Identifier: Apache-2.0
// For tests of those who record traces: GoogleTest matchers over a trace's path.
//
//     EXPECT_THAT("run.ptape", pagetape::HasNoFindings());
//     EXPECT_THAT("crash.ptape", pagetape::HasFinding("OOB_PAGE"));
#pragma once

#include <gmock/gmock.h>

#include <string>

#include "verify/report.h"
#include "verify/verify.h"

namespace pagetape {

// The trace can be read to its end, and no rule has a finding.
MATCHER(HasNoFindings, negation ? "has findings" : "has no findings") {
  const Report report = verify_trace(std::string(arg), {});
  *result_listener << report_text(report);
  return report.status.ok() && report.total == 0;
}

// The rule of that name has one at least.
MATCHER_P(HasFinding, rule, std::string(negation ? "has no" : "has a") + " finding of " + rule) {
  const Report report = verify_trace(std::string(arg), {});
  *result_listener << report_text(report);
  for (const Finding& finding : report.firsts) {
    if (info(finding.rule).name == rule) return true;
  }
  return false;
}

}  // namespace pagetape
