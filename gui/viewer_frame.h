// SPDX-License-Identifier: Apache-2.0
// One frame of the viewer: keys to commands, panes to rectangles.
#pragma once

#include <string>

#include "gui/panes.h"

namespace pagetape {

// Fonts of the system, or ImGui's own where there are none.
struct Fonts {
  float scale = 0;  // Theirs, and of all sizes; 0: none are loaded.
  ImFont* plain = nullptr;
  ImFont* strong = nullptr;
  ImFont* mono = nullptr;
};
// Before a frame: of this scale from now on. They are loaded anew where it is another.
void fit_fonts(Fonts& fonts, float scale);
void set_style(bool dark, float scale);

struct Drawn {
  std::string texts;     // That were drawn.
  double images_ms = 0;  // Looking up what lanes and maps show, and drawing their rasters.
};

// Draws everything and runs what was asked for.
Drawn draw_frame(Viewer& viewer, Arrangement& arrangement, const Fonts& fonts);

}  // namespace pagetape
