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

// Draws everything and runs what was asked for. Returns the texts that were drawn.
std::string draw_frame(Viewer& viewer, Arrangement& arrangement, const Fonts& fonts, float scale);

}  // namespace pagetape
