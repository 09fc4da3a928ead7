// SPDX-License-Identifier: Apache-2.0
// Stores, fills and copies: what the pools hold.
#include <algorithm>

#include "replay/executor.h"

namespace pagetape {

// The place in its sequence of what a request writes: where the page says so, else the one after
// what it wrote last.
std::uint32_t Executor::position_of(const Space& space, Name req, PageId page, std::uint32_t offset,
                                    std::uint32_t page_size) {
  std::uint32_t& next = next_[raw(req)];
  const PageInfo info = space.info(page);
  if (info.owner == req && info.column >= 0) {
    next = static_cast<std::uint32_t>(info.column) * page_size + offset;
  }
  return next++;
}

void Executor::store(const World& world, const LaunchView& view, const Targets::Group& group) {
  PoolRun* run = run_of(group.pool);
  if (run == nullptr) return;  // None of its layers is of this pass.
  const Pool& pool = world.pool(group.pool);
  const Space& space = world.space_of(pool);
  std::vector<StoreToken> tokens;
  for (const Lane& lane : view.lanes) {
    const std::uint64_t request = request_of(lane.req);
    for (std::uint32_t i = 0; i < lane.slots_count; ++i) {
      const std::int64_t slot = raw(view.slots[lane.slots_begin + i]);
      if (slot < 0 || slot / pool.page_size >= std::min(pool.pages, view.bound_of(pool))) continue;
      const auto page = static_cast<std::size_t>(slot / pool.page_size);
      const auto offset = static_cast<std::uint32_t>(slot % pool.page_size);
      const std::uint32_t position = position_of(
          space, lane.req, PageId{static_cast<std::int32_t>(page)}, offset, pool.page_size);
      const KvShape& kv = run->plan->kv;
      tokens.push_back(
          {run->plan->frames[page] * kv.page_stride + offset * kv.token_stride, request, position});
    }
  }
  std::vector<Layer> layers;
  for (std::uint32_t member : group.members) {
    layers.push_back(view.targets->list[member].physical);
  }
  send_tokens(*run, tokens, &layers);
}

void Executor::fill(const World& world, const ev::Fill& e) {
  const std::uint32_t p = world.pools.index(e.pool);
  PoolRun* run = p == kNoPool ? nullptr : run_of(p);
  if (run == nullptr) return;
  const Pool& pool = world.pool(p);
  const Space& space = world.space_of(pool);
  const KvShape& kv = run->plan->kv;
  const std::uint64_t request = request_of(e.req);
  std::vector<StoreToken> tokens;
  for (std::size_t i = 0; i < e.pages.size(); ++i) {
    const PageId page = e.pages[i];
    if (!pool.in_bounds(page)) continue;
    std::int64_t n = pool.page_size;
    if (e.slots) n = std::min(n, (*e.slots)[e.slots->size() == 1 ? 0 : i]);
    const std::int64_t at = run->plan->frames[static_cast<std::size_t>(raw(page))] * kv.page_stride;
    for (std::int64_t t = 0; t < n; ++t) {
      tokens.push_back(
          {at + t * kv.token_stride, request,
           position_of(space, e.req, page, static_cast<std::uint32_t>(t), pool.page_size)});
    }
  }
  send_tokens(*run, tokens, e.layers ? &*e.layers : nullptr);
}

// Writes to the layers of this pass among `layers` (null: to all of them).
void Executor::send_tokens(PoolRun& run, std::vector<StoreToken>& tokens,
                           const std::vector<Layer>* layers) {
  std::vector<StoreLayer> storage;
  for (const Storage& s : run.layers) {
    if (layers != nullptr && std::ranges::find(*layers, s.layer) == layers->end()) continue;
    const std::uint64_t number = layer_number(s.layer);
    storage.push_back({s.k, s.v, part_key(options_.seed, number, Part::kKey),
                       part_key(options_.seed, number, Part::kValue)});
  }
  if (storage.empty() || tokens.empty()) return;
  // Tokens written to one place at once: the last one stays, whatever the machine's order.
  std::vector<std::uint32_t> order(tokens.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, {}, [&](std::uint32_t i) { return tokens[i].place; });
  std::vector<StoreToken> once;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const bool last = i + 1 == order.size() || tokens[order[i + 1]].place != tokens[order[i]].place;
    if (last) once.push_back(tokens[order[i]]);
  }
  StoreArgs args;
  args.kv = run.plan->kv;
  args.layers = send(storage);
  args.layer_count = static_cast<std::uint32_t>(storage.size());
  args.tokens = send(once);
  args.token_count = static_cast<std::uint32_t>(once.size());
  if (status_.ok()) machine_.store(args);
}

void Executor::copy(const World& world, const ev::Copy& e) {
  const std::uint32_t f = world.pools.index(e.from_pool), t = world.pools.index(e.to_pool);
  PoolRun *from = run_of(f), *to = run_of(t);
  if (from == nullptr || to == nullptr) return;
  const Pool &source = world.pool(f), &target = world.pool(t);
  const KvShape &from_kv = from->plan->kv, &kv = to->plan->kv;
  const std::uint32_t page_size = std::min(source.page_size, target.page_size);
  std::vector<TokenCopy> copies;
  for (std::size_t i = 0; i < e.from.size(); ++i) {
    if (!source.in_bounds(e.from[i]) || !target.in_bounds(e.to[i])) continue;
    std::int64_t n = page_size;
    if (e.slots) n = std::min(n, (*e.slots)[e.slots->size() == 1 ? 0 : i]);
    const auto from_page = static_cast<std::size_t>(raw(e.from[i]));
    const auto& frames = from->plan->frames;
    const std::int64_t read = from_page < frames.size() ? frames[from_page] : 0;
    const std::int64_t write = to->plan->frames[static_cast<std::size_t>(raw(e.to[i]))];
    for (std::int64_t token = 0; token < n; ++token) {
      copies.push_back({read * from_kv.page_stride + token * from_kv.token_stride,
                        write * kv.page_stride + token * kv.token_stride});
    }
  }
  std::vector<StoreLayer> sources, targets;
  for (const Storage& s : to->layers) {
    if (e.layers && std::ranges::find(*e.layers, s.layer) == e.layers->end()) continue;
    const auto at = std::ranges::find(from->layers, s.layer, &Storage::layer);
    if (at == from->layers.end()) continue;
    sources.push_back({at->k, at->v, 0, 0});
    targets.push_back({s.k, s.v, 0, 0});
  }
  if (copies.empty() || targets.empty()) return;
  CopyArgs args;
  args.from_kv = from_kv;
  args.kv = kv;
  args.from_layers = send(sources);
  args.layers = send(targets);
  args.layer_count = static_cast<std::uint32_t>(targets.size());
  args.copies = send(copies);
  args.copy_count = static_cast<std::uint32_t>(copies.size());
  if (status_.ok()) machine_.copy(args);
}

}  // namespace pagetape
