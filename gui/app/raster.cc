// SPDX-License-Identifier: Apache-2.0
#include "gui/app/raster.h"

#include <algorithm>
#include <cmath>

namespace pagetape {

Colour over(Colour top, Colour under) {
  const std::uint32_t alpha = top >> 24;
  Colour out = 0xff000000U;
  for (const unsigned shift : {0U, 8U, 16U}) {
    const std::uint32_t a = top >> shift & 255, b = under >> shift & 255;
    out |= (a * alpha + b * (255 - alpha) + 127) / 255 << shift;
  }
  return out;
}

void Raster::reset(int width, int height, Colour back) {
  width_ = std::max(width, 0);
  height_ = std::max(height, 0);
  pixels_.assign(static_cast<std::size_t>(width_) * static_cast<std::size_t>(height_), back);
}

namespace {

struct Pixels {
  int begin = 0, end = 0;
};

Pixels pixels_of(double begin, double end, int size) {
  const double first = std::clamp(std::round(begin), 0.0, static_cast<double>(size));
  const double last = std::clamp(std::round(end), 0.0, static_cast<double>(size));
  // What is narrower than a pixel is seen nevertheless, where it is inside at all.
  const bool inside = end > 0 && begin < size && end > begin;
  const auto least = inside ? std::min(static_cast<int>(first), size - 1) : static_cast<int>(first);
  return {least, std::max(static_cast<int>(last), inside ? least + 1 : least)};
}

}  // namespace

void Raster::fill(double x0, double y0, double x1, double y1, Colour colour) {
  const Pixels x = pixels_of(x0, x1, width_), y = pixels_of(y0, y1, height_);
  if (x.begin >= x.end) return;
  const bool opaque = colour >> 24 == 255;
  for (int row = y.begin; row < y.end; ++row) {
    const auto begin = pixels_.begin() + static_cast<std::ptrdiff_t>(index(x.begin, row));
    const auto end = begin + (x.end - x.begin);
    if (opaque) {
      std::fill(begin, end, colour);
    } else {
      std::transform(begin, end, begin, [colour](Colour under) { return over(colour, under); });
    }
  }
}

void Raster::repeat(int y) {
  if (y < 1 || y >= height_) return;
  const auto row = pixels_.begin() + static_cast<std::ptrdiff_t>(index(0, y));
  std::copy(row - width_, row, row);
}

}  // namespace pagetape
