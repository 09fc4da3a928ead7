// SPDX-License-Identifier: Apache-2.0
#include "verify/export_chrome.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "replay/missing.h"
#include "verify/chrome_file.h"

namespace pagetape {
namespace {

enum class Group : std::uint8_t { kSteps, kBackends, kRequests, kPools, kStreams };
constexpr const char* kGroups[] = {"steps", "backends", "requests", "pools", "streams"};
constexpr auto kGroupCount = static_cast<std::int64_t>(std::size(kGroups));

constexpr const char* kLaunch = "launch";
constexpr const char* kBinding = "binding";
constexpr const char* kRecording = "recording";

class ChromeExporter final : public Exporter {
 public:
  ChromeExporter(const Names& names, bool index_as_time, OutputFile& out)
      : names_(names), index_as_time_(index_as_time), file_(out), state_(names) {}

  Status event(const Event& event, EventIndex index) override {
    rank_ = event.rank.value_or(State::kNoRank);
    stream_ = event.stream;
    index_ = index;
    now_ = index_as_time_ ? static_cast<std::int64_t>(index) * 1000 : event.t.value_or(now_);
    std::visit([&](const auto& body) { on(body); }, event.body);
    state_.skip_to(index);
    const Outcome outcome = state_.apply(event);
    // Behind damage, what names something never declared is left out, as the verifier does.
    if (outcome.applied()) count_pages();
    return file_.status();
  }

  Status finding(const Finding& f) override {
    ChromeArgs args;
    args.add("id", f.id(names_)).add("event", static_cast<std::int64_t>(f.event));
    if (f.has_layer) args.add("layer", names_.layer(f.layer));
    if (f.req != kNone) args.add("req", text(f.req));
    if (f.column >= 0) args.add("row", f.row).add("column", f.column);
    if (f.page != INT64_MIN) args.add("page", f.page);
    if (f.pool != kNone) args.add("pool", text(f.pool)).add("bound", f.bound);
    args.add("message", f.message);
    ChromeLane& at = f.backend != kNone ? backend(f.backend).lane
                     : f.pool != kNone  ? pool(f.pool)
                                        : steps();
    file_.instant(at, now_, {info(f.rule).name, "finding", args});
    return file_.status();
  }

  void missing() override {
    forget_all(state_, nullptr);
    file_.instant(steps(), now_, {"events are missing: the file is damaged", kRecording});
  }

  Status end() override {
    if (index_as_time_) now_ += 1000;
    for (auto& [key, open] : lanes_) end_all(open.lane);
    for (auto& [rank, seats] : seats_) {
      for (ChromeLane& seat : seats.all) end_all(seat);
    }
    file_.finish();
    return file_.status();
  }

 private:
  using Rank = std::int64_t;
  struct OpenLane {
    ChromeLane lane;
    EventIndex launch = kNever;  // Whose slice is open.
  };
  // Lanes of requests: one that is over leaves its lane to another.
  struct Seats {
    std::vector<ChromeLane> all;
    std::vector<std::size_t> free;
    std::map<Name, std::size_t> taken;
  };

  // What each kind of event shows; the others show nothing.
  template <class T>
  void on(const T&) {}

  void on(const ev::Step& e) {
    for (auto& [key, open] : lanes_) {
      const Group group = std::get<Group>(key);
      const bool ends = group == Group::kBackends || group == Group::kStreams;
      if (ends && std::get<0>(key) == rank_) end_launch(open);
    }
    ChromeLane& at = steps();
    end_all(at);
    std::string name = "step " + std::to_string(e.step);
    if (e.mode != kNone) name += ' ' + text(e.mode);
    ChromeArgs args = here();
    if (e.batch.has_value()) args.add("batch", *e.batch);
    file_.begin(at, now_, {name, "step", args});
  }

  void on(const ev::Attention& e) { launch("attention " + layers_of(e), std::span(&e.backend, 1)); }
  void on(const ev::Store& e) { launch("store " + layers_of(e), std::span(&e.backend, 1)); }
  void on(const ev::Copy& e) { launch("copy " + text(e.from_pool) + " to " + text(e.to_pool), {}); }
  void on(const ev::GraphCapture& e) {
    NameList& backends = graphs_[{rank_, e.graph}];
    backends.clear();
    if (!e.launches) return;
    for (const ev::Launch& one : *e.launches) {
      const auto* attention = std::get_if<ev::Attention>(&one);
      const auto* store = std::get_if<ev::Store>(&one);
      backends.push_back(attention != nullptr ? attention->backend
                         : store != nullptr   ? store->backend
                                              : kNone);
    }
    file_.instant(stream().lane, now_, {"capture of graph " + text(e.graph), kBinding, here()});
  }
  void on(const ev::GraphLaunch& e) {
    NameList backends = graphs_[{rank_, e.graph}];
    std::ranges::sort(backends);
    backends.erase(std::unique(backends.begin(), backends.end()), backends.end());
    launch("graph " + text(e.graph), backends);
  }
  void on(const ev::GraphStep& e) {
    const NameList& backends = graphs_[{rank_, e.graph}];
    const bool known = e.index >= 0 && e.index < std::ssize(backends);
    const std::string name = "graph " + text(e.graph) + ", launch " + std::to_string(e.index);
    launch(name, known ? std::span(&backends[static_cast<std::size_t>(e.index)], 1)
                       : std::span<const Name>());
  }
  void on(const ev::LaunchDone& e) {
    for (auto& [key, open] : lanes_) {
      const bool of_rank = std::get<0>(key) == rank_;
      if (of_rank && open.launch == static_cast<EventIndex>(e.event)) end_launch(open);
    }
  }

  void on(const ev::Request& e) {
    const std::string_view state = names_.text(e.state);
    const bool over = state == "finish" || state == "abort";
    ChromeLane& at = seat_of(e.req);
    if (at.depth > 1) file_.end(at, now_);
    if (!over) return file_.begin(at, now_, {state, "request", here()});
    file_.instant(at, now_, {state, "request", here()});
    end_all(at);
    Seats& seats = seats_[rank_];
    const auto taken = seats.taken.find(e.req);
    seats.free.push_back(taken->second);
    seats.taken.erase(taken);
  }
  // A trace need not say when requests come: they are there when they get pages.
  void on(const ev::Alloc& e) { meet(e.req); }
  void on(const ev::Share& e) { meet(e.req); }
  void on(const ev::PrefixHit& e) { meet(e.req); }

  void on(const ev::PoolSwap& e) {
    say(e.backend, "bound to " + text(e.pool) + (e.set == kNone ? "" : " through " + text(e.set)));
  }
  void on(const ev::SwaState& e) {
    say(e.backend, std::string(e.uses_swa ? "uses" : "uses no") + " sliding-window pool, says " +
                       text(e.derived_from));
  }
  void on(const ev::LayerRemap& e) {
    say(e.backend, "layer " + names_.layer(e.layer) + " is layer " + names_.layer(e.to));
  }
  void on(const ev::Cached& e) {
    say(e.backend, text(e.attr) + " copied from " + text(e.derived_from));
  }

  void on(const ev::AsyncBegin& e) {
    const std::string name = text(e.kind) + " of " + text(e.pool);
    ops_[{rank_, e.op}] = {name, stream_};
    file_.begin_async(stream().lane, now_, op_id(e.op),
                      {name, "async", here().add("by", text(e.by))});
  }
  void on(const ev::AsyncEnd& e) {
    const auto at = ops_.find({rank_, e.op});
    if (at == ops_.end()) return;  // It began before the recording.
    const auto [name, began_on] = at->second;
    ops_.erase(at);
    stream_ = began_on;
    file_.end_async(stream().lane, now_, op_id(e.op), {name, "async"});
  }

  void on(const ev::CudaError& e) { say_of_recording("CUDA error: " + text(e.name)); }
  void on(const ev::Note& e) { say_of_recording("note: " + text(e.text)); }
  void on(const ev::Dropped& e) {
    say_of_recording("dropped " + std::to_string(e.events) + " events");
  }
  void on(const ev::Gap& e) { say_of_recording("gap: " + text(e.why)); }

  // Leaves.
  std::string text(Name name) const { return std::string(names_.text(name)); }
  ChromeArgs here() const { return ChromeArgs().add("event", static_cast<std::int64_t>(index_)); }
  std::string op_id(Name op) const {
    return (rank_ == State::kNoRank ? "" : std::to_string(rank_) + '.') + text(op);
  }
  template <class T>
  std::string layers_of(const T& e) const {
    if (e.layer) return "layer " + names_.layer(*e.layer);
    return std::to_string(e.layers ? e.layers->size() : 0) + " layers";
  }

  void launch(const std::string& what, std::span<const Name> backends) {
    const ChromeItem item{what, kLaunch, here()};
    begin_launch(stream(), item);
    for (const Name name : backends) {
      if (name != kNone) begin_launch(backend(name), item);
    }
  }
  void begin_launch(OpenLane& open, const ChromeItem& item) {
    end_launch(open);
    open.launch = index_;
    file_.begin(open.lane, now_, item);
  }
  void end_launch(OpenLane& open) {
    end_all(open.lane);
    open.launch = kNever;
  }
  void end_all(ChromeLane& at) {
    while (at.depth > 0) file_.end(at, now_);
  }

  void say(Name of, const std::string& what) {
    file_.instant(backend(of).lane, now_, {what, kBinding, here()});
  }
  void say_of_recording(const std::string& what) {
    file_.instant(steps(), now_, {what, kRecording, here()});
  }

  // The request's lane, in which its life is a slice.
  ChromeLane& seat_of(Name req) {
    Seats& seats = seats_[rank_];
    const auto [at, fresh] = seats.taken.try_emplace(req, seats.all.size());
    if (!fresh) return seats.all[at->second];
    if (seats.free.empty()) {
      const auto tid = static_cast<std::int64_t>(seats.all.size()) + 1;
      seats.all.push_back({.pid = process(Group::kRequests), .tid = tid});
      file_.name_lane(seats.all.back(), "lane " + std::to_string(tid));
    } else {
      at->second = seats.free.back();
      seats.free.pop_back();
    }
    ChromeLane& seat = seats.all[at->second];
    file_.begin(seat, now_, {names_.text(req), "request", here()});
    return seat;
  }
  void meet(Name req) {
    if (!names_.text(req).starts_with('#')) seat_of(req);  // A cache has no life.
  }

  void count_pages() {
    const World& world = *state_.world(rank_);
    for (std::uint32_t i = 0; i < world.pools.size(); ++i) {
      const auto owned = static_cast<std::int64_t>(world.space_of(world.pool(i)).owned_pages());
      const auto [at, fresh] = owned_.try_emplace({rank_, i}, owned);
      if (!fresh && at->second == owned) continue;
      at->second = owned;
      const std::string name = "pages of " + text(world.pool(i).name);
      file_.counter(pool(world.pool(i).name), now_,
                    {name, "pages", ChromeArgs().add("owned", owned)});
    }
  }

  // The process of a group of the rank at hand; the first time the rank's are named.
  std::int64_t process(Group group) {
    const auto [at, fresh] = ranks_.try_emplace(rank_, std::ssize(ranks_) * kGroupCount + 1);
    if (fresh) {
      const std::string of = rank_ == State::kNoRank ? "" : " of rank " + std::to_string(rank_);
      for (std::int64_t g = 0; g < kGroupCount; ++g) {
        file_.name_process(at->second + g, kGroups[g] + of);
      }
    }
    return at->second + static_cast<std::int64_t>(group);
  }
  OpenLane& open_lane(Group group, std::int64_t key, const std::string& name) {
    const auto [at, fresh] = lanes_.try_emplace({rank_, group, key});
    ChromeLane& made = at->second.lane;
    if (fresh) {
      made.pid = process(group);
      made.tid = ++tids_[made.pid];
      file_.name_lane(made, name);
    }
    return at->second;
  }
  OpenLane& backend(Name name) { return open_lane(Group::kBackends, raw(name), text(name)); }
  ChromeLane& pool(Name name) { return open_lane(Group::kPools, raw(name), text(name)).lane; }
  ChromeLane& steps() { return open_lane(Group::kSteps, 0, "steps").lane; }
  OpenLane& stream() {
    return open_lane(Group::kStreams, stream_, "stream " + std::to_string(stream_));
  }

  const Names& names_;
  const bool index_as_time_;
  ChromeFile file_;
  State state_;
  Rank rank_ = State::kNoRank;
  std::int32_t stream_ = 0;
  EventIndex index_ = 0;
  std::int64_t now_ = 0;
  std::map<Rank, std::int64_t> ranks_;                               // The first process of each.
  std::map<std::tuple<Rank, Group, std::int64_t>, OpenLane> lanes_;  // By name, or stream.
  std::map<std::int64_t, std::int64_t> tids_;                        // The last of each process.
  std::map<Rank, Seats> seats_;
  std::map<std::pair<Rank, Name>, NameList> graphs_;  // The backend of each captured launch.
  std::map<std::pair<Rank, Name>, std::pair<std::string, std::int32_t>> ops_;  // Name, stream.
  std::map<std::pair<Rank, std::uint32_t>, std::int64_t> owned_;               // By pool.
};

}  // namespace

std::unique_ptr<Exporter> chrome_exporter(const Names& names, bool index_as_time, OutputFile& out) {
  return std::make_unique<ChromeExporter>(names, index_as_time, out);
}

bool has_times(const std::string& path) {
  Names names;
  Status status;
  const std::unique_ptr<Source> source = open_trace(path, names, status);
  Event event;
  while (source != nullptr) {
    if (source->next(event)) {
      if (event.t.has_value()) return true;
    } else if (source->status().ok() || !source->resume()) {
      return false;
    }
  }
  return false;
}

}  // namespace pagetape
