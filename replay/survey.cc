// SPDX-License-Identifier: Apache-2.0
#include "replay/survey.h"

#include <algorithm>

#include "replay/machine.h"

namespace pagetape {

PoolPlan plan_for(const ev::Pool& pool, std::int32_t heads, const Names& names) {
  PoolPlan plan;
  plan.name = pool.pool;
  plan.page_size = static_cast<std::uint32_t>(pool.page_size);
  plan.assumed = !pool.head_dim.has_value();
  KvShape& kv = plan.kv;
  kv.head_dim = static_cast<std::int32_t>(pool.head_dim.value_or(64));
  kv.heads = static_cast<std::int32_t>(pool.kv_heads.value_or(1));
  if (heads > 0) kv.heads = std::min(kv.heads, heads);
  const std::string_view type = names.text(pool.dtype);
  if (type.empty() || type == "bf16" || type == "bfloat16") {
    kv.dtype = Dtype::kBf16;
  } else if (type == "fp16" || type == "float16" || type == "half") {
    kv.dtype = Dtype::kFp16;
  } else if (type.find("e4m3") != type.npos) {
    kv.dtype = Dtype::kE4m3;
  } else {
    plan.refused = "its numbers are of type " + std::string(type);
  }
  if (pool.v_head_dim.has_value() && *pool.v_head_dim != kv.head_dim) {
    plan.refused = "K has " + std::to_string(kv.head_dim) + " dimensions, V " +
                   std::to_string(*pool.v_head_dim);
  }
  if (!executes(kv.head_dim, pool.page_size)) {
    plan.refused = "there is no kernel for pages of " + std::to_string(pool.page_size) +
                   " tokens and heads of " + std::to_string(kv.head_dim);
  }
  const bool heads_first = names.text(pool.layout) == "HND";
  kv.token_stride = heads_first ? kv.head_dim : std::int64_t{kv.heads} * kv.head_dim;
  kv.head_stride = heads_first ? pool.page_size * kv.head_dim : kv.head_dim;
  kv.page_stride = pool.page_size * kv.heads * kv.head_dim;
  return plan;
}

void Surveyor::declare(const World& world, const ev::Pool& pool) {
  // This event comes before the pool is made: its index is known when something is done with it.
  const std::uint32_t known = world.pools.index(pool.pool);
  if (known == kNoPool) return;
  const auto said = said_.find({rank_, known});
  if (said == said_.end()) return;
  PoolPlan& old = plan(known);
  if (pool.page_size != said->second.page_size || pool.head_dim != said->second.head_dim ||
      pool.kv_heads != said->second.kv_heads || pool.layout != said->second.layout ||
      pool.dtype != said->second.dtype) {
    old.refused = "it was rebuilt with another geometry";
  }
}

void Surveyor::on_event(const World& world, const Event& event, EventIndex) {
  rank_ = event.rank.value_or(State::kNoRank);
  if (const auto* pool = std::get_if<ev::Pool>(&event.body)) {
    declare(world, *pool);
    const std::uint32_t known = world.pools.index(pool->pool);
    // Pools are made in the order in which they are declared, and never taken back.
    const PoolRef ref{rank_, known == kNoPool ? world.pools.size() : known};
    if (said_.emplace(ref, *pool).second) {
      survey_.pools[ref] = plan_for(*pool, heads_, names_);
    }
  } else if (const auto* step = std::get_if<ev::Step>(&event.body)) {
    if (survey_.steps.empty() || survey_.steps.back() != step->step) {
      survey_.steps.push_back(step->step);
    }
  }
}

void Surveyor::on_page(World& world, const PageAct& act) {
  switch (act.act) {
    case Act::kAlloc:
    case Act::kShare:
    case Act::kPrefixHit:
      for (std::uint32_t pool : world.space_of(world.pool(act.pool)).pools) {
        plan(pool).owners_known = true;
      }
      return;
    case Act::kFill:
    case Act::kStore:
    case Act::kCopyWrite:
      break;
    default:
      return;
  }
  if (!world.pool(act.pool).in_bounds(act.page)) return;
  PoolPlan& pool = plan(act.pool);
  if (raw(act.page) >= kMostPages) {
    pool.refused = "page " + std::to_string(raw(act.page)) + " is written: ids from " +
                   std::to_string(kMostPages) + " on are not executed";
    return;
  }
  const auto page = static_cast<std::size_t>(raw(act.page));
  if (page >= pool.frames.size()) pool.frames.resize(page + 1);
  if (pool.frames[page] == 0) pool.frames[page] = pool.frame_count++;
}

void Surveyor::touch_layers(PoolPlan& plan, const std::vector<Layer>& layers) {
  for (Layer layer : layers) {
    const auto at = std::ranges::lower_bound(plan.layers, layer);
    if (at == plan.layers.end() || *at != layer) plan.layers.insert(at, layer);
  }
}

void Surveyor::on_launch(World& world, const LaunchView& view) {
  if (view.copy != nullptr) {
    const PoolRef from{rank_, world.pools.index(view.copy->from_pool)};
    const PoolRef to{rank_, world.pools.index(view.copy->to_pool)};
    if (std::ranges::find(copies_, std::pair(from, to)) == copies_.end()) {
      copies_.emplace_back(from, to);
    }
    return;
  }
  for (const Targets::Group& group : view.targets->groups) {
    if (group.pool == kNoPool) continue;
    PoolPlan& pool = plan(group.pool);
    std::vector<Layer> layers;
    for (std::uint32_t member : group.members) {
      layers.push_back(view.targets->list[member].physical);
    }
    touch_layers(pool, layers);
  }
}

Survey Surveyor::survey() {
  // What is copied into a layer must be there to be copied.
  for (bool more = true; more;) {
    more = false;
    for (const auto& [from, to] : copies_) {
      PoolPlan &a = survey_.pools[from], &b = survey_.pools[to];
      const std::size_t before = a.layers.size() + b.layers.size();
      touch_layers(a, b.layers);
      touch_layers(b, a.layers);
      more |= a.layers.size() + b.layers.size() != before;
      if (a.kv.dtype != b.kv.dtype || a.kv.head_dim != b.kv.head_dim || a.kv.heads != b.kv.heads) {
        b.refused = "pages of another geometry are copied into it";
      }
    }
  }
  return std::move(survey_);
}

}  // namespace pagetape
