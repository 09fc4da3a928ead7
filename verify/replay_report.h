// SPDX-License-Identifier: Apache-2.0
// What a replay did, in words for people and as JSON for programs.
#pragma once

#include <string>

#include "replay/session.h"
#include "verify/crosscheck.h"

namespace pagetape {

// First the verdict in one line, then the digest, what was not executed, and the first findings.
std::string replay_text(const ReplayReport& report, std::size_t max_findings);

// One object on one line; `check` null: the judges were not compared.
std::string replay_json(const ReplayReport& report, std::size_t max_findings,
                        const CrossCheck* check);

// Empty where neither judge found anything.
std::string crosscheck_text(const CrossCheck& check);

}  // namespace pagetape
