// SPDX-License-Identifier: Apache-2.0
// The viewer without a screen: a script's commands, then one picture and its texts.
#pragma once

#include <string>

#include "gui/app/viewer.h"

namespace pagetape {

struct Picture {
  std::string png;  // The file to write; empty: none.
  int width = 1920, height = 1080;
  float scale = 1;
};

// Draws the viewer as it stands. `texts` becomes what the panes say.
Status draw_picture(Viewer& viewer, const Picture& picture, std::string& texts);

}  // namespace pagetape
