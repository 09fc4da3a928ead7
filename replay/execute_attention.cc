// SPDX-License-Identifier: Apache-2.0
// Attention: the rows of a launch as a machine gets them.
#include <xxhash.h>

#include <algorithm>
#include <bit>

#include "replay/executor.h"

namespace pagetape {

// Windows and positions of a machine have 31 bits.
static constexpr std::int64_t kWidestWindow = 1 << 25;
static constexpr std::size_t kSlabsBeforeFlush = 16;

std::uint32_t Executor::owner_of(const Space& space, PageId page) {
  const PageInfo info = space.info(page);
  if (info.unknown) return kAnybody;
  if (info.more == 0) return raw(info.owner);
  const std::vector<Name> owners = space.owners(page);
  const auto at = static_cast<std::uint32_t>(sharers_.size());
  sharers_.push_back(static_cast<std::uint32_t>(owners.size()));
  for (Name owner : owners) sharers_.push_back(raw(owner));
  return kSharedOwner | at;
}

// Brings what the machine knows of the pool's pages up to date.
void Executor::refresh(const World& world, std::uint32_t pool, PoolRun& run) {
  const Space& space = world.space_of(world.pool(pool));
  if (run.all_dirty) {
    run.pages.resize(run.plan->frames.size());
    space.for_each_owned([&](PageId page, const PageInfo&) {
      if (raw(page) < 0 || raw(page) >= kMostPages) return;
      run.pages.resize(std::max(run.pages.size(), static_cast<std::size_t>(raw(page)) + 1));
    });
    run.dirty.resize(run.pages.size());
    for (std::uint32_t i = 0; i < run.dirty.size(); ++i) run.dirty[i] = i;
    run.all_dirty = false;
  }
  if (run.dirty.empty()) return;
  std::size_t begin = SIZE_MAX, end = 0;
  for (std::uint32_t page : run.dirty) {
    if (page >= run.pages.size()) run.pages.resize(page + 1);
    PageEntry& entry = run.pages[page];
    entry.frame = page < run.plan->frames.size() ? run.plan->frames[page] : 0;
    entry.owner = owner_of(space, PageId{static_cast<std::int32_t>(page)});
    begin = std::min<std::size_t>(begin, page);
    end = std::max<std::size_t>(end, page + 1);
  }
  run.dirty.clear();
  if (run.pages.size() > run.room) {
    machine_.release(run.there);
    run.room = std::bit_ceil(run.pages.size());
    run.there = static_cast<PageEntry*>(machine_.allocate(run.room * sizeof(PageEntry)));
    begin = 0;
    end = run.pages.size();
  }
  if (run.there == nullptr) {
    status_ = system_error(std::string(machine_.name()) + ": no memory for the pages of a pool");
    return;
  }
  machine_.upload(run.there + begin, run.pages.data() + begin, (end - begin) * sizeof(PageEntry));
  if (sharers_.size() > sharers_room_) {
    machine_.release(sharers_there_);
    sharers_room_ = std::bit_ceil(sharers_.size());
    sharers_there_ = static_cast<std::uint32_t*>(machine_.allocate(sharers_room_ * 4));
    sharers_sent_ = 0;
  }
  machine_.upload(sharers_there_ + sharers_sent_, sharers_.data() + sharers_sent_,
                  (sharers_.size() - sharers_sent_) * 4);
  sharers_sent_ = sharers_.size();
}

// The group's layers that are of this pass.
std::vector<AttentionLayer> Executor::layers_of(const LaunchView& view, const Targets::Group& group,
                                                const PoolRun& run, Launched& launched) const {
  std::vector<AttentionLayer> layers;
  // Target and draft ask different things of the same layer.
  const std::string_view backend = names_.text(view.backend->name);
  const std::uint64_t seed = options_.seed ^ XXH64(backend.data(), backend.size(), 3);
  for (std::uint32_t member : group.members) {
    const Target& target = view.targets->list[member];
    const auto at = std::ranges::find(run.layers, target.physical, &Storage::layer);
    if (at == run.layers.end()) continue;
    const std::uint64_t number = layer_number(target.logical);
    layers.push_back({at->k, at->v, part_key(seed, number, Part::kQuery),
                      part_key(seed, number, Part::kSink), mix(seed, number), nullptr, nullptr});
    launched.layers.push_back(target.logical);
  }
  return layers;
}

// What the launch says of how it reads the pool; `why` where no kernel does.
AttentionArgs Executor::args_of(const ev::Attention& e, const Pool& pool, const PoolPlan& plan,
                                std::string& why) const {
  AttentionArgs args;
  args.kv = plan.kv;
  const auto [tokens, bound] = entry_unit(e, pool);
  if (tokens > plan.page_size || !std::has_single_bit(static_cast<std::uint64_t>(tokens))) {
    why = "entries of " + std::to_string(tokens) + " tokens over pages of " +
          std::to_string(plan.page_size);
    return args;
  }
  args.page_shift = std::countr_zero(plan.page_size);
  args.entry_shift = std::countr_zero(static_cast<std::uint64_t>(tokens));
  args.bound = bound;
  args.window = static_cast<std::int32_t>(std::min(e.window.value_or(0), kWidestWindow));
  args.ratio = static_cast<std::int32_t>(
      std::clamp<std::int64_t>(e.q_heads.value_or(plan.kv.heads) / plan.kv.heads, 1, 64));
  args.logits = logits_of(e.scale.value_or(1.0 / std::sqrt(plan.kv.head_dim)),
                          std::max(e.soft_cap.value_or(0.0), 0.0));
  args.sinks = e.sinks.value_or(false);
  args.on_oob = options_.on_oob;
  args.check_owner = options_.reference == nullptr && plan.owners_known;
  return args;
}

void Executor::attend(const World& world, const LaunchView& view, const Targets::Group& group) {
  const auto known = survey_.pools.find({rank_, group.pool});
  if (known != survey_.pools.end() && !known->second.refused.empty()) {
    return refuse(
        "pool " + std::string(names_.text(known->second.name)) + ": " + known->second.refused,
        group.members.size(), {.pool = known->second.name});
  }
  PoolRun* run = run_of(group.pool);
  if (run == nullptr) return;  // None of its layers is of this pass.
  Launched launched;
  launched.event = event_;
  launched.launch = view.number;
  launched.pool = run->plan->name;
  launched.backend = view.backend->name;
  std::vector<AttentionLayer> layers = layers_of(view, group, *run, launched);
  if (layers.empty() || view.lanes.empty()) return;
  std::string why;
  const Pool& pool = world.pool(group.pool);
  AttentionArgs args = args_of(*view.attention, pool, *run->plan, why);
  const LeftOut this_one{event_, view.number, launched.pool};
  if (!why.empty()) return refuse(why, layers.size(), this_one);
  LaneList& list = launched.list;
  if (!gather_lanes(view, std::int64_t{1} << args.entry_shift, args.window, list)) {
    return refuse("a lane whose length is not known, or is no sequence's", layers.size(), this_one);
  }
  for (AttentionLane& lane : list.lanes) lane.request = request_of(Name{lane.owner});
  launched.bound = args.bound;
  const std::size_t sums = 2 * layers.size() * list.lanes.size();  // Twice, to compare.
  if (sums > kDigestsKept) {
    return refuse("more lanes and layers than a batch holds", layers.size(), this_one);
  }
  if (digests_ + sums > kDigestsKept || slab_ >= kSlabsBeforeFlush) flush();
  if (options_.reference != nullptr) {
    compare(world, group.pool, *run, args, layers, std::move(launched));
  } else {
    run_lanes(world, group.pool, *run, args, layers, std::move(launched));
  }
}

// Attends `launched.list`. False where there is nothing to do or no memory.
bool Executor::run_lanes(const World& world, std::uint32_t pool, PoolRun& run, AttentionArgs args,
                         std::vector<AttentionLayer>& layers, Launched&& launched) {
  const LaneList& list = launched.list;
  const std::size_t sums = layers.size() * list.lanes.size();
  refresh(world, pool, run);
  launched.digests = digests_;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    layers[i].digests = digests_there_ + digests_ + i * list.lanes.size();
  }
  args.layers = send(layers);
  args.layer_count = static_cast<std::uint32_t>(layers.size());
  args.pages = run.there;
  args.page_count = static_cast<std::int64_t>(run.pages.size());
  const Space& space = world.space_of(world.pool(pool));
  args.rest.owner = space.known(PageId{INT32_MAX}) ? kNobody : kAnybody;
  args.lanes = send(list.lanes);
  args.entries = send(list.entries);
  if (!submit(args, list.lanes)) return false;
  digests_ += sums;
  launches_ += layers.size();
  launched.list.entries = {};
  launched.list.lanes = {};
  launched_.push_back(std::move(launched));
  return true;
}

// Cuts the work up and gives it to the machine. False where there is nothing to do or no memory.
bool Executor::submit(AttentionArgs& args, const std::vector<AttentionLane>& lanes) {
  args.tile_rows = machine_.tile_rows(args, lanes);
  const std::vector<AttentionItem> items = plan_of(args, lanes, options_.chunk_shift);
  args.launch = static_cast<std::uint32_t>(launched_.size());
  args.sharers = sharers_there_;
  args.findings = findings_there_;
  args.findings_max = kFindingsKept;
  args.finding_count = finding_count_;
  if (args.partial_count > 0) {
    const std::size_t partials = std::size_t{args.layer_count} * args.partial_count;
    args.partials = static_cast<float*>(scratch(partials * args.partial_floats() * sizeof(float)));
  }
  args.items = send(items);
  args.item_count = static_cast<std::uint32_t>(items.size());
  if (!status_.ok() || items.empty()) return false;
  machine_.attend(args);
  return true;
}

}  // namespace pagetape
