// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "gui/gui_verbs.h"

namespace pagetape {

// The viewer beside this program: as it is installed, then as Bazel builds it.
static int become_viewer(const std::vector<std::string>& arguments) {
  std::error_code error;
  const std::filesystem::path folder =
      std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  std::vector<char*> argv{const_cast<char*>("pagetape-view")};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  std::string looked;
  for (const std::filesystem::path& place :
       {folder / "pagetape-view", folder / "gui" / "pagetape-view"}) {
    ::execv(place.c_str(), argv.data());
    looked += (looked.empty() ? "" : ", ") + place.string();
  }
  std::fprintf(stderr, "pagetape view: there is no viewer here; looked at %s\n", looked.c_str());
  return 2;
}

void add_view_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand("view", "Open a viewer, or draw its picture (--screenshot)");
  // All that follows is the viewer's, --help too.
  verb->set_help_flag();
  verb->prefix_command();
  verb->callback([verb, &exit_code] { exit_code = become_viewer(verb->remaining()); });
}

}  // namespace pagetape
