// SPDX-License-Identifier: Apache-2.0
#include "replay/executor.h"

#include <xxhash.h>

#include <algorithm>

namespace pagetape {
static constexpr std::size_t kSlabBytes = std::size_t{16} << 20;

Executor::Executor(const Names& names, const Survey& survey, const PassLayers& layers,
                   Machine& machine, Results& results, const ExecutorOptions& options)
    : names_(names),
      survey_(survey),
      pass_(layers),
      machine_(machine),
      results_(results),
      options_(options) {}

Executor::~Executor() {
  for (auto& [ref, run] : runs_) {
    for (const Storage& storage : run.layers) {
      machine_.release(storage.k);
      machine_.release(storage.v);
    }
    machine_.release(run.there);
  }
  for (const Slab& slab : slabs_) machine_.release(slab.memory);
  for (void* memory : {static_cast<void*>(digests_there_), static_cast<void*>(findings_there_),
                       static_cast<void*>(finding_count_), static_cast<void*>(sharers_there_)}) {
    machine_.release(memory);
  }
}

bool Executor::allocate() {
  digests_there_ =
      static_cast<std::uint64_t*>(machine_.allocate(kDigestsKept * sizeof(std::uint64_t)));
  const auto room = [&](std::size_t bytes) {
    return options_.on_oob == OnOob::kTrap ? machine_.allocate_visible(bytes)
                                           : machine_.allocate(bytes);
  };
  findings_there_ = static_cast<DeviceFinding*>(room(kFindingsKept * sizeof(DeviceFinding)));
  finding_count_ = static_cast<std::uint32_t*>(room(sizeof(std::uint32_t)));
  if (digests_there_ == nullptr || findings_there_ == nullptr || finding_count_ == nullptr) {
    return false;
  }
  for (const auto& [ref, layers] : pass_) {
    const PoolPlan& plan = survey_.pools.at(ref);
    PoolRun& run = runs_[ref];
    run.plan = &plan;
    const std::size_t bytes = plan.layer_bytes() / 2;
    for (Layer layer : layers) {
      Storage storage{layer, machine_.allocate(bytes), machine_.allocate(bytes)};
      run.layers.push_back(storage);
      if (storage.k == nullptr || storage.v == nullptr) return false;
    }
  }
  return true;
}

Executor::PoolRun* Executor::run_of(std::uint32_t pool) {
  const auto at = runs_.find({rank_, pool});
  return at == runs_.end() ? nullptr : &at->second;
}

void Executor::refuse(const std::string& why, std::uint64_t launches, const LeftOut& what) {
  left_out_.insert(what);
  NotExecuted& entry = not_executed_[why];
  if (entry.launches == 0) entry.first = event_;
  entry.launches += launches;
}

// By text, so that a request is the same whatever else the trace names.
std::uint64_t Executor::request_of(Name name) {
  if (name == kNone) return 0;
  if (raw(name) >= requests_.size()) requests_.resize(raw(name) + 1);
  std::uint64_t& request = requests_[raw(name)];
  if (request == 0) {
    const std::string_view text = names_.text(name);
    request = XXH64(text.data(), text.size(), 1) | 1;
  }
  return request;
}

std::uint64_t Executor::layer_number(Layer layer) const {
  if (!layer.is_named()) return static_cast<std::uint64_t>(layer.v);
  const std::string_view text = names_.text(layer.name());
  return XXH64(text.data(), text.size(), 2);
}

void* Executor::scratch(std::size_t bytes) {
  bytes = (bytes + 255) / 256 * 256;
  while (slab_ < slabs_.size() && used_ + bytes > slabs_[slab_].bytes) {
    ++slab_;
    used_ = 0;
  }
  if (slab_ == slabs_.size()) {
    const std::size_t size = std::max(bytes, kSlabBytes);
    slabs_.push_back({machine_.allocate(size), size});
    used_ = 0;
    if (slabs_.back().memory == nullptr && status_.ok()) {
      status_ =
          system_error(std::string(machine_.name()) + ": no memory for the arguments of a launch");
    }
  }
  void* at = static_cast<std::byte*>(slabs_[slab_].memory) + used_;
  used_ += bytes;
  return at;
}

void Executor::on_event(const World& world, const Event& event, EventIndex index) {
  rank_ = event.rank.value_or(State::kNoRank);
  event_ = index;
  if (const auto* fill_event = std::get_if<ev::Fill>(&event.body)) {
    fill(world, *fill_event);
  } else if (const auto* step = std::get_if<ev::Step>(&event.body)) {
    if (step->step != step_) flush();
    step_ = step->step;
  } else if (std::holds_alternative<ev::Gap>(event.body) ||
             std::holds_alternative<ev::Dropped>(event.body) ||
             std::holds_alternative<ev::Pool>(event.body)) {
    for (auto& [ref, run] : runs_) run.all_dirty = true;
  }
}

void Executor::on_page(World& world, const PageAct& act) {
  switch (act.act) {
    case Act::kAlloc:
    case Act::kShare:
    case Act::kPrefixHit:
    case Act::kFree:
    case Act::kEvict:
    case Act::kMapFree:
      break;
    default:
      return;
  }
  if (raw(act.page) < 0 || raw(act.page) >= kMostPages) return;
  for (std::uint32_t pool : world.space_of(world.pool(act.pool)).pools) {
    if (PoolRun* run = run_of(pool)) run->dirty.push_back(static_cast<std::uint32_t>(act.page));
  }
}

void Executor::on_launch(World& world, const LaunchView& view) {
  if (view.copy != nullptr) return copy(world, *view.copy);
  for (const Targets::Group& group : view.targets->groups) {
    if (group.pool == kNoPool) {
      refuse("no pool is bound", group.members.size(), {.pool = kNone});
    } else if (view.store != nullptr) {
      store(world, view, group);
    } else {
      attend(world, view, group);
    }
  }
}

// Waits for the machine and hands on what it found.
void Executor::flush() {
  const Status done = machine_.finish();
  const bool traps = options_.on_oob == OnOob::kTrap && !launched_.empty();
  if (status_.ok() && traps && *finding_count_ > 0) return stop();
  if (status_.ok()) status_ = done;
  slab_ = used_ = 0;
  if (launched_.empty() || !status_.ok()) return;
  std::vector<std::uint64_t> sums(digests_);
  std::vector<DeviceFinding> found;
  std::uint32_t count = 0;
  machine_.download(sums.data(), digests_there_, sums.size() * sizeof sums[0]);
  machine_.download(&count, finding_count_, sizeof count);
  status_ = machine_.finish();
  found.resize(std::min(count, kFindingsKept));
  lost_ += count - found.size();
  machine_.download(found.data(), findings_there_, found.size() * sizeof found[0]);
  machine_.clear(digests_there_, sums.size() * sizeof sums[0]);
  machine_.clear(finding_count_, sizeof count);
  if (status_.ok()) status_ = machine_.finish();

  std::vector<LaneDigest> digests;
  for (const Launched& l : launched_) {
    std::size_t at = l.digests;
    for (Layer layer : l.layers) {
      for (std::uint32_t lane = 0; lane < l.list.reqs.size(); ++lane) {
        digests.push_back({l.event, l.launch, layer, l.list.reqs[lane], lane, sums[at++]});
      }
    }
  }
  std::ranges::sort(found);
  std::vector<ReplayFinding> findings;
  for (const DeviceFinding& f : found) findings.push_back(named(f));
  results_.on_step(step_, digests, findings);
  tell_errors();
  launched_.clear();
  digests_ = 0;
}

ReplayFinding Executor::named(const DeviceFinding& f) const {
  const Launched& l = launched_[f.launch];
  const std::int64_t column = l.list.column(f.lane, f.entry);
  const bool outside = f.owner == kAnybody;
  const bool one = !outside && (f.owner & kSharedOwner) == 0;
  return {l.event,
          l.launch,
          l.layers.front(),
          static_cast<std::uint32_t>(l.layers.size()),
          f.lane,
          column,
          l.list.reqs[f.lane],
          f.id,
          l.bound,
          l.pool,
          outside,
          one ? Name{f.owner} : kNone};
}

// The machine came upon an id that a launch must not use, and may have no life left but for that.
void Executor::stop() {
  status_ = usage(std::string(machine_.name()) +
                  ": stopped at an id that a launch must not use, as --on-oob trap asks");
  results_.on_step(step_, {}, {named(findings_there_[0])});
  launched_.clear();
}

Status Executor::finish() {
  flush();
  if (status_.ok() && lost_ > 0) {
    refuse("findings beyond " + std::to_string(kFindingsKept) + " of a step are not listed", lost_,
           {.event = event_, .launch = -1, .pool = kNone});
  }
  return status_;
}

}  // namespace pagetape
