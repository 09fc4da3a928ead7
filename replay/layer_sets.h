// SPDX-License-Identifier: Apache-2.0
// Sets of layers, interned: a page knows in which layers it was written by one small number.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <unordered_map>
#include <vector>

#include "traces/fields.h"

namespace pagetape {

// An interned set of layers of one LayerSets table.
enum class LayerSet : std::uint32_t {};
inline constexpr LayerSet kNoLayers{0};
inline constexpr LayerSet kAllLayers{1};  // Every layer, those not yet seen too.

// Sets are finite, or the complement of a finite one ("all but"). Operations are remembered, so
// that in the steady state each is a look-up.
class LayerSets {
 public:
  LayerSets();

  LayerSet of(std::span<const Layer> layers);
  LayerSet of(Layer layer) { return of(std::span<const Layer>(&layer, 1)); }
  LayerSet unite(LayerSet a, LayerSet b);
  LayerSet intersect(LayerSet a, LayerSet b);
  LayerSet subtract(LayerSet a, LayerSet b);
  bool contains(LayerSet outer, LayerSet inner) {
    return outer == inner || outer == kAllLayers || subtract(inner, outer) == kNoLayers;
  }

  std::size_t size() const { return sets_.size(); }

  // A set in words of its own: these layers, or all but these.
  struct Listed {
    bool complement = false;
    std::vector<Layer> layers;
  };
  Listed list(LayerSet set) const;
  LayerSet of(const Listed& listed);

 private:
  struct Set {
    bool complement = false;
    std::vector<std::uint64_t> bits;  // By dense index of the layer; no trailing zero words.
    auto operator<=>(const Set&) const = default;
  };
  enum class Op : std::uint8_t { kUnite, kIntersect, kSubtract };

  LayerSet intern(Set set);
  LayerSet combine(Op op, LayerSet a, LayerSet b);
  std::uint32_t index_of(Layer layer);

  std::vector<Layer> layers_;  // Dense index → layer, in order of first use.
  std::vector<Set> sets_;
  std::map<Layer, std::uint32_t> indices_;
  std::map<Set, LayerSet> ids_;
  std::unordered_map<std::uint64_t, LayerSet> memo_[3];
  // What was asked lately, each at a place of its own: the lanes of a launch ask the same few.
  struct Asked {
    std::uint64_t key = 0;  // Of no operation: those of a set with itself are not asked.
    LayerSet out = kNoLayers;
  };
  static constexpr std::size_t kAsked = 16;
  Asked asked_[3][kAsked];
  std::vector<Layer> last_list_;  // The list given to of() last, and its set.
  LayerSet last_set_ = kNoLayers;
};

}  // namespace pagetape
