// SPDX-License-Identifier: Apache-2.0
// The C interface to tables in a GPU's memory.
#include <exception>
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
  const pagetape::TableView cells;
  std::shared_ptr<pagetape::TableMemory> memory;
  std::unique_ptr<pagetape::HostCompare> on_host;  // One of the two.
  std::unique_ptr<pagetape::DeviceCompare> on_device;
  std::int64_t steps = 0;
  std::uint64_t dropped = 0;  // Of the recorder's, when all cells were last told.
};

namespace {

bool valid(const ptape_table_view* view, ptape_table_kind kind, ptape_name buffer) {
  if (!pagetape::valid_view(view) || buffer == 0) return false;
  if (kind == PTAPE_PAGES) return true;
  return kind > PTAPE_PAGES && kind <= PTAPE_OWNERS && view->starts == nullptr &&
         view->rows == (kind == PTAPE_OWNERS ? 2 : 1);
}

// Whether the table can be compared as what that view is.
bool fits(const pagetape::TableView& table, const pagetape::TableView& view) {
  return view.cell_bytes == table.cell_bytes && view.rows <= table.rows &&
         view.cols <= table.cols && (view.starts == nullptr) == (table.starts == nullptr);
}

// Puts the compare where it is to run.
Status compare(ptape_device_table& table, const pagetape::TableView& view, void* stream,
               bool& captured) {
  const std::uint64_t dropped = table.recorder.dropped();
  const bool resend = dropped != table.dropped;
  if (table.on_device != nullptr) {
    if (Status status = table.on_device->compare(view, stream, resend, captured); !status.ok()) {
      return status;
    }
  } else {
    if (resend) table.on_host->resend();
    table.on_host->compare(view);
  }
  if (!captured) table.dropped = dropped;
  return {};
}

// Here, in the trace, stands what was found up to the table's latest step.
int tell(ptape_device_table& table, const ptape_at* at) {
  pagetape::Record record = table.what;
  table.recorder.stamp(record, at);
  record.set_ints(table.what.ints[0], table.steps);
  return table.recorder.append(record);
}

int compare_and_tell(ptape_device_table& table, const pagetape::TableView& view, const ptape_at* at,
                     void* stream) {
  bool captured = false;
  if (const Status status = compare(table, view, stream, captured); !status.ok()) {
    // What the device refuses never comes.
    table.memory->header().failed.store(1, std::memory_order_release);
    (void)argument_error(status.message());
    return PTAPE_E_DEVICE;
  }
  if (captured) return PTAPE_OK;
  ++table.steps;
  return tell(table, at);
}

}  // namespace

extern "C" {

ptape_device_table* ptape_table_open(ptape_recorder* recorder, const ptape_table_view* view,
                                     ptape_table_kind kind, ptape_name buffer, ptape_name lens,
                                     ptape_name space, ptape_name unit) {
  if (recorder == nullptr || !valid(view, kind, buffer)) {
    (void)argument_error(
        "a table: null, of another version, without a buffer, rows or columns, or of odd widths");
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
    auto table =
        std::make_unique<ptape_device_table>(*recorder->recorder, what, cells, std::move(memory),
                                             std::move(on_host), std::move(on_device));
    const auto [begin, end] = pagetape::bytes_of(*view);
    pagetape::add_table_range({table.get(), recorder, buffer, begin, end});
    return table.release();
  } catch (const std::exception& error) {  // No memory.
    (void)argument_error(error.what());
    return nullptr;
  }
}

int ptape_table_compare(ptape_device_table* table, const ptape_at* at, void* stream) {
  if (table == nullptr) return argument_error("the table is null");
  return compare_and_tell(*table, table->cells, at, stream);
}

int ptape_table_compare_at(ptape_device_table* table, const ptape_table_view* view,
                           const ptape_at* at, void* stream) {
  if (table == nullptr || !pagetape::valid_view(view)) {
    return argument_error("the table is null, or the view is none");
  }
  pagetape::TableView cells = pagetape::view_of(*view);
  if (!fits(table->cells, cells)) {
    return argument_error("the view has more rows or columns than the table, or other cells");
  }
  cells.table_rows = table->cells.rows;
  cells.table_cols = table->cells.cols;
  return compare_and_tell(*table, cells, at, stream);
}

int ptape_table_replayed(ptape_device_table* table, const ptape_at* at, std::uint32_t compares) {
  if (table == nullptr) return argument_error("the table is null");
  if (compares == 0) return PTAPE_OK;
  table->steps += compares;
  return tell(*table, at);
}

int ptape_table_close(ptape_device_table* table) {
  if (table == nullptr) return argument_error("the table is null");
  pagetape::remove_table_range(table);
  delete table;
  return PTAPE_OK;
}

}  // extern "C"
