// SPDX-License-Identifier: Apache-2.0
// The panes: each draws a part of what gui/app knows. They decide nothing.
#pragma once

#include <string>
#include <vector>

#include "gui/app/viewer.h"
#include "gui/ink.h"

namespace pagetape {

struct Rect {
  ImVec2 at, size;
};

// A pool's map, and the colours of its cells as long as they stay the same.
struct PoolPicture {
  struct Key {
    std::uint64_t generation = 0;
    Colours colours = Colours::kOwner;
    bool dark = true;
    bool operator==(const Key&) const = default;
  };
  Key key;
  std::vector<Colour> colours;
  Image image;
};

// What the mouse has arranged, the palette's letters, and pictures that are kept.
struct Arrangement {
  float right = 0.34F;   // Share of the width for the state and the findings.
  float top = 0.45F;     // Of the height for the timeline, at the most.
  float middle = 0.60F;  // Of what is below it for the pool map.
  float state = 0.50F;   // Of the right side for the state, at the most.
  char typed[128] = "";
  int chosen = 0;
  bool was_palette = false;
  std::string asked;               // Of the palette, …
  std::vector<PaletteItem> found;  // … and what it found.
  // Of the table whose first wrong entry was brought into view.
  EventIndex table_event = kNever;
  std::size_t table_launch = 0;
  std::string explained;    // What was brought into view of explanations, …
  int frames_to_bring = 0;  // … and for how many more frames it is: a scrollbar may make it longer.
  // Pixels, at this scale; 0: not known yet.
  float scale = 0;
  float timeline_needs = 0;  // That all its lanes take.
  float state_needs = 0;     // That the longest state took so far: panes that jump are no help.
  Image timeline;
  std::vector<PoolPicture> pools;
};

void draw_status(Ink& ink, const Viewer& viewer, Rect rect);
void draw_timeline(Ink& ink, Viewer& viewer, Rect rect, Arrangement& arrangement);
void draw_pool_map(Ink& ink, Viewer& viewer, Rect rect, std::vector<PoolPicture>& pictures);
void draw_table(Ink& ink, const Viewer& viewer, Rect rect, Arrangement& arrangement);
// In the place of the table, while they are open.
void draw_what_if(Ink& ink, const Viewer& viewer, Rect rect);
void draw_compare(Ink& ink, const Viewer& viewer, Rect rect);
void draw_state(Ink& ink, const Viewer& viewer, Rect rect, Arrangement& arrangement);
void draw_findings(Ink& ink, const Viewer& viewer, Rect rect, Arrangement& arrangement);
void draw_help(Ink& ink, const Viewer& viewer);
void draw_palette(Ink& ink, const Viewer& viewer, Arrangement& arrangement);

// Zooming by the wheel under the cursor and dragging, in an area that shows the axis.
void drag_axis(Viewer& viewer, ImVec2 at, ImVec2 size);
// Whether what it is about was clicked: pressed and let go there, and not dragged.
bool axis_clicked();
// The width that the names of lanes need, up to `most`.
float gutter_of(const Ink& ink, const Viewer& viewer, float most);

}  // namespace pagetape
