// SPDX-License-Identifier: Apache-2.0
// How close a trace came to an id outside its pool: what was used, and what could have been.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "replay/state.h"
#include "traces/names.h"
#include "traces/status.h"

namespace pagetape {

// The device's uses of one table (or of ids that stood inline) by one backend in one pool, where
// the ids were said to be of one space. Ids are as the kernel got them: pages, mostly.
struct TableUse {
  std::int64_t rank = INT64_MIN;
  Name pool = kNone, table = kNone, backend = kNone;
  Name space = kNone;                      // That the ids are of; kNone: not said.
  bool wrong = false;                      // Said, and not the space of the pool.
  std::int64_t tokens = 1, page_size = 1;  // Of an id, and of a page of the pool.
  std::int64_t bound = 0;                  // In ids: valid are 0 … bound - 1.
  std::int64_t least = INT64_MAX, greatest = INT64_MIN;
  std::uint64_t launches = 0, entries = 0;
  // Ids that the table may come to hold, counted from 0: those of its space. -1: not known.
  std::int64_t possible = -1;
  // Where `wrong`: live entries of requests that name the right page all the same, and the others.
  std::uint64_t camouflaged = 0, misplaced = 0;
  EventIndex first_wrong = kNever;  // The first launch that used it, where `wrong`.
  // Where possible > bound: pages of the table's space that may be handed out before an id outside
  // the pool is possible (ids are handed out ascending), of how many.
  std::int64_t first_oob_fill = -1, space_capacity = -1;

  bool used() const { return entries > 0; }
  // From the greatest id used to the first outside; an id below 0 is as far outside. 1: the last
  // valid one was used; below 1: one outside.
  std::int64_t distance() const;
  // No id that its space can hold is outside the pool: a full pool is no risk.
  bool safe() const { return possible >= 0 && possible <= bound && distance() >= 1; }
  // Pages between what could be used and the bound. Of a space that is known: all its ids count,
  // used so far or not (below 0: some lie outside). Else: those up to the greatest used.
  std::int64_t margin() const;
};

// How far an index space was filled.
struct SpaceFill {
  std::int64_t rank = INT64_MIN;
  Name space = kNone;
  std::int64_t capacity = 0;   // Pages that can have an owner.
  std::int64_t peak = 0;       // With an owner at one time.
  std::int64_t greatest = -1;  // Id ever given out.
};

// Pass it to State::apply for every event. Not thread-safe.
class Headroom final : public Observer {
 public:
  explicit Headroom(const Names& names) : names_(names) {}
  void on_event(const World& world, const Event& event, EventIndex index) override;
  void on_page(World& world, const PageAct& act) override;
  void on_launch(World& world, const LaunchView& view) override;

  // By rank, pool, table, backend and space, as their names sort; then by what an id stands for.
  std::vector<TableUse> tables() const;
  std::vector<SpaceFill> spaces() const;

 private:
  // What was seen of a row, so that what did not change is not looked at again.
  struct Seen {
    std::uint32_t version = 0;
    std::int64_t begin = 0, end = 0;
  };
  struct Table {
    TableUse use;
    std::vector<Seen> rows;
  };
  // Rank, pool, table, backend, space, tokens and bound, as numbers.
  using Key = std::array<std::uint64_t, 7>;

  // What the ids of a launch are measured against.
  struct Ground {
    const World& world;
    const LaunchView& view;
    std::uint32_t pool;  // kNoPool: just the tensor's size is known.
    Name table, backend, unit;
    std::int64_t tokens, bound;
    std::uint64_t layers;
  };
  Table& table_of(const Ground& ground, std::uint32_t claim);
  void say_possible(const Ground& ground, std::uint32_t claim, TableUse& use) const;
  void use_attention(const World& world, const LaunchView& view, std::uint32_t group);
  void use_store(const World& world, const LaunchView& view, std::uint32_t group);
  void use_lane(const Ground& ground, const Lane& lane, Table* table);
  bool use_known_row(const Ground& ground, const Lane& lane, Table& table, std::int64_t lo,
                     std::int64_t hi);
  void use_entry(const Ground& ground, const Lane& lane, Table& table, std::int64_t logical,
                 std::int64_t id);

  const Names& names_;
  std::int64_t rank_ = INT64_MIN;
  std::map<Key, Table> tables_;
  std::map<std::pair<std::int64_t, Name>, SpaceFill> spaces_;
};

struct HeadroomOptions {
  bool judged = false;    // A margin is asked for.
  double min = 0;         // In pages, or …
  bool per_cent = false;  // … in per cent of the bound.
};

struct HeadroomReport {
  std::string trace;
  std::shared_ptr<Names> names;
  Status status;
  std::uint64_t events = 0;
  std::vector<TableUse> tables;
  std::vector<SpaceFill> spaces;
  std::vector<std::size_t> failed;  // Of `tables`, with less margin than asked for.
  bool nothing_measured = false;    // A margin was asked for, and no table has one.
  std::vector<std::string> warnings;

  const SpaceFill* fill_of(const TableUse& table) const;
  int exit_code() const;
};

// Reads the trace to its end, or to where it is in error.
HeadroomReport headroom_trace(const std::string& path, const HeadroomOptions& options);

std::string headroom_text(const HeadroomReport& report, const HeadroomOptions& options);
std::string headroom_json(const HeadroomReport& report);

}  // namespace pagetape
