// SPDX-License-Identifier: Apache-2.0
// The verbs of this folder, for the command line's table.
#pragma once

#include <vector>

#include "capture/collector.h"
#include "capture/doctor.h"

namespace CLI {
class App;
}

namespace pagetape {

// Each adds its subcommand to `app`; running it sets `exit_code`.
void add_synth_verb(CLI::App& app, int& exit_code);
// `checking` takes the place of `companion` where the rules are to be judged, too.
void add_record_verb(CLI::App& app, int& exit_code, CompanionFactory companion,
                     CompanionFactory checking);
void add_recover_verb(CLI::App& app, int& exit_code, CompanionFactory companion);
void add_doctor_verb(CLI::App& app, int& exit_code, std::vector<RuleNeed> rules);

}  // namespace pagetape
