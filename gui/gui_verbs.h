// SPDX-License-Identifier: Apache-2.0
// The verb of this folder, for the command line's table. It links no window.
#pragma once

namespace CLI {
class App;
}

namespace pagetape {

// Adds its subcommand to `app`; running it sets `exit_code`, or becomes the viewer.
void add_view_verb(CLI::App& app, int& exit_code);

}  // namespace pagetape
