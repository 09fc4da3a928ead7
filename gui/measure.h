// SPDX-License-Identifier: Apache-2.0
// How fast the viewer is with a trace: a scripted tour, drawn without a screen.
#pragma once

#include <string>

#include "gui/picture.h"

namespace pagetape {

// Opens the trace as a window would, draws frames while it is read, then zooms, pans and seeks all
// over it. `out` becomes a line a figure.
Status measure_viewer(const std::string& trace, const Picture& picture, std::string& out);

}  // namespace pagetape
