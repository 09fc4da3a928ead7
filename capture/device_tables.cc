// SPDX-License-Identifier: Apache-2.0
// The C interface to tables in a GPU's memory.
#include <algorithm>
#include <array>
#include <exception>
#include <limits>
#include <span>
#include <string>
#include <utility>

#include "capture/device_compare.h"
#include "capture/process.h"
#include "capture/recorder_handle.h"

using pagetape::argument_error;
using pagetape::Status;

struct ptape_device_table {
  pagetape::Recorder& recorder;
  const pagetape::Record what;  // The record of a compare, but for its number and place.
  const ptape_table_kind kind;
  const pagetape::TableView cells;
  std::shared_ptr<pagetape::TableMemory> memory;
  std::unique_ptr<pagetape::HostCompare> on_host;  // One of the two.
  std::unique_ptr<pagetape::DeviceCompare> on_device;
  std::int64_t steps = 0;
  std::uint64_t seen = 0;     // Of the recorder's `losses`, before the compare at hand …
  std::uint64_t dropped = 0;  // … and when all cells were last told.
};

namespace {

bool valid(const ptape_table_view* view, ptape_table_kind kind, ptape_name buffer) {
  if (!pagetape::valid_view(view) || buffer == 0) return false;
  if (kind == PTAPE_PAGES) return true;
  return kind > PTAPE_PAGES && kind <= PTAPE_NAMES && view->starts == nullptr &&
         view->rows == (kind == PTAPE_OWNERS ? 2 : 1);
}

// Whether the table can be compared as what that view is.
bool fits(const pagetape::TableView& table, const pagetape::TableView& view) {
  return view.cell_bytes == table.cell_bytes && view.rows <= table.rows &&
         view.cols <= table.cols && (view.starts == nullptr) == (table.starts == nullptr);
}

// What a compare's record is to mean, and with what.
struct Meaning {
  pagetape::CompareMeaning flag = pagetape::kChanges;
  std::uint32_t request = 0, to = 0;
  std::int64_t first = 0;
  std::uint32_t n = 0;
};

// Here, in the trace, stands what was found up to the table's latest step.
int tell(ptape_device_table& table, const ptape_at* at, const Meaning& meaning = {}) {
  pagetape::Record record = table.what;
  table.recorder.stamp(record, at);
  record.set_ints(table.what.ints[0], table.steps);
  if (meaning.flag != pagetape::kChanges) {
    record.flag = meaning.flag;
    record.n = meaning.n;
    record.set_names(record.names[0], record.names[1], meaning.request, meaning.to);
    record.set_ints(table.what.ints[0], table.steps, meaning.first);
  }
  return table.recorder.append(record);
}

// A table, and what it is to be compared as.
struct Part {
  ptape_device_table* table;
  pagetape::TableView view;
};

// False, with `error` set, where a view is none of the table's.
bool part_of(ptape_device_table* table, const ptape_table_view* view, Part& part, int& error) {
  if (table == nullptr || (view != nullptr && !pagetape::valid_view(view))) {
    error = argument_error("the table is null, or the view is none");
    return false;
  }
  part = {table, table->cells};
  if (view == nullptr) return true;
  part.view = pagetape::view_of(*view);
  if (!fits(table->cells, part.view)) {
    error = argument_error("the view has more rows or columns than the table, or other cells");
    return false;
  }
  part.view.table_rows = table->cells.rows;
  part.view.table_cols = table->cells.cols;
  return true;
}

// Compares the parts, as many as fit into one kernel, where they are, and says that they were.
int compare_and_tell(std::span<const Part> parts, const ptape_at* at, void* stream,
                     const Meaning& meaning = {}) {
  std::array<pagetape::DeviceCompare::Part, pagetape::kTablesAtOnce> on_device;
  std::size_t n = 0;
  for (const Part& part : parts) {
    ptape_device_table& table = *part.table;
    table.seen = table.recorder.losses();
    const bool resend = table.seen != table.dropped;
    if (table.on_device != nullptr) {
      on_device[n++] = {table.on_device.get(), part.view, resend};
      continue;
    }
    if (resend) table.on_host->resend();
    table.on_host->compare(part.view);
  }
  bool captured = false;
  if (n > 0) {
    const Status status =
        pagetape::DeviceCompare::compare_all({on_device.data(), n}, stream, captured);
    if (!status.ok()) {
      // What the device refuses never comes.
      for (const Part& part : parts) {
        if (part.table->on_device != nullptr)
          part.table->memory->header().failed.store(1, std::memory_order_release);
      }
      (void)argument_error(status.message());
      return PTAPE_E_DEVICE;
    }
  }
  int first_error = PTAPE_OK;
  for (const Part& part : parts) {
    ptape_device_table& table = *part.table;
    if (captured && table.on_device != nullptr) continue;
    table.dropped = table.seen;
    ++table.steps;
    const int error = tell(table, at, meaning);
    if (first_error == PTAPE_OK) first_error = error;
  }
  return first_error;
}

}  // namespace

extern "C" {

ptape_device_table* ptape_table_open(ptape_recorder* recorder, const ptape_table_view* view,
                                     ptape_table_kind kind, ptape_name buffer, ptape_name lens,
                                     ptape_name space, ptape_name unit) {
  if (recorder == nullptr || !valid(view, kind, buffer)) {
    (void)argument_error(
        "a table: null, of another version, without a buffer, rows or columns, or of odd widths or "
        "strides");
    return nullptr;
  }
  try {
    Status status;
    std::uint32_t number = 0;
    const pagetape::TableView cells = pagetape::view_of(*view);
    auto memory = recorder->recorder->add_table(static_cast<pagetape::TableKind>(kind), cells,
                                                number, status);
    std::unique_ptr<pagetape::HostCompare> on_host;
    std::unique_ptr<pagetape::DeviceCompare> on_device;
    if (memory != nullptr && view->on_host != 0) {
      on_host = std::make_unique<pagetape::HostCompare>(cells, *memory);
    } else if (memory != nullptr) {
      on_device = pagetape::DeviceCompare::create(cells, *memory, status);
    }
    if (!status.ok()) {
      (void)argument_error(status.message());
      return nullptr;
    }
    pagetape::Record what;
    what.kind = pagetape::kCompareRecord;
    what.set_names(buffer, lens, space, unit);
    what.set_ints(std::int64_t{number});
    auto table = std::make_unique<ptape_device_table>(*recorder->recorder, what, kind, cells,
                                                      std::move(memory), std::move(on_host),
                                                      std::move(on_device));
    if (kind <= PTAPE_SLOTS) {  // Others are named for what is no buffer.
      const auto [begin, end] = pagetape::bytes_of(*view);
      pagetape::add_table_range({table.get(), recorder, buffer, begin, end});
    }
    return table.release();
  } catch (const std::exception& error) {  // No memory.
    (void)argument_error(error.what());
    return nullptr;
  }
}

int ptape_table_compare(ptape_device_table* table, const ptape_at* at, void* stream) {
  const ptape_table_part part{table, nullptr};
  return ptape_tables_compare(&part, 1, at, stream);
}

int ptape_table_compare_at(ptape_device_table* table, const ptape_table_view* view,
                           const ptape_at* at, void* stream) {
  if (view == nullptr) return argument_error("the view is null");
  const ptape_table_part part{table, view};
  return ptape_tables_compare(&part, 1, at, stream);
}

int ptape_tables_compare(const ptape_table_part* parts, std::size_t n, const ptape_at* at,
                         void* stream) {
  if (parts == nullptr && n > 0) return argument_error("the tables are null");
  int first_error = PTAPE_OK;
  while (n > 0) {
    std::array<Part, pagetape::kTablesAtOnce> some;
    const std::size_t count = std::min(n, some.size());
    for (std::size_t i = 0; i < count; ++i) {
      int error = PTAPE_OK;
      if (!part_of(parts[i].table, parts[i].view, some[i], error)) return error;
    }
    const int error = compare_and_tell({some.data(), count}, at, stream);
    if (first_error == PTAPE_OK) first_error = error;
    parts += count;
    n -= count;
  }
  return first_error;
}

int ptape_pages_named(ptape_device_table* names, const ptape_table_view* view, ptape_name request,
                      std::int64_t first, const ptape_at* at, void* stream) {
  Part part;
  int error = PTAPE_OK;
  if (view == nullptr || request == 0) return argument_error("the view or the request is null");
  if (!part_of(names, view, part, error)) return error;
  if (first < 0 || first > std::numeric_limits<std::int32_t>::max() - part.view.cols) {
    return argument_error("a logical page below 0, or beyond 32 bits");
  }
  if (names->kind != PTAPE_NAMES) return argument_error("the table is none of names");
  const Meaning meaning{pagetape::kNamed, request, 0, first, part.view.cols};
  return compare_and_tell({&part, 1}, at, stream, meaning);
}

int ptape_pages_moved(ptape_device_table* owners, ptape_name from, ptape_name to, int keeps,
                      const ptape_at* at) {
  if (owners == nullptr || owners->kind != PTAPE_OWNERS || from == 0 || to == 0) {
    return argument_error("the table is none of owners, or a name is none");
  }
  if (owners->steps == 0) return PTAPE_OK;  // No one is known to hold a page.
  return tell(*owners, at, {keeps != 0 ? pagetape::kKept : pagetape::kMoved, from, to, 0, 0});
}

int ptape_table_replayed(ptape_device_table* table, const ptape_at* at, std::uint32_t compares) {
  if (table == nullptr) return argument_error("the table is null");
  if (compares == 0) return PTAPE_OK;
  table->steps += compares;
  return tell(*table, at);
}

int ptape_table_stands(const ptape_device_table* table) {
  if (table == nullptr) return argument_error("the table is null");
  return table->dropped == table->recorder.losses() ? 1 : 0;
}

int ptape_table_close(ptape_device_table* table) {
  if (table == nullptr) return argument_error("the table is null");
  pagetape::remove_table_range(table);
  delete table;
  return PTAPE_OK;
}

}  // extern "C"
