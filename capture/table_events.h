// SPDX-License-Identifier: Apache-2.0
// From a compare's record to events: what it found changed, as `table`, `lens` or `slots`.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "capture/record.h"
#include "capture/table_memory.h"
#include "capture/table_state.h"

namespace pagetape {

// What the comparer of the n-th table writes into; null where there is none.
using TableSource = std::function<std::shared_ptr<TableMemory>(std::uint32_t)>;

// Of the tables beside a ring's file. `sharing` is MAP_SHARED or MAP_PRIVATE.
TableSource tables_of(std::string ring, int sharing);

class TableEvents {
 public:
  explicit TableEvents(TableSource source) : source_(std::move(source)) {}

  // Makes the bodies of a compare's events. False where the device has not come so far: to be
  // asked again. It is waited for ten seconds at most, and not at all with `now`: then it counts
  // as lost. What is lost is said by `dropped`, so that nothing is judged by an old table.
  bool take(const Record& record, const RecordDecoder& names, bool now);
  const std::vector<EventBody>& bodies() const { return bodies_; }
  bool waiting() const { return waiting_; }
  // Events were dropped: what follows from those before is not known any more.
  void forget();
  // A comparer has little room left before what was taken is in the file.
  bool crowded() const;

  // The record taken last ends there, in the ring …
  void passed(std::uint64_t position);
  // … and what stands before a position is in the file: the comparers get their memory back.
  void release(std::uint64_t position);

 private:
  struct Table {
    std::unique_ptr<TableReader> reader;  // Null: there is none.
    // Of a table that is one of these:
    ToldMap map;
    std::unique_ptr<ToldOwners> owners;
    Name pool = kNone;  // Of which they are.
    std::vector<std::int32_t> named;
    bool hopeless = false;  // It was waited for in vain.
  };
  struct Passed {
    std::uint64_t position;
    std::size_t table;
    TableReader::Place place;
  };

  Table* table_of(const Record& record);
  bool waits(const Table& table);
  void add_owners(Table& table, const Record& record, const RecordDecoder& names);
  void add_named(Table& table, const Record& record, const RecordDecoder& names, bool lost);
  void add_cells(const TableReader& reader, const Record& record, const RecordDecoder& names);
  void add_runs(const TableReader& reader, const Record& record, const RecordDecoder& names);

  TableSource source_;
  std::vector<Table> tables_;
  std::deque<Passed> passed_;
  std::vector<EventBody> bodies_;
  std::vector<CellWord> cells_;  // Of steps taken for the record at hand.
  std::size_t current_ = 0;
  bool lost_ = false, waiting_ = false;
  std::int64_t since_ = 0;
};

}  // namespace pagetape
