// SPDX-License-Identifier: Apache-2.0
// The viewer without a screen: frames, and pictures of them.
#pragma once

#include <memory>
#include <string>

#include "gui/app/viewer.h"
#include "gui/screens.h"
#include "gui/viewer_frame.h"

namespace pagetape {

struct Picture {
  std::string png;  // The file to write; empty: none.
  int width = 1920, height = 1080;
  float scale = 1;
};

// Milliseconds of one frame.
struct FrameTimes {
  double images = 0;  // What lanes and maps show, looked up and drawn as pixels.
  double panes = 0;   // All else that panes say, as draw lists.
  double lists = 0;   // ImGui's own: draw lists put together.
  double gl = 0;      // OpenGL, to the last pixel.
  double whole = 0;
  double cpu = 0;  // Of all threads of this process, the reading of the trace too.
};

// Frames of one size. There is one at a time: ImGui's context is the program's.
class Canvas {
 public:
  // Null, and `status`, where this machine has no EGL or no OpenGL 3.
  static std::unique_ptr<Canvas> open(const Picture& picture, Status& status);
  ~Canvas();

  // Draws a frame, to the last pixel. Returns what the panes say.
  std::string draw(Viewer& viewer, FrameTimes* times = nullptr);
  std::string renderer() const;                                     // As OpenGL names it.
  std::vector<std::uint8_t> pixels() { return screen_->pixels(); }  // RGBA, the top row first.
  Status write_png(const std::string& path) { return screen_->write_png(path); }

 private:
  explicit Canvas(std::unique_ptr<Offscreen> screen, float scale);

  std::unique_ptr<Offscreen> screen_;
  const float scale_;
  Fonts fonts_;
  Arrangement arrangement_;
};

// Draws the viewer as it stands. `texts` becomes what the panes say.
Status draw_picture(Viewer& viewer, const Picture& picture, std::string& texts);

}  // namespace pagetape
