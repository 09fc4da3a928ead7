// SPDX-License-Identifier: Apache-2.0
// The rules: judges every event before it takes effect (trace model, section 4).
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "replay/observer.h"
#include "replay/quotient.h"
#include "replay/state.h"
#include "verify/coverage.h"
#include "verify/finding.h"
#include "verify/standing.h"

namespace pagetape {

struct JudgeOptions {
  bool strict_window = false;      // Entries outside the window are judged too.
  bool strict_pad = false;         // Padding may read reserved pages only.
  bool reuse = true;               // What did not change is not judged again (off: to test that).
  bool hold_back = true;           // Findings that need events not seen yet (off: a part judged).
  std::size_t max_findings = 100;  // Kept; 0: all.
};

inline std::array<bool, kRuleCount> all_rules() {
  std::array<bool, kRuleCount> rules;
  rules.fill(true);
  return rules;
}

// Pass it to State::apply for every event, then call finish(). One judge a run; not thread-safe.
class Judge : public Observer {
 public:
  // `rules`: findings of the others are not kept (nor counted). `known`: the coverage() of a judge
  // that went through the whole trace; with it, any part judged alone gives the same findings.
  Judge(const Names& names, const JudgeOptions& options, const std::array<bool, kRuleCount>& rules,
        Coverage known = {})
      : names_(names),
        options_(options),
        rules_(rules),
        findings_(options.max_findings),
        coverage_(std::move(known)) {}

  // The events to come do not follow on those before: nothing judged may be reused.
  void restart() {
    caches_.clear();
    cache_ = nullptr;
  }

  void on_event(const World& world, const Event& event, EventIndex index) override;
  // That such events came, of which State::apply() tells no observer.
  void note(const Briefs& briefs) { coverage_.note(briefs); }
  bool counts(const World& world, Act act, std::uint32_t pool) const override;
  void on_counted(const World& world, Act act, std::uint32_t pool, std::uint64_t pages) override;
  void on_page(World& world, const PageAct& act) override;
  void on_launch(World& world, const LaunchView& view) override;
  void on_graph_launch(const World& world, Name name, const GraphState& graph) override;
  bool takes_stale_lanes() const override { return true; }
  bool looks_at_slots() const override { return false; }
  bool counts_pages() const override { return options_.reuse && store_.usual; }
  void on_pages(const LaunchView& view, std::uint32_t group, std::uint64_t pages,
                std::uint64_t pads) override;

  // Findings held back for want of the events that a rule needs are dropped: their rules are in
  // not_checked(). Call once, after the last event.
  void finish();

  // Takes over what another judge found in the events that follow on these. It was made with
  // what this coverage() has seen. What it holds back is lost: see holds(). Call before finish().
  void append(Judge&& later, Renaming& renamed);
  // Are findings held back?
  bool holds() const { return later_holds_ || !held_.empty(); }

  Findings& findings() { return findings_; }
  const Coverage& coverage() const { return coverage_; }
  // Launches judged: one a layer, as each is a kernel of its own.
  std::uint64_t launches() const { return launches_; }
  // Lanes of them that were not looked at but for their length and last page (standing.h).
  std::uint64_t stood() const { return stood_; }

  // Was the fact copied from another pool than the one bound, or from what was rebuilt since?
  static bool fact_stale(const World& world, const Fact& fact, const Binding& binding);
  // The event that rebuilt the fact's object since; kNever: none is known to have.
  static EventIndex said_again(const World& world, const Fact& fact);

 private:
  // How a lane begins: entries before `listed` are not in the table, those from there to `known`
  // are of unknown pages (as after a gap). No other entry is either.
  struct Head {
    std::int64_t listed = 0, known = 0;
  };
  // A lane judged clean before: entries of its table row up to `end`, those that lay live then.
  struct Memo {
    Name req = kNone;
    std::uint32_t row_version = 0, holder_version = 0, from_version = 0, from_mapped = 0;
    LayerSet layers = kNoLayers;     // In which every entry before the last one was written,
    std::uint64_t front = 0;         // but those that this front alone wrote,
    std::int64_t fresh = INT64_MAX;  // which begin here.
    std::uint32_t tag = 0;           // Of the last entry: its space and unit were right.
    bool apart = false;  // Each page is listed where its owner's column is, if it has just one.
    std::int64_t end = 0;
    std::int64_t live = 0;  // First live position: those before were not judged.
    std::int64_t first = 0;
    Head head;
    std::uint64_t birth = 0, from_birth = 0;
  };
  // What a launch says of its entries, beside the lanes themselves.
  struct Said {
    std::uint32_t table = UINT32_MAX, pool = kNoPool, claim = kNoSpace;
    Name unit = kNone;
    std::int64_t bound = 0;
    auto operator<=>(const Said&) const = default;
  };
  // What all lanes of launches that say the same were judged against.
  struct Against {
    std::uint32_t epoch = 0, from_epoch = 0, pool_version = 0;
    std::uint32_t from_space = kNoSpace;
    std::uint32_t pools = 0;  // Declared: another one may change what a space's name stands for.
    bool operator==(const Against&) const = default;
  };
  // Those lanes, by row.
  struct Memos {
    Against against;
    std::vector<Memo> lanes;
    Standing standing;
  };
  // How the whole entries of a lane are written.
  struct Whole {
    LayerSet layers = kAllLayers;    // In which each is, but those that the front alone wrote,
    std::int64_t fresh = INT64_MAX;  // which begin here.
  };
  // A lane at hand, and what a memo leaves to judge of it.
  struct Rest {
    const Holder* holder = nullptr;
    const Holder* from_holder = nullptr;  // In the space that a map leads from.
    std::int64_t from = 0;                // Entries before it are as they were.
    std::int64_t changed = INT64_MAX;     // The first entry whose cell changed.
    Whole whole;
    bool tagged = false;  // Cells of `tag` are of the right space and unit.
    std::uint32_t tag = 0;
    // Each entry looked at is the owner's alone, at its column: then it is no other's page, nor one
    // that stands elsewhere in the row.
    bool apart = true;
    Head head;
  };
  using Counts = std::array<std::uint64_t, kRuleCount>;
  // Of requests' lanes was not known: a live entry, a length. Of padding nobody need tell.
  struct Missed {
    bool entries = false, lengths = false;
  };
  // A clean launch: one with the same lanes need not be judged.
  struct Judged {
    std::int64_t rows_like = -1;  // Of the graph launch of `event`; -1: of `rows`, whenever.
    EventIndex event = kNever;
    ev::Rows rows;
    Name table = kNone, lens = kNone, unit = kNone;
    std::uint32_t pool = kNoPool, claim = 0;
    std::int64_t window = 0, bound = 0, tokens = 0, cols = 0;
    LayerSet covered = kNoLayers;
    Counts counts{};
    Missed missed{};
    // While the pool has this front, nothing changes but what is told of the two buffers, and the
    // lanes are whole in those of `covered` that are layers of the front.
    // 0: it is of its graph launch alone.
    std::uint64_t front = 0;
    std::uint32_t pool_version = 0;
    EventIndex table_by = kNever, lens_by = kNever;
  };
  // By index, what is otherwise looked up by name; one a rank.
  struct RankCache {
    std::vector<Seen*> pools, backends;
    std::map<Said, Memos> memos;
    std::vector<Judged> of_fronts;
  };
  // What is the same for all entries of a launch's lanes in one pool.
  struct Ground {
    World& world;
    const LaunchView& view;
    std::uint32_t group;
    const Targets::Group& targets;
    Pool& pool;
    Space& space;
    std::int64_t entry_tokens;  // Tokens that one entry stands for.
    std::int64_t bound;         // In entries.
    std::int64_t window;        // 0: full.
    const MapState* map;        // The map into this pool, where there is just one to compare with.
    const Space* from_space;
    bool pending;                   // Operations are pending: nothing may be reused.
    Name unit;                      // That the launch says.
    std::int64_t fits;              // Pages whose last byte the kernel's offset can express.
    std::int64_t cols;              // Of the table, as the launch says; -1: it does not.
    std::uint64_t front;            // The pool's, if it is of the launch's layers; 0: none.
    Memos* memos = nullptr;         // Null where lanes are judged anew.
    bool kept = false;              // `covered` is asked for.
    LayerSet covered = kAllLayers;  // Layers in which every lane was found whole.
    LayerSet spans{UINT32_MAX};     // A set that cover() took.
    bool clean = true;
    // Whatever changes of the lane at hand moves the logs that its memo would look at, and its
    // entries count alike but for the head.
    bool followed = true;
    Missed missed{};
    Counts counts{};  // Judgements, a layer.
    // Entries that stood as judged before, those of unknown pages, and those whose space was said.
    std::uint64_t skipped = 0, skipped_unknown = 0, skipped_claimed = 0;
    // A lane is written in these layers: are they all of the launch's? Mostly they are the same
    // ones as of the lane before.
    bool cover(LayerSet layers) {
      return layers == spans || layers == kAllLayers || take_spans(layers);
    }
    bool take_spans(LayerSet layers);
    // The lane is written in no more layers than the launch's, as far as was asked.
    void cover_own() {
      if (kept) covered = world.layers.intersect(covered, targets.layers);
    }
    // Entries that the lane's row has; -1: not known, or of no matter.
    std::int64_t width(const Lane& lane) const {
      if (lane.logical != nullptr || cols < 0) return lane.logical != nullptr ? -1 : lane.entries;
      return lane.entries < 0 ? cols : std::min(lane.entries, cols);
    }
    void miss(const Lane& lane) {
      // What stands with the launch is all there: a list too short is another rule's.
      if (lane.req == kNone || (lane.pages != nullptr && lane.len >= 0)) return;
      (lane.len < 0 ? missed.lengths : missed.entries) = true;
    }
    bool claimed(std::uint32_t tag) const {
      return view.claim != kNoSpace || world.tags[tag].space != kNone;
    }
    void skip(std::int64_t lo, std::int64_t hi, const Head& head, std::uint32_t tag) {
      if (head.known > lo) [[unlikely]] {
        missed.entries |= head.listed > lo;
        lo = std::clamp(head.listed, lo, hi);
        skipped_unknown += static_cast<std::uint64_t>(std::min(head.known, hi) - lo);
      }
      const auto n = static_cast<std::uint64_t>(hi - lo);
      skipped += n;
      if (claimed(tag)) skipped_claimed += n;
    }
  };
  // The unit that a store says its slots are of.
  enum class StoreUnit : std::uint8_t { kNone, kSlot, kPage, kOther };
  struct UsualStore {
    bool usual = false;    // Of no page can more be wrong than its fate.
    bool offsets = false;  // Their offsets are judged.
  };
  struct Entry {
    std::int64_t index = 0, logical = 0;
    Cell cell;
  };
  // What of a lane is judged: positions from `from` on, which lie in the entries [lo, hi).
  struct Live {
    std::int64_t from = 0, lo = 0, hi = 0;
  };
  // What the loop over a launch's lanes needs of its ground, and what comes of those that stand:
  // apart from it, so that a compiler keeps it at hand from lane to lane.
  struct Usual {
    explicit Usual(Ground& ground, bool strict_window);
    std::int64_t live_from(std::int64_t q_pos) const {
      return window > 0 ? std::max<std::int64_t>(0, q_pos + 1 - window) : 0;
    }
    Live live(std::int64_t len, std::int64_t q_pos) const {
      const std::int64_t from = live_from(q_pos);
      return {.from = from, .lo = entry_of(from), .hi = entry_of(len + tokens - 1)};
    }
    std::int64_t entry_of(std::int64_t position) const {
      return shift >= 0 ? position >> shift : quotient(position, tokens);
    }
    // The lane may be stale. INT64_MIN or -1: not known.
    std::int64_t length_of(const Lane& lane) const {
      return lens == nullptr ? lane.len : lens->length_at(lane.row);
    }
    void count(const Standing::Lane& lane, std::int64_t from) {
      const auto n = static_cast<std::uint64_t>(lane.end - entry_of(from));
      ++stood;
      skipped += n;
      if (lane.unsaid != 0) leave_out(lane.unsaid, 1, n);
    }
    // Of so many lanes and their entries.
    void leave_out(std::uint8_t unsaid, std::uint64_t lanes, std::uint64_t entries) {
      if ((unsaid & Standing::Lane::kClaim) != 0) unclaimed += entries;
      if ((unsaid & Standing::Lane::kWidth) != 0) no_width += lanes;
    }
    void take(const Memos* memos) {
      rows = memos == nullptr ? nullptr : memos->standing.rows();
      known = memos == nullptr ? 0 : memos->standing.size();
    }
    void end(Ground& ground) const;

    SparseArray<Extents::Page>::Near pages;
    std::uint32_t
        fronts;  // As Extents::Page::written() takes it: is a front of the launch's layers?
    std::int64_t tokens, window;
    int shift;                // Tokens as a power of two; -1: they are none.
    const BufferState* lens;  // Of lanes known by a row of it; null: they say their lengths.
    const Standing::Lane* rows = nullptr;
    std::uint64_t known = 0;  // So many of `rows`.
    // Lanes that stand, their entries, and those of which something is not said.
    std::uint64_t stood = 0, skipped = 0, unclaimed = 0, no_width = 0;
  };

  // Fills in what is common to an event's findings.
  Finding start(Rule rule) const;
  Finding start(Rule rule, const LaunchView& view, const Target& target) const;
  // Holds a finding back until the object has shown the events that the rule needs.
  Findings& keeper(Rule rule, std::uint32_t object, bool seen);
  void release(Rule rule, std::uint32_t object);
  template <class F>
  void report(Findings& to, Finding&& finding, F&& message, std::vector<EventIndex> cause);
  void report_event(Finding finding, std::string message, std::vector<EventIndex> cause);

  // judge_events.cc: whole events.
  void judge_table(const World& world, const ev::Table& e);
  void judge_extent(const World& world, const ev::Extent& e);
  void judge_view(const ev::View& e);
  void judge_access(const ev::Access& e);
  void judge_free_count(const World& world, const ev::FreeCount& e);
  void miss_operations(Name pool) { coverage_.pool(rank_, pool).miss({Rule::kInflightHazard}); }
  void miss_operations(const World& world);
  template <class T>
  void judge_whole(const World& world, const T& e);
  void note_pool(const World& world, Name name, bool Seen::*what);

  // judge_pages.cc: pages, one by one.
  void judge_fate(World& world, const PageAct& act);
  void miss_page(const World& world, const PageAct& act);
  void report_page(World& world, const PageAct& act, Rule rule, const char* what,
                   EventIndex because = kNever, EventIndex besides = kNever);
  void judge_hit(World& world, const PageAct& act);
  StoreUnit unit_of(const ev::Store& store) const;
  UsualStore usual_store(const World& world, const LaunchView& view);
  void judge_store_space(World& world, const PageAct& act);
  void judge_inflight(World& world, const PageAct& act, bool writes);
  static bool offset_fits(const Pool& pool, PageId page);
  static bool all_offsets_fit(const Pool& pool);

  // judge_launch.cc, judge_entry.cc: launches and their lanes.
  void judge_binding(World& world, const LaunchView& view);
  std::string why_stale(const World& world, const Fact& fact, const Binding& binding) const;
  void judge_group(World& world, const LaunchView& view, std::uint32_t group);
  static void count_skipped(Ground& ground);
  void judge_bounds_alone(const World& world, const LaunchView& view, std::uint32_t group);
  void miss_slots(const World& world, const LaunchView& view);
  void judge_lanes(Ground& ground);
  void judge_lane(Ground& ground, std::size_t row, const Live& live);
  void report_width(Ground& ground, std::size_t row, std::int64_t lo, std::int64_t hi);
  bool judge_entries(Ground& ground, std::size_t row, std::int64_t lo, std::int64_t hi);
  bool judge_entry(Ground& ground, std::size_t row, const Entry& entry, Whole& whole);
  bool judge_bounds(Ground& ground, std::size_t row, const Entry& entry);
  bool judge_space(Ground& ground, std::size_t row, const Entry& entry);
  bool judge_value(Ground& ground, std::size_t row, const Entry& entry, PageId page,
                   std::int64_t logical);
  bool judge_owner(Ground& ground, std::size_t row, const Entry& entry, PageId page,
                   std::int64_t logical);
  bool judge_extent_of(Ground& ground, std::size_t row, const Entry& entry, PageId page,
                       std::int64_t page_tokens_before, Whole& whole);
  bool judge_distinct(Ground& ground, std::size_t row, std::int64_t lo, std::int64_t hi,
                      bool& apart);
  bool report_entry(Ground& ground, std::size_t row, const Entry& entry, Rule rule,
                    const std::string& what, LayerSet only, std::uint32_t needs_object, bool seen,
                    EventIndex because = kNever, Name op = kNone);
  std::vector<EventIndex> cause_of(const Ground& ground, const Target& target, EventIndex cell,
                                   EventIndex because) const;
  static Memo* memo_of(Ground& ground, const Lane& lane);
  Memos* memos_for(const Ground& ground);
  void judge_remembered(Ground& ground, std::size_t row, Memo& memo, const Live& live);
  bool same_as_before(Ground& ground);
  static bool says_the_same(const Judged& before, const Ground& ground);
  void keep_judged(const Ground& ground);
  static bool still_holds(Ground& ground, const Lane& lane, const Memo& memo, const Live& live,
                          Rest& rest);
  static bool same_lane(const Memo& memo, const Lane& lane, const Holder& holder,
                        std::int64_t live) {
    return memo.req == lane.req && memo.birth == holder.birth && memo.first == lane.first &&
           memo.live <= live;
  }
  static std::size_t stand_from(std::size_t i, const Ground& ground, Usual& usual);
  static bool stands(Ground& ground, Usual& usual, const Lane& now);
  static bool last_page_written(Ground& ground, const Standing::Lane& lane, std::int64_t from,
                                std::int64_t len, bool front_wrote);
  static void set_standing(Ground& ground, const Lane& lane, const Live& live, const Rest& rest,
                           const Cell& last);
  bool judge_rest(Ground& ground, std::size_t row, std::int64_t live, std::int64_t hi, Rest& rest);
  static void note_absent(Ground& ground, const Lane& lane, Rest& rest, std::int64_t begin,
                          std::int64_t end);
  static void note_unlike(Ground& ground, Rest& rest, const Entry& entry);
  // Of the entry's live offsets, is each written in these layers?
  static bool written(const Ground& ground, std::int64_t len, PageId page, LayerSet layers,
                      std::int64_t live, std::int64_t logical) {
    const std::int64_t position = logical * ground.entry_tokens;
    const auto begin = static_cast<std::uint32_t>(std::max<std::int64_t>(0, live - position));
    const auto end = static_cast<std::uint32_t>(std::min(ground.entry_tokens, len - position));
    return ground.pool.extents.covers(ground.world.layers, static_cast<std::uint32_t>(page), layers,
                                      begin, end);
  }
  static bool in_place(const Ground& ground, const Lane& lane, const Cell& cell,
                       std::int64_t logical, Rest& rest);
  static std::int64_t usual_until(const Ground& ground, const Lane& lane, std::int64_t live,
                                  std::int64_t begin, std::int64_t end, Rest& rest);
  static void remember(Memo& memo, Ground& ground, const Lane& lane, const Rest& rest,
                       const Live& live);
  Seen& seen_pool(const World& world, std::uint32_t pool) {
    const std::vector<Seen*>& seen = cache_->pools;
    if (pool < seen.size() && seen[pool] != nullptr) [[likely]]
      return *seen[pool];
    return meet_pool(world, pool);
  }
  Seen& meet_pool(const World& world, std::uint32_t pool);
  Seen& seen_backend(const World& world, Name backend);
  bool needs_alloc_seen(const Ground& ground, const Entry& entry);

  const Names& names_;
  const JudgeOptions options_;
  const std::array<bool, kRuleCount> rules_;
  Findings findings_;
  std::map<std::tuple<Rule, std::int64_t, std::uint32_t>, Findings> held_;
  bool later_holds_ = false;  // One that was taken over held findings back.
  Coverage coverage_;
  std::uint64_t launches_ = 0, stood_ = 0;

  const World* current_ = nullptr;    // Of the event under judgement.
  const LaunchView* view_ = nullptr;  // The launch of it under judgement; null: none yet.
  EventIndex event_ = 0;
  std::int64_t rank_ = INT64_MIN;
  std::int32_t stream_ = 0;
  std::int64_t launch_number_ = -1;
  StoreUnit store_unit_ = StoreUnit::kNone;  // Of the launch at hand.
  UsualStore store_;
  std::map<std::int64_t, RankCache> caches_;
  RankCache* cache_ = nullptr;               // Of rank_.
  std::vector<Judged> judged_;               // Of event_.
  SparseArray<std::uint64_t, 1024> stamps_;  // By entry: the last row check that met it.
  std::uint64_t stamp_ = 0;
};

// Does a pending operation conflict with an act on the page (trace model, section 4)?
struct PageUse {
  std::uint32_t pool;
  PageId page;
  Name party;  // kNone: padding.
  std::int32_t stream;
  LayerSet layers;
  bool writes;
  bool is_launch;        // Conflicts with pending writes, whoever made them.
  bool whole_allocator;  // An alloc: every pool of the allocator.
};
const Op* conflicting_op(World& world, const PageUse& use);

template <class F>
void Judge::report(Findings& to, Finding&& finding, F&& message, std::vector<EventIndex> cause) {
  if (!rules_[static_cast<std::size_t>(finding.rule)]) return;
  to.add(std::move(finding), [&](Finding& f, bool first) {
    f.message = message();
    std::erase_if(cause, [&](EventIndex e) { return e == kNever || e >= event_; });
    std::ranges::sort(cause);
    cause.erase(std::unique(cause.begin(), cause.end()), cause.end());
    f.cause = cause;
    if (first) f.blame = blame_finding(*current_, f, view_, names_);
  });
}

}  // namespace pagetape
