// SPDX-License-Identifier: Apache-2.0
// Attention: the rows of a launch as a machine gets them.
#include <xxhash.h>

#include <algorithm>
#include <bit>

#include "replay/executor.h"

namespace pagetape {

// No context is longer; positions of a machine have 31 bits.
static constexpr std::int64_t kMostTokens = 1 << 24;
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
    status_ = usage(std::string(machine_.name()) + ": no memory for the pages of a pool");
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

// The lanes' live entries. False where one has numbers that no kernel takes.
bool Executor::lanes_of(const LaunchView& view, std::int64_t entry_tokens, AttentionArgs& args,
                        Launched& launched, std::vector<AttentionLane>& lanes,
                        std::vector<std::int32_t>& entries) const {
  for (const Lane& lane : view.lanes) {
    AttentionLane& out = lanes.emplace_back();
    launched.reqs.push_back(lane.req);
    launched.columns.push_back(0);
    launched.listed.emplace_back();
    out.entries_begin = static_cast<std::uint32_t>(entries.size());
    if (lane.len > kMostTokens || lane.q_len < 0 || lane.q_len > kMostTokens || lane.q_pos < 0 ||
        lane.q_pos > kMostTokens || lane.len < 0) {
      return false;
    }
    out.len = static_cast<std::int32_t>(lane.len);
    out.q_pos = static_cast<std::int32_t>(lane.q_pos);
    out.q_len = static_cast<std::int32_t>(lane.q_len);
    out.owner = raw(lane.req);
    const std::int64_t begin = out.live_begin(0, args.window) / entry_tokens;
    const std::int64_t end = (lane.len + entry_tokens - 1) / entry_tokens;
    out.first = static_cast<std::int32_t>(begin);
    if (lane.logical != nullptr) {
      entries.resize(
          entries.size() + static_cast<std::size_t>(std::max<std::int64_t>(end - begin, 0)),
          kNoEntry);
      launched.listed.back().assign(entries.size() - out.entries_begin, -1);
    }
    const std::int64_t count = lane.logical != nullptr
                                   ? static_cast<std::int64_t>(lane.logical->size())
                                   : end - lane.first;
    for (std::int64_t j = lane.logical != nullptr ? 0
                                                  : std::max<std::int64_t>(begin - lane.first, 0);
         j < count; ++j) {
      Cell cell;
      const bool known = lane.entry(j, cell);
      const std::int32_t id = known ? raw(cell.page) : kNoEntry;
      if (lane.logical == nullptr) {
        if (entries.size() == out.entries_begin) {
          out.first = static_cast<std::int32_t>(lane.first + j);
          launched.columns.back() = j;
        }
        entries.push_back(id);
        continue;
      }
      const std::int64_t logical = (*lane.logical)[static_cast<std::size_t>(j)];
      if (logical < begin || logical >= end) continue;
      entries[out.entries_begin + static_cast<std::size_t>(logical - begin)] = id;
      launched.listed.back()[static_cast<std::size_t>(logical - begin)] = j;
    }
    out.entries = static_cast<std::uint32_t>(entries.size()) - out.entries_begin;
  }
  return true;
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
  const std::int64_t tokens = e.page_size.value_or(plan.page_size);
  if (tokens > plan.page_size || !std::has_single_bit(static_cast<std::uint64_t>(tokens))) {
    why = "entries of " + std::to_string(tokens) + " tokens over pages of " +
          std::to_string(plan.page_size);
    return args;
  }
  args.page_shift = std::countr_zero(plan.page_size);
  args.entry_shift = std::countr_zero(static_cast<std::uint64_t>(tokens));
  args.bound = pool.pages * pool.page_size / tokens;
  if (e.bound && e.bound->pages.has_value()) args.bound = *e.bound->pages;
  args.window = static_cast<std::int32_t>(std::min(e.window.value_or(0), kMostTokens * 2));
  args.ratio = static_cast<std::int32_t>(
      std::clamp<std::int64_t>(e.q_heads.value_or(plan.kv.heads) / plan.kv.heads, 1, 64));
  args.logits = logits_of(e.scale.value_or(1.0 / std::sqrt(plan.kv.head_dim)),
                          std::max(e.soft_cap.value_or(0.0), 0.0));
  args.sinks = e.sinks.value_or(false);
  args.on_oob = options_.on_oob;
  args.check_owner = options_.check_owner && plan.owners_known;
  return args;
}

void Executor::attend(const World& world, const LaunchView& view, const Targets::Group& group) {
  const auto known = survey_.pools.find({rank_, group.pool});
  if (known != survey_.pools.end() && !known->second.refused.empty()) {
    return refuse(
        "pool " + std::string(names_.text(known->second.name)) + ": " + known->second.refused,
        group.members.size());
  }
  PoolRun* run = run_of(group.pool);
  if (run == nullptr) return;  // None of its layers is of this pass.
  Launched launched;
  launched.event = event_;
  launched.launch = view.number;
  launched.pool = run->plan->name;
  std::vector<AttentionLayer> layers = layers_of(view, group, *run, launched);
  if (layers.empty() || view.lanes.empty()) return;
  std::string why;
  const Pool& pool = world.pool(group.pool);
  AttentionArgs args = args_of(*view.attention, pool, *run->plan, why);
  if (!why.empty()) return refuse(why, layers.size());
  const std::int64_t tokens = std::int64_t{1} << args.entry_shift;
  std::vector<AttentionLane> lanes;
  std::vector<std::int32_t> entries;
  if (!lanes_of(view, tokens, args, launched, lanes, entries)) {
    return refuse("a lane whose length is not known, or is no sequence's", layers.size());
  }
  for (AttentionLane& lane : lanes) lane.request = request_of(Name{lane.owner});

  const std::size_t sums = layers.size() * lanes.size();
  if (sums > kDigestsKept) return refuse("more lanes and layers than a batch holds", layers.size());
  if (digests_ + sums > kDigestsKept || slab_ >= kSlabsBeforeFlush) flush();
  refresh(world, group.pool, *run);
  launched.bound = args.bound;
  launched.digests = digests_;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    layers[i].digests = digests_there_ + digests_ + i * lanes.size();
  }
  args.layers = send(layers);
  args.layer_count = static_cast<std::uint32_t>(layers.size());
  args.pages = run->there;
  args.page_count = static_cast<std::int64_t>(run->pages.size());
  args.rest.owner = world.space_of(pool).known(PageId{INT32_MAX}) ? kNobody : kAnybody;
  args.lanes = send(lanes);
  args.entries = send(entries);
  if (!submit(args, lanes)) return;
  digests_ += sums;
  launched_.push_back(std::move(launched));
  launches_ += layers.size();
}

// Cuts the work up and gives it to the machine. False where there is nothing to do or no memory.
bool Executor::submit(AttentionArgs& args, const std::vector<AttentionLane>& lanes) {
  const AttentionPlan work =
      plan_of(args, lanes.data(), static_cast<std::uint32_t>(lanes.size()), options_.chunk_shift);
  args.launch = static_cast<std::uint32_t>(launched_.size());
  args.sharers = sharers_there_;
  args.findings = findings_there_;
  args.findings_max = kFindingsKept;
  args.finding_count = finding_count_;
  args.chunk_shift = work.chunk_shift;
  args.chunks = work.chunks;
  if (work.chunks > 1) {
    args.partial_count = work.partials;
    args.partials = static_cast<float*>(scratch(std::size_t{args.layer_count} * work.partials *
                                                args.partial_floats() * sizeof(float)));
  }
  args.items = send(work.items);
  args.item_count = static_cast<std::uint32_t>(work.items.size());
  const AttentionItem* firsts = work.chunks > 1 ? send(work.firsts) : nullptr;
  if (!status_.ok() || work.items.empty()) return false;
  machine_.attend(args);
  if (work.chunks > 1) {
    args.items = firsts;
    args.item_count = static_cast<std::uint32_t>(work.firsts.size());
    machine_.combine(args);
  }
  return true;
}

}  // namespace pagetape
