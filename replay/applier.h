// SPDX-License-Identifier: Apache-2.0
// One application of one event: State::apply's work, split over apply_*.cc by subject.
#pragma once

#include <optional>
#include <set>
#include <span>

#include "replay/state.h"
#include "replay/usual_writes.h"

namespace pagetape {

class Applier {
 public:
  Applier(State& state, World& world, std::int64_t rank, std::int32_t stream, Observer* observer)
      : state_(state),
        world_(world),
        rank_(rank),
        stream_(stream),
        index_(state.next_),
        observer_(observer) {}

  Outcome run(const Event& event);
  // All, or none where one cannot apply: false.
  bool run(std::span<const ev::Rewind> rewinds);

 private:
  // Geometry (apply_setup.cc).
  Outcome on(const ev::Header&) { return {}; }
  Outcome on(const ev::Pool&);
  Outcome on(const ev::PoolLayer&);
  Outcome on(const ev::Arena&);
  Outcome on(const ev::Extent&);
  Outcome on(const ev::View&) { return {}; }
  Outcome on(const ev::Buffer&);
  Outcome on(const ev::Map&);
  Outcome on(const ev::PoolSet&);
  Outcome on(const ev::Backend&);
  Outcome on(const ev::PoolSwap&);
  Outcome on(const ev::SwaState&);
  Outcome on(const ev::Cached&);
  Outcome on(const ev::LayerRemap&);
  Outcome on(const ev::Version&);
  Outcome on(const ev::Gap&);
  Outcome on(const ev::Dropped&);
  // Pages (apply_pages.cc).
  Outcome on(const ev::Alloc&);
  Outcome on(const ev::Share&);
  Outcome on(const ev::Free&);
  Outcome on(const ev::Evict&);
  Outcome on(const ev::Fill&);
  Outcome on(const ev::PrefixKey&);
  Outcome on(const ev::PrefixHit&);
  Outcome on(const ev::PrefixDrop&);
  Outcome on(const ev::MapSet&);
  Outcome on(const ev::MapClear&);
  Outcome on(const ev::MapFree&);
  Outcome on(const ev::FreeCount&);
  Outcome on(const ev::Access&) { return {}; }
  Outcome on(const ev::Request&);
  Outcome on(const ev::Accept&) { return {}; }
  Outcome on(const ev::Rewind&);
  // Launches, graphs, order (apply_launch.cc, apply_graph.cc).
  Outcome on(const ev::Table&);
  Outcome on(const ev::Lens&);
  Outcome on(const ev::SlotList&);
  Outcome on(const ev::Attention&);
  Outcome on(const ev::Store&);
  Outcome on(const ev::Copy&);
  Outcome on(const ev::LaunchDone&);
  Outcome on(const ev::AsyncBegin&);
  Outcome on(const ev::AsyncEnd&);
  Outcome on(const ev::StreamWait&);
  Outcome on(const ev::GraphCapture&);
  Outcome on(const ev::Scalar&);
  Outcome on(const ev::Refresh&);
  Outcome on(const ev::GraphLaunch&);
  Outcome on(const ev::GraphStep&);
  Outcome on(const ev::Step&);
  Outcome on(const ev::Kernel&) { return {}; }
  Outcome on(const ev::CudaError&) { return {}; }
  Outcome on(const ev::Note&) { return {}; }
  Outcome on(const ev::End&) { return {}; }

  static Outcome undeclared(OutcomeCode code, Name what) { return {code, what}; }
  // The space that a name claims: a pool's, or a space's own name.
  std::uint32_t space_named(Name name) const;
  ObjectKind object_named(Name name) const;
  std::uint32_t* version_of(ObjectKind kind, Name name);
  void forget_pool(Pool& pool);
  void make_map_unknown(MapState& map);

  void tell(const PageAct& act) {
    if (observer_ != nullptr) observer_->on_page(world_, act);
  }

  // Pages.
  class Counted {
   public:
    Counted(Applier& applier, std::uint32_t pool, Act act);
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    ~Counted();
    bool allowed() const { return allowed_; }
    void add() { ++pages_; }  // Where it is allowed.
    // Or tells of it, where it is not, or not as it should be.
    void add(const PageAct& act) {
      if (allowed_ && act.fate == Fate::kOk) {
        add();
      } else {
        applier_.tell(act);
      }
    }

   private:
    Applier& applier_;
    const std::uint32_t pool_;
    const Act act_;
    const bool allowed_;
    std::uint64_t pages_ = 0;
  };
  static void clear_content(Pool& pool, PageId page);
  void alloc_page(std::uint32_t pool, PageId page, Name req, std::int64_t column,
                  std::int64_t position);
  void share_page(Act act, std::uint32_t pool, PageId page, Name req, std::int64_t column,
                  std::int64_t position, Name key);
  bool free_page(const PageAct& act);
  Fate write_fate(const Pool& pool, PageId page, Name req) const;
  bool first_scheduled_write(Pool& pool, PageId page, LayerSet layers, std::uint32_t begin,
                             std::uint32_t end);
  // Tells and applies a write of offsets [begin, end). `told`: pages told before, which are not
  // told again with the same fate; null where no page can come twice.
  using Told = std::set<std::pair<std::int64_t, Fate>>;
  void write_page(PageAct& act, std::uint32_t begin, std::uint32_t end, Name digest, Told* told);
  void rewind(Pool& pool, const ev::Rewind& e);
  static void cut_column(Pool& pool, Space& space, Name req, std::int64_t logical,
                         const Column& column, std::uint32_t tokens);
  void rewind_pages(Pool& pool, Name req, std::int64_t first, std::uint32_t tokens);

  // Launches. `today`: rows of a graph launch, which replace captured ones.
  const Targets& resolve(std::uint32_t backend, const std::optional<Layer>& layer,
                         const std::optional<Layers>& layers,
                         const std::optional<ev::Bound>& bound);
  Targets make_targets(const BackendState& backend, std::span<const Layer> layers, Name bound_pool);
  Outcome check_names(const ev::Attention&) const;
  Outcome check_names(const ev::Store&) const;
  Outcome check_names(const ev::Copy&) const;
  Outcome check_rows(const ev::Rows& rows, bool slots_buffer) const;
  void fill_view(LaunchView& view, const ev::Attention& launch, const ev::Rows* today);
  void fill_view(LaunchView& view, const ev::Store& launch, const ev::Rows* today);
  bool take_known_lanes(LaunchView& view, const ev::Attention& launch, const ev::Rows* today);
  void add_slots(LaunchView& view, Lane& lane, const ev::Row& captured, const ev::Row& today,
                 const BufferState* buffer);
  void run_launch(LaunchView& view);
  LaunchView& empty_view();
  void run_store(LaunchView& view, std::uint32_t group);
  bool store_runs(Name req, std::span<const ev::SlotRun> runs, int shift, UsualWrites& usual);
  void make_lanes(LaunchView& view);
  bool is_front_of(const State::FrontOf& front, const LaunchView& view) const;
  struct FrontPages {
    std::uint64_t pages = 0;  // Of requests; 0: it makes no front.
    std::uint64_t pads = 0;   // Reserved pages that padding writes, lane by lane.
  };
  FrontPages store_front(LaunchView& view, const Targets::Group& target, int shift,
                         const UsualWrites& usual);
  bool store_pages(Name req, std::span<const ev::SlotRun> runs, int shift, UsualWrites& usual);
  void store_lane(const LaunchView& view, PageAct& act, bool wraps);
  void run_copy(const ev::Copy& copy, const LaunchView& view);
  void copy_page(const ev::Copy& copy, std::size_t i, const LaunchView& view);
  void run_captured(Name name, GraphState& graph, std::size_t index, const ev::Rows* today);

  State& state_;
  World& world_;
  std::int64_t rank_;
  std::int32_t stream_;
  EventIndex index_;
  Observer* observer_;
};

}  // namespace pagetape
