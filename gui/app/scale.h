// SPDX-License-Identifier: Apache-2.0
// How large all is drawn.
#pragma once

#include <algorithm>

namespace pagetape {

inline constexpr float kLeastScale = 0.5F, kMostScale = 4;

// Of a window whose content the monitor wants so large. Where a window's coordinates are coarser
// than pixels, the system enlarges what is drawn in them by itself.
inline float scale_of_window(float content, int window_width, int pixels_across) {
  if (window_width > 0 && pixels_across > 0) {
    content *= static_cast<float>(window_width) / static_cast<float>(pixels_across);
  }
  return std::clamp(content, kLeastScale, kMostScale);
}

// Of a picture, as a monitor of that many pixels would have it: at 3840x2160 all is twice as large.
inline float scale_of_picture(int width, int height) {
  const float times = std::min(static_cast<float>(width) / 1920, static_cast<float>(height) / 1080);
  return std::clamp(times, 1.0F, kMostScale);
}

}  // namespace pagetape
