// SPDX-License-Identifier: Apache-2.0
// The memory between who compares a table and who writes the trace: a header, words that commit
// steps, cells. Beside a ring in shared memory it is a file of its own, so that what the device
// wrote survives the engine.
//
// The comparer writes cells, then the word of their step; the reader gives both back. A step's
// cells stand behind those of the step before. Positions count for ever, from 0, steps from 1.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "capture/table_view.h"
#include "traces/status.h"

namespace pagetape {

inline constexpr std::uint64_t kStepsHeld = 1u << 13;
inline constexpr std::uint64_t kCellsMost = std::uint64_t{1} << kIndexBits;

// What a table's cells are in the trace.
enum class TableKind : std::uint32_t {
  kPages = 0,
  kLens = 1,
  kSlots = 2,
  kMap = 3,
  kOwners = 4,
  kNames = 5
};

struct TableHeader {
  char magic[8];
  std::uint32_t header_bytes;
  TableKind kind;
  std::uint32_t rows, cols;
  std::uint64_t cells_held;           // A power of two, with room for twice the table.
  std::uint32_t lists;                // 1: the rows have lengths, behind the cells.
  std::atomic<std::uint32_t> failed;  // The device's work was cut off: what is missing never comes.

  // The reader's: what stands before is free.
  alignas(64) std::atomic<std::uint64_t> cells_freed;
  std::atomic<std::uint64_t> steps_freed;

  // The comparer's: the latest step that found no room.
  alignas(64) std::atomic<std::uint64_t> lost;

  std::uint32_t cells() const { return rows * cols; }
  std::uint32_t indices() const { return cells() + (lists != 0 ? rows : 0); }
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

class TableMemory {
 public:
  // A file that must not be there yet; with an empty path, memory of this process alone. The
  // table has less than kCellsMost cells.
  static std::unique_ptr<TableMemory> create(const std::string& path, TableKind kind,
                                             const TableView& view, Status& status);
  // Of another process: refuses what makes no sense, or is not this user's alone. `sharing` is
  // MAP_SHARED or MAP_PRIVATE.
  static std::unique_ptr<TableMemory> open(const std::string& path, int sharing, Status& status);
  ~TableMemory();
  TableMemory(const TableMemory&) = delete;
  TableMemory& operator=(const TableMemory&) = delete;

  TableHeader& header() const { return *static_cast<TableHeader*>(memory_); }
  std::uint64_t* steps() const;
  CellWord* cells() const;
  void* memory() const { return memory_; }
  std::size_t bytes() const { return bytes_; }

 private:
  TableMemory(void* memory, std::size_t bytes) : memory_(memory), bytes_(bytes) {}

  void* memory_;
  std::size_t bytes_;
};

// Where the memory of a ring's n-th table is.
std::string table_path(const std::string& ring, std::uint32_t n);
// Removes the files of a ring's tables.
void remove_tables(const std::string& ring);

// The reader's side: one thread at a time. Believes nothing but what the header said at first.
class TableReader {
 public:
  explicit TableReader(std::shared_ptr<TableMemory> memory);

  struct Taken {
    bool all = true;    // Not where a step is still to come.
    bool lost = false;  // There was no room for one.
  };
  // Takes the steps up to `step` as far as they are there, their cells behind those in `cells`. A
  // step that was lost empties it: what comes after it is the whole table.
  Taken take(std::uint64_t step, std::vector<CellWord>& cells);
  // Whether steps that are missing never come.
  bool failed() const { return memory_->header().failed.load(std::memory_order_acquire) != 0; }

  // Where it stands, to be given back later.
  struct Place {
    std::uint64_t steps = 0, cells = 0;
  };
  Place place() const { return place_; }
  void release(const Place& place);
  // A quarter of the memory holds what was taken and not given back.
  bool crowded() const;

  TableKind kind() const { return kind_; }
  std::uint32_t cols() const { return cols_; }
  std::uint32_t table_cells() const { return table_cells_; }
  std::uint32_t indices() const { return indices_; }

 private:
  bool take_cells(std::uint64_t count, std::vector<CellWord>& cells);

  std::shared_ptr<TableMemory> memory_;
  const TableKind kind_;
  const std::uint32_t cols_, table_cells_, indices_;
  const std::uint64_t cells_held_;
  Place place_;
};

// Compares a table in this process's memory: what the kernel does, one cell after the other.
class HostCompare {
 public:
  HostCompare(const TableView& view, TableMemory& memory);
  void compare() { compare(view_); }
  // What the table is in another view, which numbers cells as this one.
  void compare(const TableView& view);
  void resend() { state_.full = 1; }
  const DeltaState& state() const { return state_; }

 private:
  template <class Cell, std::uint32_t kCells>
  void compare_as(const TableView& view);
  void put(CellWord word);

  const TableView view_;
  TableMemory& memory_;
  DeltaState state_;
  std::vector<CellGroup<std::int32_t, 4>> shadow_;
  std::vector<std::int64_t> lengths_;
};

}  // namespace pagetape
