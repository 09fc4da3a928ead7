// SPDX-License-Identifier: Apache-2.0
#include "verify/address_map.h"

#include <algorithm>

#include "replay/state.h"
#include "verify/report.h"

namespace pagetape {
namespace {

// Of one number; 0 where the word is not known.
std::uint64_t element_bytes(std::string_view dtype) {
  constexpr std::pair<std::string_view, std::uint64_t> kKnown[] = {
      {"bfloat16", 2}, {"bf16", 2},  {"float16", 2}, {"fp16", 2},  {"half", 2}, {"float32", 4},
      {"fp32", 4},     {"float", 4}, {"int8", 1},    {"uint8", 1}, {"fp8", 1},  {"float8", 1}};
  for (const auto& [word, bytes] : kKnown) {
    if (dtype == word) return bytes;
  }
  return dtype.starts_with("float8_") || dtype.starts_with("fp8_") ? 1 : 0;
}

std::uint64_t product(const OptInt& a, const OptInt& b) {
  return static_cast<std::uint64_t>(a.value_or(0)) * static_cast<std::uint64_t>(b.value_or(0));
}

// "1,024 bytes past the end of"; "inside of, at byte 12 of 64".
std::string relation(std::uint64_t address, std::uint64_t begin, std::uint64_t end) {
  if (address >= end) return grouped(address - end) + " bytes past the end of ";
  return "at byte " + grouped(address - begin) + " of " + grouped(end - begin) + " of ";
}

}  // namespace

void AddressMap::see(const Event& event) {
  const Rank rank = event.rank.value_or(State::kNoRank);
  if (const auto* pool = std::get_if<ev::Pool>(&event.body)) {
    pools_[{rank, pool->pool}] = *pool;
  } else if (const auto* layer = std::get_if<ev::PoolLayer>(&event.body)) {
    layers_[{rank, layer->pool, layer->layer}] = *layer;
  } else if (const auto* buffer = std::get_if<ev::Buffer>(&event.body)) {
    buffers_[{rank, buffer->buffer}] = *buffer;
  } else if (const auto* arena = std::get_if<ev::Arena>(&event.body)) {
    arenas_[{rank, arena->arena}] = {static_cast<std::uint64_t>(arena->bytes), {}};
  } else if (const auto* extent = std::get_if<ev::Extent>(&event.body)) {
    arenas_[{rank, extent->arena}].extents.push_back(*extent);
  }
}

// The tensor's own stride where it is said; else the pool's, else what its numbers come to.
std::uint64_t AddressMap::page_bytes(const ev::Pool& pool, const std::optional<Ints>& shape,
                                     const std::optional<Ints>& stride, bool value) const {
  const std::uint64_t element = element_bytes(names_.text(pool.dtype));
  const auto tokens = static_cast<std::uint64_t>(pool.page_size);
  if (shape && stride && !shape->empty() && !stride->empty() && stride->front() > 0) {
    const auto step = static_cast<std::uint64_t>(stride->front()) * element;
    if (shape->front() == pool.pages && step > 0) return step;
    if (shape->front() == pool.pages * pool.page_size && step > 0) return step * tokens;
  }
  if (pool.page_bytes.has_value()) return static_cast<std::uint64_t>(*pool.page_bytes);
  const OptInt& dim = value && pool.v_head_dim.has_value() ? pool.v_head_dim : pool.head_dim;
  return product(pool.kv_heads, dim) * tokens * element;
}

std::vector<PoolRegion> AddressMap::regions(Rank rank, Name pool, Layer layer,
                                            const ev::Bound* bound) const {
  std::vector<PoolRegion> out;
  const auto said = pools_.find({rank, pool});
  if (said == pools_.end()) return out;
  const auto add = [&](const OptInt& ptr, char side, const auto& tensor) {
    if (!ptr.has_value()) return;
    const std::uint64_t bytes = page_bytes(said->second, tensor.shape, tensor.stride, side == 'V');
    if (bytes == 0) return;
    out.push_back({pool, layer, side, static_cast<std::uint64_t>(*ptr), bytes,
                   static_cast<std::uint64_t>(said->second.pages)});
  };
  if (const auto at = layers_.find({rank, pool, layer}); at != layers_.end()) {
    add(at->second.k_ptr, 'K', at->second);
    add(at->second.v_ptr, 'V', at->second);
  }
  if (out.empty() && bound != nullptr) add(bound->ptr, 'K', *bound);
  return out;
}

std::vector<PoolRegion> AddressMap::all_regions() const {
  std::vector<PoolRegion> out;
  for (const auto& [key, layer] : layers_) {
    const auto& [rank, pool, number] = key;
    const std::vector<PoolRegion> of_layer = regions(rank, pool, number, nullptr);
    out.insert(out.end(), of_layer.begin(), of_layer.end());
  }
  return out;
}

// An arena has no address of its own: that of a pool which lies in it, less where it lies.
std::optional<std::uint64_t> AddressMap::begin_of(Rank rank, const Arena& arena) const {
  for (const ev::Extent& extent : arena.extents) {
    std::optional<std::uint64_t> first;
    for (auto at = layers_.lower_bound({rank, extent.owner, Layer{INT32_MIN}});
         at != layers_.end() && std::get<1>(at->first) == extent.owner; ++at) {
      if (std::get<0>(at->first) != rank) break;
      for (const OptInt& ptr : {at->second.k_ptr, at->second.v_ptr}) {
        if (!ptr.has_value()) continue;
        const auto address = static_cast<std::uint64_t>(*ptr);
        first = first ? std::min(*first, address) : address;
      }
    }
    if (first) return *first - static_cast<std::uint64_t>(extent.begin);
  }
  return std::nullopt;
}

std::string AddressMap::in_arena(const std::string& name, const Arena& arena, std::uint64_t begin,
                                 std::uint64_t address) const {
  std::string out = relation(address, begin, begin + arena.bytes) + "arena " + name;
  const ev::Extent* last = nullptr;
  for (const ev::Extent& extent : arena.extents) {
    const bool before = begin + static_cast<std::uint64_t>(extent.begin) <= address;
    if (before && (last == nullptr || extent.begin > last->begin)) last = &extent;
  }
  if (last == nullptr) return out;
  return out + ", " +
         relation(address, begin + static_cast<std::uint64_t>(last->begin),
                  begin + static_cast<std::uint64_t>(last->end)) +
         "what " + text(last->owner) + " has of it";
}

std::vector<std::string> AddressMap::places(std::uint64_t address,
                                            const std::optional<Allocation>& nearest) const {
  std::vector<std::string> out;
  // The region that holds it, or the one that ends next before it.
  std::optional<PoolRegion> best;
  for (const PoolRegion& region : all_regions()) {
    if (region.begin > address) continue;
    const std::uint64_t past = address >= region.end() ? address - region.end() : 0;
    const std::uint64_t least =
        best ? (address >= best->end() ? address - best->end() : 0) : UINT64_MAX;
    if (past < least) best = region;
  }
  if (best) {
    out.push_back(relation(address, best->begin, best->end()) + best->side + " of pool " +
                  text(best->pool) + ", layer " + names_.layer(best->layer) + ": page " +
                  grouped((address - best->begin) / best->page_bytes) + ", where it has " +
                  grouped(best->pages));
  }
  for (const auto& [key, buffer] : buffers_) {
    const std::uint64_t entries = buffer.capacity.has_value() ? product(buffer.capacity, 1)
                                                              : product(buffer.rows, buffer.cols);
    const auto begin = static_cast<std::uint64_t>(buffer.ptr.value_or(0));
    const std::uint64_t most = entries * 8;  // Of 4 or 8 bytes each; a trace does not say which.
    if (!buffer.ptr.has_value() || address < begin || address - begin >= most) continue;
    out.push_back("at byte " + grouped(address - begin) + " of buffer " + text(buffer.buffer) +
                  ", which has " + grouped(entries) + " entries");
  }
  for (const auto& [key, arena] : arenas_) {
    const bool is_nearest = nearest && nearest->bytes == arena.bytes;
    const auto begin = is_nearest ? std::optional(nearest->begin) : begin_of(key.first, arena);
    if (begin && *begin <= address) {
      out.push_back(in_arena(text(key.second), arena, *begin, address));
    }
  }
  if (out.empty() && !all_regions().empty()) {
    out.push_back("before every pool layer that the trace has an address of, and in no buffer");
  }
  return out;
}

std::vector<std::string> AddressMap::missing() const {
  std::vector<std::string> out;
  if (all_regions().empty()) {
    const bool addressed = std::ranges::any_of(
        layers_, [](const auto& layer) { return layer.second.k_ptr.has_value(); });
    out.push_back(layers_.empty() ? "no `pool_layer` event: where a pool's layers lie is not known"
                  : addressed
                      ? "the pools have no page stride: neither `page_bytes`, nor `shape` and "
                        "`stride` with a known `dtype`"
                      : "no `pool_layer` event has `k_ptr` or `v_ptr`: where a pool's layers lie "
                        "is not known");
  }
  if (arenas_.empty()) {
    out.push_back("no `arena` event: what else lies around the address is not known");
  } else {
    for (const auto& [key, arena] : arenas_) {
      if (begin_of(key.first, arena)) continue;
      out.push_back("arena " + text(key.second) +
                    " has no address: no `extent` of it is a pool's " +
                    "whose `pool_layer` has `k_ptr`");
    }
  }
  return out;
}

}  // namespace pagetape
