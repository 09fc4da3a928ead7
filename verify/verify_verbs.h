// SPDX-License-Identifier: Apache-2.0
// The verbs of this folder, for the command line's table.
#pragma once

namespace CLI {
class App;
}

namespace pagetape {

// Each adds its subcommand to `app`; running it sets `exit_code`.
void add_verify_verb(CLI::App& app, int& exit_code);
void add_assert_verb(CLI::App& app, int& exit_code);
void add_blame_verb(CLI::App& app, int& exit_code);
void add_headroom_verb(CLI::App& app, int& exit_code);
void add_info_verb(CLI::App& app, int& exit_code);
void add_replay_verb(CLI::App& app, int& exit_code);
void add_debug_verb(CLI::App& app, int& exit_code);
void add_shrink_verb(CLI::App& app, int& exit_code);
void add_selfcheck_verb(CLI::App& app, int& exit_code);
void add_explore_verb(CLI::App& app, int& exit_code);
void add_diff_verb(CLI::App& app, int& exit_code);
void add_export_verb(CLI::App& app, int& exit_code);
void add_join_verb(CLI::App& app, int& exit_code);

}  // namespace pagetape
