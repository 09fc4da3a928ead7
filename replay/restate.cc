// SPDX-License-Identifier: Apache-2.0
#include "replay/restate.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

namespace pagetape {
namespace {

// Pages or pairs of one event, far below what a segment takes.
constexpr std::size_t kMost = 4096;

std::uint64_t u64(PageId page) { return static_cast<std::uint32_t>(page); }
std::uint32_t u32(PageId page) { return static_cast<std::uint32_t>(page); }

// One rank's state.
class WorldRestater {
 public:
  WorldRestater(const World& world, std::int64_t rank, bool has_keys, Names& names, Name why,
                const std::function<void(const Event&)>& give)
      : world_(world), has_keys_(has_keys), names_(names), why_(why), give_(give) {
    if (rank != State::kNoRank) event_.rank = rank;
  }

  void run() {
    say_gap();
    for (std::uint32_t s = 0; s < world_.spaces.size(); ++s) say_free(world_.spaces[s]);
    for (std::uint32_t m = 0; m < world_.maps.size(); ++m) say_map(m);
    for (std::uint32_t s = 0; s < world_.spaces.size(); ++s) say_past(world_.spaces[s]);
    for (std::uint32_t s = 0; s < world_.spaces.size(); ++s) say_owners(world_.spaces[s]);
    for (std::uint32_t p = 0; p < world_.pools.size(); ++p) say_extents(world_.pools[p]);
    for (std::uint32_t s = 0; s < world_.spaces.size(); ++s) say_sharers(world_.spaces[s]);
    for (std::uint32_t s = 0; s < world_.spaces.size(); ++s) say_ended(world_.spaces[s]);
    for (std::uint32_t p = 0; p < world_.pools.size(); ++p) say_keys(world_.pools[p]);
    for (std::size_t i = 0; i < world_.ops.size(); ++i) say_op(i);
    for (std::uint32_t b = 0; b < world_.buffers.size(); ++b) {
      say_buffer(world_.buffers.key(b), world_.buffers[b]);
    }
    if (world_.step >= 0)
      give(ev::Step{.step = world_.step, .mode = world_.step_mode, .batch = {}});
  }

 private:
  void give(EventBody body) {
    event_.body = std::move(body);
    give_(event_);
  }

  // Can its owner, its extents and nothing else be said of it without breaking a rule?
  bool plain(const Space& space, PageId page, const PageInfo& info) const {
    if (info.unknown || world_.owner_elsewhere(space, page) != nullptr) return false;
    bool inside = false;  // Of a pool that became smaller it may lie outside.
    for (std::uint32_t p : space.pools) {
      const Pool& pool = world_.pools[p];
      if (!pool.in_bounds(page)) continue;
      inside = true;
      if (pool.reserved_page(page) != nullptr) return false;
      for (const Extents::Group& group : pool.extents.written(u32(page))) {
        if (!group.offsets.bits.empty()) return false;
        if (group.layers != kAllLayers && world_.layers.list(group.layers).complement) return false;
      }
    }
    return inside;
  }

  bool all_known(const Space& space) const {
    bool known = !space.unknown();
    space.for_each_owned(
        [&](PageId page, const PageInfo& info) { known = known && plain(space, page, info); });
    return known;
  }

  void say_gap() {
    std::set<std::uint32_t> pools;
    for (std::uint32_t s = 0; s < world_.spaces.size(); ++s) {
      const Space& space = world_.spaces[s];
      if (!all_known(space)) pools.insert(space.pools.begin(), space.pools.end());
    }
    for (std::uint32_t m = 0; m < world_.maps.size(); ++m) {
      if (world_.maps[m].unknown) pools.insert(world_.maps[m].from);
    }
    for (std::size_t i = 0; i < world_.ops.size(); ++i) {
      const Op& op = world_.ops[i];
      if (sayable(i).size() < op.pages.size()) pools.insert(op.pool);
    }
    if (pools.empty() && !world_.ops_unknown) return;
    ev::Gap gap{.why = why_, .pools = {}};
    if (!world_.born_unknown) {
      gap.pools.emplace();
      for (std::uint32_t p : pools) gap.pools->push_back(world_.pools.key(p));
    }
    give(std::move(gap));
  }

  // Pages of which a gap took that nobody owns them: each is given out and taken back once.
  void say_free(const Space& space) {
    if (space.unknown() || all_known(space)) return;
    Pages free;
    Name pool = kNone;
    for (std::uint32_t p : space.pools) {
      for (std::int64_t i = 0; i < world_.pools[p].pages && i <= INT32_MAX; ++i) {
        const PageId page{static_cast<std::int32_t>(i)};
        const PageInfo info = space.info(page);
        const bool known = info.owner == kNone && !info.unknown;
        if (!known || pool_with(space, page) != world_.pools[p].name) continue;
        pool = world_.pools[p].name;
        free.push_back(page);
      }
      const Name nobody = names_.intern("#restated");
      give_cut(free, [&](const Pages& part) {
        give(ev::Alloc{pool, nobody, part, {}});
        give(ev::Free{pool, nobody, part});
      });
      free.clear();
    }
  }
  // Whether alloc, which makes it known, may be said of the page.
  bool may_alloc(const Space& space, PageId page) const {
    const PageInfo info = space.info(page);
    return info.owner != kNone ? plain(space, page, info) : !info.unknown;
  }

  // A pool of the space in which the page may have an owner; kNone: there is none.
  Name pool_with(const Space& space, PageId page) const {
    for (std::uint32_t p : space.pools) {
      const Pool& pool = world_.pools[p];
      if (pool.in_bounds(page) && pool.reserved_page(page) == nullptr) return pool.name;
    }
    return kNone;
  }

  // Entries, before any page has an owner: two live ones that lead to one page would be a finding.
  // The one that is remembered comes last.
  void say_map(std::uint32_t m) {
    const MapState& map = world_.maps[m];
    const Pool &from = world_.pools[map.from], &to = world_.pools[map.to];
    const bool by_slot = map.by_slot;
    ev::MapSet sets[2];  // Remembered ones in the second.
    ev::MapClear clear{.map = world_.maps.key(m), .from = {}};
    sets[0].map = sets[1].map = clear.map;
    map.entries.for_each([&](std::uint64_t i, const MapEntry& entry) {
      if (entry.by == kNever) return;
      const auto at = static_cast<std::int64_t>(i);
      if (entry.to == 0) return clear.from.push_back(at);
      const std::int64_t target = by_slot ? entry.to / to.page_size : entry.to;
      const std::int64_t* back = map.back.find(static_cast<std::uint64_t>(target));
      const bool last = back != nullptr && *back - 1 == (by_slot ? at / from.page_size : at);
      sets[last ? 1 : 0].pairs.emplace_back(at, entry.to);
    });
    for (const ev::MapSet& set : sets) {
      give_cut(set.pairs, [&](Pairs part) { give(ev::MapSet{set.map, part}); });
    }
    give_cut(clear.from, [&](Ints part) { give(ev::MapClear{clear.map, part}); });
  }

  // f(part) for each part of a list, none too long for an event.
  template <class T, class F>
  static void give_cut(const std::vector<T>& list, F&& f) {
    for (std::size_t i = 0; i < list.size(); i += kMost) {
      const std::size_t end = std::min(list.size(), i + kMost);
      f(std::vector<T>(list.begin() + static_cast<std::ptrdiff_t>(i),
                       list.begin() + static_cast<std::ptrdiff_t>(end)));
    }
  }

  // Columns whose page went back, evicted or not, while no page has an owner: each is given out
  // and taken back once more. And the layers that a pool saw written.
  void say_past(const Space& space) {
    const std::optional<PageId> spare = spare_page(space);
    space.for_each_holder([&](Name owner, const Holder& holder) {
      holder.columns.for_each([&](std::uint64_t logical, const Column& column) {
        const bool owned = column.page != kUnknownPage && space.owns(column.page, owner);
        if (!column.evicted && (owned || column.page == kUnknownPage)) return;
        say_past_column(space, owner, static_cast<std::int64_t>(logical), column, spare);
      });
    });
    if (!spare) return;
    for (std::uint32_t p : space.pools) say_layers(world_.pools[p], *spare);
    if (has_keys_) say_that_there_are_keys(pool_with(space, *spare), *spare);
  }

  void say_that_there_are_keys(Name pool, PageId page) {
    const Name key = names_.intern("#restated");
    give(ev::PrefixKey{pool, page, key, kNone});
    give(ev::PrefixDrop{pool, page, key});
  }

  void say_past_column(const Space& space, Name owner, std::int64_t logical, const Column& column,
                       std::optional<PageId> spare) {
    std::optional<PageId> page = column.page;
    Name pool = pool_with(space, column.page);
    if (pool == kNone || !may_alloc(space, *page)) {
      // Which page it was is not known or cannot be said: that it was evicted can.
      if (!column.evicted || !spare) return;
      page = spare;
      pool = pool_with(space, *spare);
    }
    give(ev::Alloc{pool, owner, {*page}, logical});
    if (column.evicted) {
      give(ev::Evict{pool, owner, logical, *page});
    } else {
      give(ev::Free{pool, owner, {*page}});
    }
  }

  // A page that may be given out and taken back without a trace.
  std::optional<PageId> spare_page(const Space& space) const {
    for (std::uint32_t p : space.pools) {
      for (std::int64_t i = 0; i < world_.pools[p].pages && i <= INT32_MAX; ++i) {
        const PageId page{static_cast<std::int32_t>(i)};
        if (world_.pools[p].reserved_page(page) == nullptr && may_alloc(space, page)) return page;
      }
    }
    return std::nullopt;
  }

  void say_layers(const Pool& pool, PageId spare) {
    const LayerSets::Listed layers = world_.layers.list(pool.layers_written);
    if (layers.complement || layers.layers.empty() || !pool.in_bounds(spare)) return;
    const Name nobody = names_.intern("#restated");
    give(ev::Alloc{pool.name, nobody, {spare}, {}});
    give(ev::Fill{pool.name, nobody, {spare}, {}, layers.layers, {}});
    give(ev::Free{pool.name, nobody, {spare}});
  }

  // Runs of pages in consecutive columns, each in one event.
  struct Run {
    Name pool = kNone;
    std::int64_t first = -1;  // -1: without columns.
    Pages pages;
  };
  template <class T>
  void flush(Name owner, Run& run) {
    if (run.pages.empty()) return;
    OptInt first;
    if (run.first >= 0) first = run.first;
    give(T{run.pool, owner, std::move(run.pages), first});
    run = {};
  }
  template <class T>
  void extend(Name owner, Run& run, Name pool, std::int64_t column, PageId page) {
    if (column > INT32_MAX) column = -1;  // Behind what a run may begin with.
    const auto next = run.first + static_cast<std::int64_t>(run.pages.size());
    const bool on = run.pool == pool && run.pages.size() < kMost &&
                    (column < 0 ? run.first < 0 : run.first >= 0 && column == next);
    if (!on) {
      flush<T>(owner, run);
      run.pool = pool;
      run.first = column;
    }
    run.pages.push_back(page);
  }

  // What an owner has: with columns in their order, then without. f(column or -1, page, info).
  template <class F>
  void for_each_page_of(const Space& space, Name owner, const Holder& holder, F&& f) const {
    std::set<std::int32_t> seen;
    holder.columns.for_each([&](std::uint64_t logical, const Column& column) {
      if (column.evicted || column.page == kUnknownPage) return;
      const PageInfo info = space.info(column.page);
      if (!space.owns(info, owner)) return;
      seen.insert(raw(column.page));
      f(static_cast<std::int64_t>(logical), column.page, info);
    });
    const auto pages = pages_of_.find({&space, owner});
    if (pages == pages_of_.end()) return;
    for (PageId page : pages->second) {
      if (!seen.contains(raw(page))) f(-1, page, space.info(page));
    }
  }

  // First owners of what can be given out.
  void say_owners(const Space& space) {
    space.for_each_owned([&](PageId page, const PageInfo&) {
      for (Name owner : space.owners(page)) pages_of_[{&space, owner}].push_back(page);
    });
    space.for_each_holder([&](Name owner, const Holder& holder) {
      Run run;
      std::set<std::int32_t> given;
      for_each_page_of(space, owner, holder,
                       [&](std::int64_t column, PageId page, const PageInfo& info) {
                         if (info.owner != owner || !plain(space, page, info)) return;
                         if (!given.insert(raw(page)).second)
                           return;  // Its second column: say_sharers().
                         extend<ev::Alloc>(owner, run, pool_with(space, page), column, page);
                       });
      flush<ev::Alloc>(owner, run);
    });
  }

  // Other owners, second columns, and owners of pages of which no more is certain.
  void say_sharers(const Space& space) {
    space.for_each_holder([&](Name owner, const Holder& holder) {
      Run run;
      std::set<std::int32_t> given;
      for_each_page_of(space, owner, holder,
                       [&](std::int64_t column, PageId page, const PageInfo& info) {
                         const Name pool = pool_with(space, page);
                         const bool allocated = info.owner == owner && plain(space, page, info);
                         if (pool == kNone || (allocated && given.insert(raw(page)).second)) return;
                         extend<ev::Share>(owner, run, pool, column, page);
                       });
      flush<ev::Share>(owner, run);
    });
  }

  // What was written, while pages have one owner: a page of several is not to be written. A digest
  // comes with the last write of its page.
  void say_extents(const Pool& pool) {
    using Alike = std::tuple<Name, LayerSet, std::uint32_t>;  // Owner, layers, slots.
    std::map<Alike, Pages> pages, digested;
    const Space& space = world_.space_of(pool);
    space.for_each_owned([&](PageId page, const PageInfo& info) {
      if (!pool.in_bounds(page) || !plain(space, page, info)) return;
      const Extents::Groups groups = pool.extents.written(u32(page));
      const Name* digest = pool.digests.find(u64(page));
      for (std::size_t g = 0; g < groups.size(); ++g) {
        const bool last = g + 1 == groups.size() && digest != nullptr && *digest != kNone;
        const Alike alike{info.owner, groups[g].layers, groups[g].offsets.prefix};
        (last ? digested : pages)[alike].push_back(page);
      }
    });
    for (const auto* some : {&pages, &digested}) {
      for (const auto& [alike, list] : *some) {
        ev::Fill fill{pool.name, std::get<0>(alike), {}, {}, {}, {}};
        const LayerSet layers = std::get<1>(alike);
        if (layers != kAllLayers) fill.layers = world_.layers.list(layers).layers;
        if (std::get<2>(alike) < pool.page_size) fill.slots = Ints{std::get<2>(alike)};
        give_cut(list, [&](Pages part) {
          if (some == &digested) {
            fill.digest.emplace(Digests{.per_page = true, .list = {}});
            for (PageId page : part) fill.digest->list.push_back(*pool.digests.find(u64(page)));
          }
          fill.pages = std::move(part);
          give(fill);
        });
      }
    }
  }

  void say_ended(const Space& space) {
    space.for_each_holder([&](Name owner, const Holder& holder) {
      if (holder.ended && ended_.insert(owner).second) {
        give(ev::Request{owner, names_.intern("finish")});
      }
    });
  }

  void say_keys(const Pool& pool) {
    for (const auto& [page, keys] : pool.keys) {
      for (const PrefixKeyState& key : keys) {
        const Name when = key.scheduled ? names_.intern("scheduled") : kNone;
        give(ev::PrefixKey{pool.name, PageId{page}, key.key, when});
      }
    }
  }

  // Pages of an operation that can be said without a finding: a write of what is not its own was
  // one, and so was an operation beside another that conflicts with it.
  Pages sayable(std::size_t i) const {
    const Op& op = world_.ops[i];
    const Pool& pool = world_.pools[op.pool];
    const Space& space = world_.space_of(pool);
    Pages out;
    for (PageId page : op.pages) {
      const PageInfo info = space.info(page);
      const bool own = info.unknown || (space.owns(info, op.by) && info.more == 0 &&
                                        pool.reserved_page(page) == nullptr);
      const bool alone = std::none_of(
          world_.ops.begin(), world_.ops.begin() + static_cast<std::ptrdiff_t>(i),
          [&](const Op& other) {
            return other.pool == op.pool && other.stream != op.stream &&
                   (other.writes || op.writes) && std::ranges::binary_search(other.pages, page);
          });
      // A page that went back meanwhile cannot be told from one that was never its own.
      const bool held = info.unknown || info.owner != kNone || pool.reserved_page(page) != nullptr;
      if (alone && held && (!op.writes || !world_.is_party(op.by) || own)) out.push_back(page);
    }
    return out;
  }

  void say_op(std::size_t i) {
    const Op& op = world_.ops[i];
    ev::AsyncBegin begin{op.name,
                         names_.intern(op.writes ? "write" : "read"),
                         world_.pools[op.pool].name,
                         sayable(i),
                         op.by,
                         {}};
    if (op.layers != kAllLayers) begin.layers = world_.layers.list(op.layers).layers;
    event_.stream = op.stream;
    give(std::move(begin));
    for (std::int32_t stream : op.ordered) {
      event_.stream = stream;
      give(ev::StreamWait{op.stream, NameList{op.name}});
    }
    event_.stream = 0;
  }

  void say_buffer(Name name, const BufferState& buffer) {
    if (buffer.rewritten != kNever) give(ev::Refresh{name});
    buffer.table.for_each([&](std::uint64_t row, const TableRow& cells) {
      say_row(name, buffer, static_cast<std::int64_t>(row), cells);
    });
    say_values<ev::Lens>(name, buffer.lens, [](std::int64_t v) { return v; });
    say_values<ev::SlotList>(name, buffer.slots, [](std::int64_t v) { return SlotId{v}; });
  }

  // Runs of cells that say the same space and unit. Cells outside were a finding.
  void say_row(Name name, const BufferState& buffer, std::int64_t row, const TableRow& cells) {
    if (buffer.rows >= 0 && row >= buffer.rows) return;
    ev::Table table{.buffer = name, .row = row, .col = 0, .pages = {}};
    const auto end = [&] {
      if (!table.pages.empty()) give(table);
      table.pages.clear();
    };
    const auto put = [&](std::int64_t col, const Cell& cell) {
      const Tag& tag = world_.tags[cell.tag];
      const bool outside = buffer.cols >= 0 && col >= buffer.cols;
      if (cell.page == kUnknownPage || outside) return end();
      const auto next = table.col + static_cast<std::int64_t>(table.pages.size());
      if (col != next || tag.space != table.space || tag.unit != table.unit) end();
      if (table.pages.empty()) {
        table.col = col;
        table.space = tag.space;
        table.unit = tag.unit;
      }
      table.pages.push_back(cell.page);
    };
    std::int64_t col = 0;
    for (const Cell& cell : cells.cells) put(col++, cell);
    for (const auto& [far, cell] : cells.far) {
      if (far >= col) put(far, cell);
    }
    end();
  }

  template <class T, class F>
  void say_values(Name name, const SparseArray<Value>& values, F&& as) {
    T run{};
    run.buffer = name;
    const auto end = [&] {
      if (!run.values.empty()) give(run);
      run.values.clear();
    };
    values.for_each([&](std::uint64_t row, const Value& value) {
      if (!value.known()) return end();
      if (run.values.empty() || run.values.size() == kMost) {
        end();
        run.row = static_cast<std::int64_t>(row);
      } else if (*run.row + static_cast<std::int64_t>(run.values.size()) !=
                 static_cast<std::int64_t>(row)) {
        end();
        run.row = static_cast<std::int64_t>(row);
      }
      run.values.push_back(as(value.value));
    });
    end();
  }

  const World& world_;
  const bool has_keys_;
  Names& names_;
  const Name why_;
  const std::function<void(const Event&)>& give_;
  Event event_;
  std::map<std::pair<const Space*, Name>, Pages> pages_of_;
  std::set<Name> ended_;
};

}  // namespace

void restate(const State& state, SetupLog& setup, Names& names, std::string_view why,
             const std::function<void(const Event&)>& give) {
  for (Event event : setup.events()) {
    event.t = {};  // Long before the others.
    give(event);
  }
  for (const auto& [key, event] : setup.requests()) {
    Event request = event;
    request.t = {};
    give(request);
  }
  const Name reason = names.intern(why);
  std::optional<State> scratch;
  for (const auto& [rank, world] : state.settled(scratch).worlds()) {
    WorldRestater(world, rank, setup.has_keys(), names, reason, give).run();
  }
}

}  // namespace pagetape
