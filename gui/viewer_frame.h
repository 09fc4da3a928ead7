// SPDX-License-Identifier: Apache-2.0
// One frame of the viewer: keys to commands, panes to rectangles.
#pragma once

#include <string>

#include "gui/panes.h"

namespace pagetape {

// Fonts of the system, or ImGui's own where there are none.
struct Fonts {
  ImFont* plain = nullptr;
  ImFont* strong = nullptr;
  ImFont* mono = nullptr;
};
Fonts load_fonts(float scale);
void set_style(bool dark, float scale);

struct Drawn {
  std::string texts;     // That were drawn.
  double images_ms = 0;  // Looking up what lanes and maps show, and drawing their rasters.
};

// Draws everything and runs what was asked for.
Drawn draw_frame(Viewer& viewer, Arrangement& arrangement, const Fonts& fonts, float scale);

}  // namespace pagetape
