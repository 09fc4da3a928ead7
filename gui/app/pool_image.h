// SPDX-License-Identifier: Apache-2.0
// A pool map as pixels.
#pragma once

#include <vector>

#include "gui/app/axis.h"
#include "gui/app/pool_history.h"
#include "gui/app/raster.h"

namespace pagetape {

// Draws the lowest `rows` rows of a pool over the uppermost `height` pixels of the raster, whose
// width is the axis' part in view. `colours`: of the cells as PoolHistory orders them, a column
// after the other; 0 is nothing. Where a pixel stands for several cells the first that has a colour
// is seen.
void draw_pool(const PoolHistory& pool, const std::vector<Colour>& colours, std::uint32_t rows,
               const Axis& axis, int height, Raster& out);

}  // namespace pagetape
