// SPDX-License-Identifier: Apache-2.0
// Two pictures compared as an eye would at arm's length: by the mean lightness and colour of
// blocks.
//
// How glyphs and edges are softened differs from one OpenGL to the next by some levels of some
// pixels; over a block of 12 by 12 that is a level or two. What someone would notice (a lane gone,
// a bar in another colour, a word elsewhere) moves the mean of whole blocks by tens of levels.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

namespace pagetape {

struct Rgba {
  int width = 0, height = 0;
  std::vector<std::uint8_t> pixels;  // Four bytes each, the top row first.
};

class Blocks {
 public:
  static constexpr int kSide = 12;        // Pixels.
  static constexpr double kFar = 12;      // Levels, of 255, by which a block that differs does.
  static constexpr double kMost = 0.004;  // The share of blocks that may.

  explicit Blocks(const Rgba& picture)
      : columns_(picture.width / kSide), rows_(picture.height / kSide) {
    for (int row = 0; row < rows_; ++row) {
      for (int column = 0; column < columns_; ++column) {
        means_.push_back(mean(picture, column * kSide, row * kSide));
      }
    }
  }
  // The share of blocks that differ; 1 where the sizes do.
  double differing(const Blocks& other) const {
    if (columns_ != other.columns_ || rows_ != other.rows_ || means_.empty()) return 1;
    std::size_t n = 0;
    for (std::size_t i = 0; i < means_.size(); ++i) {
      double far = 0;
      for (std::size_t c = 0; c < 3; ++c) {
        far = std::max(far, std::abs(means_[i][c] - other.means_[i][c]));
      }
      n += far > kFar;
    }
    return static_cast<double>(n) / static_cast<double>(means_.size());
  }

 private:
  using Mean = std::array<double, 3>;  // Luma and both differences of colour (BT.601).

  static Mean mean(const Rgba& picture, int left, int top) {
    double r = 0, g = 0, b = 0;
    for (int y = top; y < top + kSide; ++y) {
      for (int x = left; x < left + kSide; ++x) {
        const std::uint8_t* p =
            &picture.pixels[static_cast<std::size_t>(y * picture.width + x) * 4];
        r += p[0];
        g += p[1];
        b += p[2];
      }
    }
    constexpr double kPixels = kSide * kSide;
    const double luma = (0.299 * r + 0.587 * g + 0.114 * b) / kPixels;
    return {luma, 0.564 * (b / kPixels - luma), 0.713 * (r / kPixels - luma)};
  }

  int columns_, rows_;
  std::vector<Mean> means_;
};

}  // namespace pagetape
