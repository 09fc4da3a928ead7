// SPDX-License-Identifier: Apache-2.0
// What of a recording would work here: the machine, the libraries, and each engine's hooks.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "capture/injection.h"
#include "traces/status.h"

namespace pagetape {

// A rule and the events by which it can be judged: alternatives by "|".
struct RuleNeed {
  std::string rule, needs;
};

struct DoctorOptions {
  std::string interpreter = "python3";  // Looked for in PATH.
  Injection injection;
  std::string shared_memory = "/dev/shm";
  std::uint64_t ring_bytes = std::uint64_t{64} << 20;
  std::vector<RuleNeed> rules;
};

// {"schema": 1, "machine": [{"what", "ok", "detail"}…], "python": {…}, "engines": [{"engine",
// "version", "status", "hooks", "records", "rules": {"judged", "not_judged"}}…]}. Nothing is
// recorded and no engine started: the interpreter imports what hooks watch. `status` says why it
// could not be asked; the machine's part is there all the same.
nlohmann::ordered_json examine(const DoctorOptions& options, Status& status);

std::string doctor_text(const nlohmann::ordered_json& report);

}  // namespace pagetape
