// SPDX-License-Identifier: Apache-2.0
// A picture in memory. What would be thousands of small rectangles a frame is drawn here and then
// shown as one image: software rendering of OpenGL takes 1.5 µs for each of them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pagetape {

// Red in the lowest byte, alpha in the highest, as ImGui and OpenGL have it.
using Colour = std::uint32_t;

// `top` on the opaque `under`.
Colour over(Colour top, Colour under);

class Raster {
 public:
  void reset(int width, int height, Colour back);

  int width() const { return width_; }
  int height() const { return height_; }
  std::span<const Colour> pixels() const { return pixels_; }
  Colour at(int x, int y) const { return pixels_[index(x, y)]; }

  // [x0, x1) × [y0, y1), rounded to whole pixels, one each way at the least; what is outside is
  // cut.
  void fill(double x0, double y0, double x1, double y1, Colour colour);
  void set(int x, int y, Colour colour) { pixels_[index(x, y)] = colour; }
  // The row becomes as the one above it.
  void repeat(int y);

 private:
  std::size_t index(int x, int y) const {
    return static_cast<std::size_t>(y) * static_cast<std::size_t>(width_) +
           static_cast<std::size_t>(x);
  }

  int width_ = 0, height_ = 0;
  std::vector<Colour> pixels_;
};

}  // namespace pagetape
