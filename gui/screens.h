// SPDX-License-Identifier: Apache-2.0
// Where frames are drawn: a window, or a picture without any screen.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "traces/status.h"

namespace pagetape {

// An OpenGL 3 context without a window, current in this thread while it lives.
class Offscreen {
 public:
  // Null, and `status`, where this machine has no EGL or no OpenGL 3.
  static std::unique_ptr<Offscreen> open(int width, int height, Status& status);
  virtual ~Offscreen() = default;
  virtual std::vector<std::uint8_t> pixels() = 0;  // RGBA, the top row first.
  virtual Status write_png(const std::string& path) = 0;
};

enum class Next : std::uint8_t { kEnd, kWait, kAtOnce };

// Opens a window and calls `frame` between ImGui's NewFrame and Render until it returns kEnd or the
// window is closed; after kWait, half a second later if nobody touches anything before. `prepare`
// is called before each NewFrame, with the scale that the monitor wants, which moves as the window
// comes to another.
Status run_window(const std::string& title, const std::function<void(float)>& prepare,
                  const std::function<Next()>& frame);

}  // namespace pagetape
