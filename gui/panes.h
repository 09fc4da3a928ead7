// SPDX-License-Identifier: Apache-2.0
// The panes: each draws a part of what gui/app knows. They decide nothing.
#pragma once

#include <string>

#include "gui/app/viewer.h"
#include "gui/ink.h"

namespace pagetape {

struct Rect {
  ImVec2 at, size;
};

// What the mouse has arranged, and the palette's letters.
struct Arrangement {
  float right = 0.34F;   // Share of the width for the state and the findings.
  float top = 0.40F;     // Of the height for the timeline.
  float middle = 0.36F;  // … and the pool map.
  float state = 0.50F;   // Of the right side for the state.
  char typed[128] = "";
  int chosen = 0;
  bool was_palette = false;
  // Of the table whose first wrong entry was brought into view.
  EventIndex table_event = kNever;
  std::size_t table_launch = 0;
};

void draw_status(Ink& ink, const Viewer& viewer, Rect rect);
void draw_timeline(Ink& ink, Viewer& viewer, Rect rect);
void draw_pool_map(Ink& ink, Viewer& viewer, Rect rect);
void draw_table(Ink& ink, const Viewer& viewer, Rect rect, Arrangement& arrangement);
// In the place of the table, while it is open.
void draw_what_if(Ink& ink, const Viewer& viewer, Rect rect);
void draw_state(Ink& ink, const Viewer& viewer, Rect rect);
void draw_findings(Ink& ink, const Viewer& viewer, Rect rect);
void draw_help(Ink& ink, const Viewer& viewer);
void draw_palette(Ink& ink, const Viewer& viewer, Arrangement& arrangement);

// Zooming by the wheel under the cursor and dragging, in an area that shows the axis.
void drag_axis(Viewer& viewer, ImVec2 at, ImVec2 size);
// The width of names to the left of what shows the axis.
float gutter(const Ink& ink);

}  // namespace pagetape
