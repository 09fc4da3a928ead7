// SPDX-License-Identifier: Apache-2.0
// Reports as JSON; apart from verify_fixture.h, for its parser takes long to compile.
#pragma once

#include <nlohmann/json.hpp>

#include "verify/report.h"

namespace pagetape {

inline nlohmann::json json_of_report(const Report& report) {
  return nlohmann::json::parse(report_json(report));
}

}  // namespace pagetape
