// SPDX-License-Identifier: Apache-2.0
// The verbs of this folder, for the command line's table.
#pragma once

#include "capture/collector.h"

namespace CLI {
class App;
}

namespace pagetape {

// Each adds its subcommand to `app`; running it sets `exit_code`.
void add_synth_verb(CLI::App& app, int& exit_code);
void add_record_verb(CLI::App& app, int& exit_code, CompanionFactory companion);
void add_recover_verb(CLI::App& app, int& exit_code, CompanionFactory companion);

}  // namespace pagetape
