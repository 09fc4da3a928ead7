// SPDX-License-Identifier: Apache-2.0
// Rules of single pages: given out, shared, freed, written.
#include <algorithm>
#include <utility>

#include "verify/judge.h"

namespace pagetape {

const Op* conflicting_op(World& world, const PageUse& use) {
  for (const Op& op : world.ops) {
    const bool same_pool =
        op.pool == use.pool ||
        (use.whole_allocator && world.space_of(world.pool(op.pool)).allocator ==
                                    world.space_of(world.pool(use.pool)).allocator);
    if (!same_pool || op.stream == use.stream || !(op.writes || use.writes)) continue;
    if (std::ranges::find(op.ordered, use.stream) != op.ordered.end()) continue;
    if (op.by == use.party && !(use.is_launch && op.writes)) continue;
    if (!std::ranges::binary_search(op.pages, use.page)) continue;
    if (world.layers.intersect(op.layers, use.layers) == kNoLayers) continue;
    return &op;
  }
  return nullptr;
}

namespace {

enum class Kind : std::uint8_t { kGive, kJoin, kTake, kMapSet, kWrite, kRead };

Kind kind_of(Act act) {
  switch (act) {
    case Act::kAlloc:
      return Kind::kGive;
    case Act::kShare:
    case Act::kPrefixHit:
      return Kind::kJoin;
    case Act::kFree:
    case Act::kEvict:
    case Act::kMapFree:
      return Kind::kTake;
    case Act::kMapSet:
      return Kind::kMapSet;
    case Act::kFill:
    case Act::kStore:
    case Act::kCopyWrite:
    case Act::kTransferWrite:
      return Kind::kWrite;
    case Act::kCopyRead:
    case Act::kTransferRead:
      return Kind::kRead;
  }
  return Kind::kRead;
}

struct FateRule {
  Kind kind;
  Fate fate;
  Rule rule;
  const char* what;
};

constexpr FateRule kFateRules[] = {
    {Kind::kGive, Fate::kOutside, Rule::kOobPage, "was given out and is outside the pool"},
    {Kind::kGive, Fate::kReserved, Rule::kPadLane, "is reserved and was given out"},
    {Kind::kGive, Fate::kTaken, Rule::kAliasedWrite, "was given out while it has an owner"},
    {Kind::kJoin, Fate::kOutside, Rule::kFreedPage, "is shared and is outside the pool"},
    {Kind::kJoin, Fate::kReserved, Rule::kFreedPage, "is shared and is reserved"},
    {Kind::kJoin, Fate::kNoOwner, Rule::kFreedPage, "is shared and has no owner"},
    {Kind::kTake, Fate::kReserved, Rule::kFreelist, "is the sentinel and was freed"},
    {Kind::kTake, Fate::kForeign, Rule::kFreelist, "was freed by one who does not own it"},
    {Kind::kMapSet, Fate::kShared, Rule::kFreelist, "is mapped from two live pages"},
    {Kind::kWrite, Fate::kOutside, Rule::kOobPage, "is written and is outside the pool"},
    {Kind::kWrite, Fate::kNullPage, Rule::kPadLane, "is the null page and is written"},
    {Kind::kWrite, Fate::kPadElsewhere, Rule::kPadLane,
     "is written by a padding lane and is not reserved"},
    {Kind::kWrite, Fate::kNoOwner, Rule::kFreedPage, "is written and has no owner"},
    {Kind::kWrite, Fate::kForeign, Rule::kWrongOwner, "is written by one who does not own it"},
    {Kind::kWrite, Fate::kShared, Rule::kAliasedWrite, "is written and has several owners"},
    {Kind::kRead, Fate::kOutside, Rule::kOobPage, "is read and is outside the pool"},
    {Kind::kRead, Fate::kNoOwner, Rule::kFreedPage, "is read and has no owner"},
};

}  // namespace

// Can the kernel's signed offset express the page to its last byte?
inline bool Judge::offset_fits(const Pool& pool, PageId page) {
  if (raw(page) < 0) return true;
  const unsigned __int128 end =
      (static_cast<unsigned __int128>(raw(page)) + 1) * static_cast<std::uint64_t>(pool.page_bytes);
  return end <= static_cast<unsigned __int128>(1) << (pool.offset_bits - 1);
}

// Does the pool say what the kernel's offsets can express?
static bool says_offsets(const Pool& pool) { return pool.page_bytes > 0 && pool.offset_bits > 0; }

inline bool Judge::all_offsets_fit(const Pool& pool) {
  return pool.pages <= INT32_MAX &&
         (!says_offsets(pool) ||
          offset_fits(pool, PageId{static_cast<std::int32_t>(pool.pages - 1)}));
}

// A store of pages that are all judged alike but for their fates.
Judge::UsualStore Judge::usual_store(const World& world, const LaunchView& view) {
  const bool said = view.claim != kNoSpace;
  UsualStore out{.usual = world.ops.empty() && (store_unit_ == StoreUnit::kSlot ||
                                                (said && store_unit_ == StoreUnit::kNone)),
                 .offsets = false};
  bool first = true;
  for (const Targets::Group& group : view.targets->groups) {
    if (group.pool == kNoPool) continue;
    const Pool& pool = world.pool(group.pool);
    const bool offsets = says_offsets(pool);
    if (std::exchange(first, false)) out.offsets = offsets;
    out.usual = out.usual && offsets == out.offsets && (!said || view.claim == pool.space) &&
                seen_pool(world, group.pool).write && all_offsets_fit(pool);
  }
  return out;
}

// Of what is as it should be, offsets and pending operations alone are looked at.
bool Judge::counts(const World& world, Act act, std::uint32_t pool) const {
  return options_.reuse && world.ops.empty() &&
         (act != Act::kFill || all_offsets_fit(world.pools[pool]));
}

void Judge::on_counted(const World& world, Act act, std::uint32_t pool, std::uint64_t pages) {
  const Kind kind = kind_of(act);
  if (kind == Kind::kTake || kind == Kind::kMapSet) return coverage_.judged(Rule::kFreelist, pages);
  coverage_.judged(Rule::kPadLane, pages);
  coverage_.judged(Rule::kAliasedWrite, pages);
  if (kind == Kind::kGive) return;
  coverage_.judged(Rule::kFreedPage, pages);
  coverage_.judged(Rule::kWrongOwner, pages);
  if (says_offsets(world.pools[pool])) coverage_.judged(Rule::kOffsetOverflow, pages);
  if (!seen_pool(world, pool).write) note_pool(world, world.pools[pool].name, &Seen::write);
}

void Judge::on_pages(const LaunchView& view, std::uint32_t group, std::uint64_t pages,
                     std::uint64_t pads) {
  const Targets::Group& target = view.targets->groups[group];
  coverage_.judged_stores(pages, pads, target.members.size(), store_.offsets ? 1 : 0);
  if (pads > 0) seen_pool(*current_, target.pool).padding = true;
}

void Judge::on_page(World& world, const PageAct& act) {
  if (act.act == Act::kStore && store_.usual && act.fate == Fate::kOk && act.req != kNone)
      [[likely]] {
    return on_pages(*act.launch, act.group, 1, 0);
  }
  const Kind kind = kind_of(act.act);
  const Pool& pool = world.pool(act.pool);
  const bool uses = kind == Kind::kWrite || kind == Kind::kRead;
  const std::uint64_t layers = act.launch != nullptr && act.launch->targets != nullptr
                                   ? act.launch->targets->groups[act.group].members.size()
                                   : 1;
  if (kind == Kind::kWrite) {
    if (act.act != Act::kFill) coverage_.judged(Rule::kOobPage, layers);
    coverage_.judged(Rule::kPadLane, layers);
    coverage_.judged(Rule::kFreedPage, layers);
    coverage_.judged(Rule::kWrongOwner, layers);
    coverage_.judged(Rule::kAliasedWrite, layers);
    if (act.fate != Fate::kOutside && !seen_pool(world, act.pool).write) {
      note_pool(world, pool.name, &Seen::write);
    }
    if (act.req == kNone) note_pool(world, pool.name, &Seen::padding);
  } else if (kind == Kind::kGive) {
    coverage_.judged(Rule::kAliasedWrite, 1);
    coverage_.judged(Rule::kPadLane, 1);
  } else if (kind == Kind::kTake || kind == Kind::kMapSet) {
    coverage_.judged(Rule::kFreelist, 1);
  } else {
    coverage_.judged(Rule::kFreedPage, 1);
  }
  if (act.fate != Fate::kOk) judge_fate(world, act);
  if (act.act == Act::kPrefixHit) judge_hit(world, act);
  if (act.act == Act::kStore && act.req != kNone) judge_store_space(world, act);
  if (uses && says_offsets(pool)) {
    coverage_.judged(Rule::kOffsetOverflow, 1);
    if (!offset_fits(pool, act.page)) {
      report_page(world, act, Rule::kOffsetOverflow, "lies beyond what the offset can express");
    }
  }
  if (!world.ops.empty() && act.fate != Fate::kOutside && (uses || kind == Kind::kGive)) {
    judge_inflight(world, act, kind != Kind::kRead);
  }
}

// It is not known who owns the page, nor what it holds.
void Judge::miss_page(const World& world, const PageAct& act) {
  Seen& seen = seen_pool(world, act.pool);
  switch (kind_of(act.act)) {
    case Kind::kGive:
      return seen.miss({Rule::kAliasedWrite});
    case Kind::kJoin:
      seen.miss({Rule::kFreedPage});
      if (act.act == Act::kPrefixHit) seen.miss({Rule::kUninitRead, Rule::kStaleContent});
      return;
    case Kind::kTake:
    case Kind::kMapSet:
      return seen.miss({Rule::kFreelist});
    case Kind::kWrite:
      return seen.miss({Rule::kFreedPage, Rule::kWrongOwner, Rule::kAliasedWrite});
    case Kind::kRead:
      return seen.miss({Rule::kFreedPage});
  }
}

// Is a store outside the pool that the trace knows, but not outside the tensor that it got, which
// is another one than the pool bound (STALE_BINDING)?
static bool of_another_tensor(const World& world, const PageAct& act) {
  const LaunchView& view = *act.launch;
  const bool within = raw(act.page) >= 0 && raw(act.page) < view.bound_of(world.pool(act.pool));
  return within &&
         std::ranges::all_of(view.targets->groups[act.group].members, [&](std::uint32_t member) {
           return view.targets->list[member].binding.pool != kNoPool;
         });
}

void Judge::judge_fate(World& world, const PageAct& act) {
  if (act.fate == Fate::kUnknown) return miss_page(world, act);
  if (act.fate == Fate::kPad) return;
  if (act.fate == Fate::kOutside && act.act == Act::kStore && of_another_tensor(world, act)) return;
  const Kind kind = kind_of(act.act);
  for (const FateRule& r : kFateRules) {
    if (r.kind != kind || r.fate != act.fate) continue;
    const Rule rule = r.rule;
    const Space& space = world.space_of(world.pool(act.pool));
    const Space* other = rule == Rule::kFreedPage && act.fate == Fate::kNoOwner
                             ? world.owner_elsewhere(space, act.page)
                             : nullptr;
    if (other == nullptr) return report_page(world, act, rule, r.what);
    report_page(world, act, Rule::kWrongSpace,
                "has an owner in another space of the allocator only", other->info(act.page).by);
    return;
  }
}

void Judge::report_page(World& world, const PageAct& act, Rule rule, const char* what,
                        EventIndex because, EventIndex besides) {
  const Pool& pool = world.pool(act.pool);
  const Space& space = world.space_of(pool);
  Finding f = start(rule);
  f.req = act.req;
  f.row = act.row;
  f.column = act.column;
  f.page = raw(act.page);
  f.bound = act.launch != nullptr ? std::min(act.launch->bound_of(pool), pool.pages) : pool.pages;
  f.pool = pool.name;
  if (act.act == Act::kStore) f.slot = raw(act.slot);
  if (act.act == Act::kMapSet || act.act == Act::kMapFree) f.map = act.name;
  const bool transfer = act.act == Act::kTransferRead || act.act == Act::kTransferWrite;
  if (transfer || rule == Rule::kInflightHazard) f.op = act.name;
  const PageInfo info = pool.in_bounds(act.page) ? space.info(act.page) : PageInfo{};
  const bool owner_rule = rule == Rule::kFreedPage || rule == Rule::kWrongOwner;
  // A cache or a transfer that shares a page nobody owns is a fault without any alloc, too.
  const bool seen = !owner_rule || coverage_.pool(rank_, pool.name).alloc ||
                    coverage_.says_it_records(kKindOf<ev::Alloc>);
  Findings& to = keeper(rule, pool.space, seen);
  const auto message = [&] {
    std::string m = "page " + std::to_string(raw(act.page)) + " of pool " +
                    std::string(names_.text(pool.name)) + ' ' + what;
    if (info.owner != kNone && rule != Rule::kPadLane) {
      m += " (owner: " + std::string(names_.text(info.owner)) + ')';
    }
    if (act.other >= 0) m += " (also from page " + std::to_string(act.other) + ')';
    return m;
  };
  if (act.launch == nullptr || act.launch->targets == nullptr) {
    return report(to, std::move(f), message, {pool.by, info.by, because, besides});
  }
  const LaunchView& view = *act.launch;
  f.graph = view.graph_name;
  f.backend = view.backend->name;
  for (std::uint32_t member : view.targets->groups[act.group].members) {
    const Target& target = view.targets->list[member];
    Finding g = f;
    g.has_layer = true;
    g.layer = target.physical;
    g.logical_layer = target.logical;
    report(to, std::move(g), message,
           {target.binding.by, target.remapped_by, info.by, because, besides,
            view.graph == nullptr ? kNever : view.graph->by});
  }
}

void Judge::judge_hit(World& world, const PageAct& act) {
  Pool& pool = world.pool(act.pool);
  if (act.fate != Fate::kOk) return;
  coverage_.judged(Rule::kUninitRead, 1);
  const PrefixKeyState* offered = nullptr;
  if (auto keys = pool.keys.find(raw(act.page)); keys != pool.keys.end()) {
    for (const PrefixKeyState& k : keys->second) {
      if (k.key == act.name) offered = &k;
    }
  }
  const auto page = static_cast<std::uint32_t>(act.page);
  const LayerSet written = pool.extents.covered(world.layers, page, 0, pool.page_size);
  const bool complete = written != kNoLayers && world.layers.contains(written, pool.layers_written);
  if (!complete && (offered == nullptr || !offered->scheduled)) {
    report_page(world, act, Rule::kUninitRead, "is reused as a prefix and is not complete");
  }
  const Name* digest = pool.digests.find(page);
  if (offered == nullptr) {
    // A fault only where the recorder says what is offered.
    if (!coverage_.recorded(kKindOf<ev::PrefixKey>)) return;
    coverage_.judged(Rule::kStaleContent, 1);
    report_page(world, act, Rule::kStaleContent, "is reused under a key that is not offered");
  } else if (digest != nullptr && *digest != kNone) {
    coverage_.judged(Rule::kStaleContent, 1);
    if (*digest != act.name) {
      report_page(world, act, Rule::kStaleContent, "is reused under a key that is not its content",
                  pool.extents.written_by(page), offered->by);
    }
  }
}

Judge::StoreUnit Judge::unit_of(const ev::Store& store) const {
  const std::string_view unit = store.unit == kNone ? std::string_view() : names_.text(store.unit);
  if (unit.empty()) return StoreUnit::kNone;
  if (unit == "slot") return StoreUnit::kSlot;
  return unit == "page" ? StoreUnit::kPage : StoreUnit::kOther;
}

void Judge::judge_store_space(World& world, const PageAct& act) {
  const LaunchView& view = *act.launch;
  const Pool& pool = world.pool(act.pool);
  const bool space_said = view.claim != kNoSpace;
  if (!space_said && store_unit_ == StoreUnit::kNone) return;
  coverage_.judged(Rule::kWrongSpace, 1);
  if (space_said && view.claim != pool.space) {
    report_page(world, act, Rule::kWrongSpace, "is addressed by slots of another space");
  } else if (store_unit_ == StoreUnit::kOther ||
             (store_unit_ == StoreUnit::kPage && pool.page_size != 1)) {
    report_page(world, act, Rule::kWrongSpace, "is addressed in another unit than slots");
  }
}

void Judge::judge_inflight(World& world, const PageAct& act, bool writes) {
  coverage_.judged(Rule::kInflightHazard, 1);
  const bool launch = act.act == Act::kStore || act.launch != nullptr;
  const Op* op = conflicting_op(world, {.pool = act.pool,
                                        .page = act.page,
                                        .party = act.req,
                                        .stream = stream_,
                                        .layers = act.layers,
                                        .writes = writes,
                                        .is_launch = launch,
                                        .whole_allocator = act.act == Act::kAlloc});
  if (op == nullptr) return;
  PageAct told = act;
  told.name = op->name;
  const std::string what = std::string(writes ? "is written" : "is read") + " while operation " +
                           std::string(names_.text(op->name)) + " of " +
                           std::string(names_.text(op->by)) + " is pending on stream " +
                           std::to_string(op->stream);
  report_page(world, told, Rule::kInflightHazard,
              act.act == Act::kAlloc ? "was given out while an operation of another stream holds it"
                                     : what.c_str(),
              op->event);
}

}  // namespace pagetape
