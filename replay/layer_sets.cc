// SPDX-License-Identifier: Apache-2.0
#include "replay/layer_sets.h"

#include <algorithm>

namespace pagetape {

LayerSets::LayerSets() {
  intern({});
  intern({.complement = true, .bits = {}});
}

std::uint32_t LayerSets::index_of(Layer layer) {
  auto [it, fresh] = indices_.try_emplace(layer, static_cast<std::uint32_t>(layers_.size()));
  if (fresh) layers_.push_back(layer);
  return it->second;
}

LayerSet LayerSets::intern(Set set) {
  while (!set.bits.empty() && set.bits.back() == 0) set.bits.pop_back();
  auto [it, fresh] = ids_.try_emplace(set, LayerSet{static_cast<std::uint32_t>(sets_.size())});
  if (fresh) sets_.push_back(std::move(set));
  return it->second;
}

LayerSet LayerSets::of(std::span<const Layer> layers) {
  if (layers.empty()) return kNoLayers;
  if (std::ranges::equal(layers, last_list_)) return last_set_;
  Set set;
  for (Layer layer : layers) {
    const std::uint32_t i = index_of(layer);
    if (i / 64 >= set.bits.size()) set.bits.resize(i / 64 + 1);
    set.bits[i / 64] |= std::uint64_t{1} << (i % 64);
  }
  last_list_.assign(layers.begin(), layers.end());
  return last_set_ = intern(std::move(set));
}

LayerSets::Listed LayerSets::list(LayerSet set) const {
  const Set& of = sets_[static_cast<std::size_t>(set)];
  Listed listed{.complement = of.complement, .layers = {}};
  for (std::size_t i = 0; i < layers_.size() && i / 64 < of.bits.size(); ++i) {
    if ((of.bits[i / 64] >> (i % 64) & 1) != 0) listed.layers.push_back(layers_[i]);
  }
  return listed;
}

LayerSet LayerSets::of(const Listed& listed) {
  const LayerSet set = of(std::span<const Layer>(listed.layers));
  return listed.complement ? subtract(kAllLayers, set) : set;
}

LayerSet LayerSets::combine(Op op, LayerSet a, LayerSet b) {
  const std::uint64_t key =
      std::uint64_t{static_cast<std::uint32_t>(a)} << 32 | static_cast<std::uint32_t>(b);
  auto& memo = memo_[static_cast<int>(op)];
  const std::size_t place =
      (static_cast<std::size_t>(a) + 5 * static_cast<std::size_t>(b)) % kAsked;
  Asked& asked = asked_[static_cast<int>(op)][place];
  if (asked.key == key) return asked.out;
  if (auto it = memo.find(key); it != memo.end()) {
    asked = {key, it->second};
    return it->second;
  }
  // A copy: interning below may move the table.
  const Set x = sets_[static_cast<std::uint32_t>(a)], y = sets_[static_cast<std::uint32_t>(b)];
  Set out;
  const std::size_t words = std::max(x.bits.size(), y.bits.size());
  const auto apply = [op](bool p, std::uint64_t u, bool q, std::uint64_t v) {
    // A complement's stored bits are those left out.
    u = p ? ~u : u;
    v = q ? ~v : v;
    return op == Op::kUnite ? u | v : op == Op::kIntersect ? u & v : u & ~v;
  };
  out.complement = apply(x.complement, 0, y.complement, 0) != 0;
  for (std::size_t i = 0; i < words; ++i) {
    const std::uint64_t u = i < x.bits.size() ? x.bits[i] : 0;
    const std::uint64_t v = i < y.bits.size() ? y.bits[i] : 0;
    const std::uint64_t word = apply(x.complement, u, y.complement, v);
    out.bits.push_back(out.complement ? ~word : word);
  }
  return memo[key] = intern(std::move(out));
}

LayerSet LayerSets::unite(LayerSet a, LayerSet b) { return a == b ? a : combine(Op::kUnite, a, b); }
LayerSet LayerSets::intersect(LayerSet a, LayerSet b) {
  if (a == b || b == kAllLayers) return a;
  return a == kAllLayers ? b : combine(Op::kIntersect, a, b);
}
LayerSet LayerSets::subtract(LayerSet a, LayerSet b) {
  return a == b ? kNoLayers : combine(Op::kSubtract, a, b);
}

}  // namespace pagetape
