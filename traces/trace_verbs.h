// SPDX-License-Identifier: Apache-2.0
// The verb of the command line that only turns one form of a trace into the other.
#pragma once

#include <CLI/CLI.hpp>

namespace pagetape {

// Adds its subcommand; when that is parsed, it runs and sets `exit_code` (0, 2 or 3), which
// must outlive the app. Errors and warnings go to stderr, as "pagetape: …".
void add_import_verb(CLI::App& app, int& exit_code);

}  // namespace pagetape
