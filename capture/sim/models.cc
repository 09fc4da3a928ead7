// SPDX-License-Identifier: Apache-2.0
#include "capture/sim/models.h"

#include <algorithm>

namespace pagetape::sim {
namespace {

// Layers, heads and windows: the models' published configurations. Pool sizes: what SGLang reports
// for a B200 with the SWA pool at 0.15 of the full one. The draft reads the last layer of each
// type of the target that owns its K and V (gemma4_mtp.py, build_frozen_kv_context).
constexpr Model kModels[] = {
    {"gemma4-e4b",
     "Gemma 4 E4B with its assistant: 35 window layers of 42, window 512",
     42,
     6,
     22,
     23,
     64,
     512,
     57'708,
     8'657,
     2,
     256,
     2,
     512,
     2'048,
     8'192,
     80,
     64,
     8'192,
     1'024,
     0},
    {"gemma4-26b",
     "Gemma 4 26B-A4B with its assistant: 25 window layers of 30, window 1024",
     30,
     6,
     28,
     29,
     64,
     1'024,
     33'411,
     5'012,
     8,
     256,
     2,
     512,
     4'096,
     8'192,
     80,
     32,
     8'192,
     1'024,
     0},
    {"tiny", "Six layers, pools of 21 and 8 pages: the same defects in a few thousand events",
     6,      6,
     4,      5,
     64,     128,
     21,     8,
     2,      256,
     2,      512,
     16,     128,
     3,      3,
     192,    96,
     16},
};

}  // namespace

std::span<const Model> models() { return kModels; }

const Model* find_model(std::string_view name) {
  const auto at = std::find_if(std::begin(kModels), std::end(kModels),
                               [&](const Model& model) { return model.name == name; });
  return at == std::end(kModels) ? nullptr : at;
}

}  // namespace pagetape::sim
