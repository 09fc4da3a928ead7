// SPDX-License-Identifier: Apache-2.0
#include "gui/app/pool_image.h"

#include <algorithm>

namespace pagetape {
namespace {

struct Part {
  std::uint32_t begin = 0, end = 1;  // Bins or rows that a pixel stands for.
};

std::vector<Part> bins_of(const PoolHistory& pool, const Axis& axis, int width) {
  std::vector<Part> out(static_cast<std::size_t>(width));
  for (int x = 0; x < width; ++x) {
    const auto bin = [&](int at) {
      const double event = axis.event_at(at, width);
      return pool.bin_of(static_cast<EventIndex>(std::max(event, 0.0)));
    };
    const std::uint32_t first = bin(x);
    out[static_cast<std::size_t>(x)] = {first, std::max(bin(x + 1), first + 1)};
  }
  return out;
}

}  // namespace

void draw_pool(const PoolHistory& pool, const std::vector<Colour>& colours, std::uint32_t rows,
               const Axis& axis, int pixels, Raster& out) {
  if (rows == 0 || pixels <= 0) return;
  const std::vector<Part> bins = bins_of(pool, axis, out.width());
  const auto height = static_cast<std::uint32_t>(std::min(pixels, out.height()));
  const auto row_at = [&](std::uint32_t y) {
    return static_cast<std::uint32_t>(std::uint64_t{y} * rows / height);
  };
  const bool roomy = height / rows > 5;  // Then there is a gap between rows.
  Part drawn{1, 0};
  for (std::uint32_t y = 0; y < height; ++y) {
    const Part row{row_at(y), std::max(row_at(y + 1), row_at(y) + 1)};
    if (roomy && row_at(y + 1) != row.begin) continue;
    if (row.begin == drawn.begin && row.end == drawn.end) {
      out.repeat(static_cast<int>(y));
      continue;
    }
    drawn = row;
    for (int x = 0; x < out.width(); ++x) {
      const Part& bin = bins[static_cast<std::size_t>(x)];
      Colour colour = 0;
      for (std::uint32_t b = bin.begin; b < bin.end && colour == 0; ++b) {
        const Colour* column = &colours[std::size_t{b} * pool.rows];
        for (std::uint32_t r = row.begin; r < row.end && colour == 0; ++r) colour = column[r];
      }
      if (colour != 0) out.set(x, static_cast<int>(y), colour);
    }
  }
}

}  // namespace pagetape
