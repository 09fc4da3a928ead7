// SPDX-License-Identifier: Apache-2.0
// A report in words for people, and as JSON for programs.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "verify/verify.h"

namespace pagetape {

// First the verdict in one line, then how the earliest finding came about, then counts by rule,
// then what was not checked.
std::string report_text(const Report& report);

// The object of the trace model's section 5, on one line.
std::string report_json(const Report& report);

// One line a finding, then the object without its findings.
std::string report_jsonl(const Report& report);

// One finding as the report's object has it, without its chain of blame.
nlohmann::ordered_json finding_json(const Finding& finding, const Names& names);

// "OOB_PAGE at event 9, layer 22 (logical a0) of backend d, request A, row 0, column 1"
std::string place_of(const Finding& finding, const Names& names);

// An event in words, as part of an explanation: "backend d: layer 22 was bound to pool S".
std::string describe(const Event& event, const Names& names);

// "12,345".
std::string grouped(std::uint64_t n);

}  // namespace pagetape
