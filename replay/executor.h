// SPDX-License-Identifier: Apache-2.0
// Executes the launches of a trace on a machine while the state goes over it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "replay/lanes.h"
#include "replay/machine.h"
#include "replay/survey.h"

namespace pagetape {

// What launches ought to have read, for measuring how far off they are. An executor that has one
// attends only the lanes that differ, twice: with the entries given, whoever owns the pages, and
// with the right ones.
class Reference {
 public:
  virtual ~Reference() = default;
  // Puts the right entries in the place of those that are known to be others.
  virtual void amend(const World& world, std::uint32_t pool, std::int64_t entry_tokens,
                     LaneList& list) = 0;
  // A query's output in one layer: its distance from the right one as a part of that one's length.
  virtual void on_error(Name backend, double relative) = 0;
};

struct ExecutorOptions {
  std::uint64_t seed = 1;
  OnOob on_oob = OnOob::kRecord;
  Reference* reference = nullptr;
  int chunk_shift = kAnyChunk;  // As plan_of() takes it: changes no result.
};

// An id that a launch must not use, as the machine found it.
struct ReplayFinding {
  EventIndex event = 0;
  std::int64_t launch = -1;  // Number within a graph launch.
  Layer layer;               // Logical, the first of those that share the table.
  std::uint32_t layers = 1;  // How many do.
  std::int64_t row = 0, column = 0;
  Name req = kNone;
  std::int64_t id = 0, bound = 0;
  Name pool = kNone;
  bool outside = false;  // Else the page's owner is another.
  Name owner = kNone;    // The page's; kNone: nobody, or several.

  bool operator==(const ReplayFinding&) const = default;
};

// The outputs of one lane of one launch and layer, as a number.
struct LaneDigest {
  EventIndex event = 0;
  std::int64_t launch = -1;
  Layer layer;
  Name req = kNone;
  std::uint32_t lane = 0;
  std::uint64_t digest = 0;
};

// Gets what was executed since the last call, at the end of each step. Findings are sorted.
class Results {
 public:
  virtual ~Results() = default;
  virtual void on_step(std::int64_t step, const std::vector<LaneDigest>& digests,
                       const std::vector<ReplayFinding>& findings) = 0;
};

// What a batch holds before it is waited for: sums of lanes, and findings (more are counted).
inline constexpr std::size_t kDigestsKept = std::size_t{1} << 20;
inline constexpr std::uint32_t kFindingsKept = std::uint32_t{1} << 20;

struct NotExecuted {
  std::uint64_t launches = 0;
  EventIndex first = 0;
};
// A launch that was left out; where all of a pool's are, `pool` alone is set.
struct LeftOut {
  EventIndex event = kNever;
  std::int64_t launch = -1;
  Name pool = kNone;
  auto operator<=>(const LeftOut&) const = default;
};

// Pass it to State::apply for every event, then call finish(). `layers` are the physical layers of
// this pass, a list a pool. Everything given must outlive it. Not thread-safe.
class Executor : public Observer {
 public:
  using PassLayers = std::map<PoolRef, std::vector<Layer>>;
  Executor(const Names& names, const Survey& survey, const PassLayers& layers, Machine& machine,
           Results& results, const ExecutorOptions& options);
  ~Executor() override;
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Storage for the pass. False where the machine has not so much memory.
  bool allocate();

  void on_event(const World& world, const Event& event, EventIndex index) override;
  void on_page(World& world, const PageAct& act) override;
  void on_launch(World& world, const LaunchView& view) override;

  Status finish();

  std::uint64_t launches() const { return launches_; }  // Executed, one a layer.
  // Why some were not.
  const std::map<std::string, NotExecuted>& not_executed() const { return not_executed_; }
  const std::set<LeftOut>& left_out() const { return left_out_; }

 private:
  struct Storage {
    Layer layer;
    void* k = nullptr;
    void* v = nullptr;
  };
  struct PoolRun {
    const PoolPlan* plan = nullptr;
    std::vector<Storage> layers;
    std::vector<PageEntry> pages;  // As the machine has them, but for those that are dirty.
    std::vector<std::uint32_t> dirty;
    bool all_dirty = true;
    PageEntry* there = nullptr;
    std::size_t room = 0;  // Of `there`.
  };
  struct Launched {  // Of a group, waiting for its results.
    EventIndex event = 0;
    std::int64_t launch = -1;
    std::vector<Layer> layers;  // Logical.
    LaneList list;              // Once submitted, without lanes and entries.
    std::int64_t bound = 0;
    Name pool = kNone, backend = kNone;
    std::size_t digests = 0;  // Of its first layer, in the batch.
  };

  PoolRun* run_of(std::uint32_t pool);
  void refuse(const std::string& why, std::uint64_t launches, const LeftOut& what);
  std::uint64_t request_of(Name name);
  std::uint64_t layer_number(Layer layer) const;
  std::uint32_t position_of(const Space& space, Name req, PageId page, std::uint32_t offset,
                            std::uint32_t page_size);
  void store(const World& world, const LaunchView& view, const Targets::Group& group);
  void fill(const World& world, const ev::Fill& fill);
  void copy(const World& world, const ev::Copy& copy);
  void send_tokens(PoolRun& run, std::vector<StoreToken>& tokens, const std::vector<Layer>* layers);
  void attend(const World& world, const LaunchView& view, const Targets::Group& group);
  std::vector<AttentionLayer> layers_of(const LaunchView& view, const Targets::Group& group,
                                        const PoolRun& run, Launched& launched) const;
  AttentionArgs args_of(const ev::Attention& e, const Pool& pool, const PoolPlan& plan,
                        std::string& why) const;
  bool run_lanes(const World& world, std::uint32_t pool, PoolRun& run, AttentionArgs args,
                 std::vector<AttentionLayer>& layers, Launched&& launched);
  void compare(const World& world, std::uint32_t pool, PoolRun& run, AttentionArgs& args,
               std::vector<AttentionLayer>& layers, Launched&& launched);
  void tell_errors();
  bool submit(AttentionArgs& args, const std::vector<AttentionLane>& lanes);
  void refresh(const World& world, std::uint32_t pool, PoolRun& run);
  std::uint32_t owner_of(const Space& space, PageId page);
  void flush();
  void stop();
  ReplayFinding named(const DeviceFinding& finding) const;

  // Memory of the machine that lives until the next flush().
  void* scratch(std::size_t bytes);
  template <class T>
  T* send(const std::vector<T>& list) {
    if (list.empty()) return nullptr;
    T* at = static_cast<T*>(scratch(list.size() * sizeof(T)));
    machine_.upload(at, list.data(), list.size() * sizeof(T));
    return at;
  }

  const Names& names_;
  const Survey& survey_;
  const PassLayers& pass_;
  Machine& machine_;
  Results& results_;
  const ExecutorOptions options_;

  std::int64_t rank_ = State::kNoRank;
  EventIndex event_ = 0;
  std::int64_t step_ = -1;
  std::map<PoolRef, PoolRun> runs_;
  std::vector<std::uint64_t> requests_;                    // By raw name; 0: not asked for yet.
  std::unordered_map<std::uint32_t, std::uint32_t> next_;  // Position, by raw name of a request.
  std::vector<std::uint32_t> sharers_{0};
  std::size_t sharers_sent_ = 0;
  std::uint32_t* sharers_there_ = nullptr;
  std::size_t sharers_room_ = 0;

  struct Slab {
    void* memory = nullptr;
    std::size_t bytes = 0;
  };
  std::vector<Slab> slabs_;
  std::size_t slab_ = 0, used_ = 0;
  std::uint64_t* digests_there_ = nullptr;
  std::size_t digests_ = 0;
  DeviceFinding* findings_there_ = nullptr;
  std::uint32_t* finding_count_ = nullptr;
  std::vector<Launched> launched_;
  struct Compared {  // Outputs, [layer][row][query head][head_dim], as given and as they ought to.
    Name backend = kNone;
    const float *given = nullptr, *right = nullptr;
    std::size_t rows = 0, row_floats = 0;  // Of all layers.
  };
  std::vector<Compared> compared_;
  std::uint64_t launches_ = 0;
  std::uint64_t lost_ = 0;
  std::map<std::string, NotExecuted> not_executed_;
  std::set<LeftOut> left_out_;
  Status status_;
};

}  // namespace pagetape
