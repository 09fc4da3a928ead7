// SPDX-License-Identifier: Apache-2.0
// The C interface to the guard.
#include <exception>
#include <string>
#include <utility>

#include "capture/guard.h"
#include "capture/recorder_handle.h"

using pagetape::argument_error;
using pagetape::Status;

struct ptape_guard {
  ptape_recorder* recorder;  // May be null.
  const ptape_guard_mode mode;
  std::unique_ptr<pagetape::Guard> guard;
  std::uint64_t next = 1;
};

struct ptape_guarded {
  const pagetape::TableView view;
  const std::int64_t reserved;
  std::unique_ptr<pagetape::GuardedTable> table;
};

namespace {

const char* name_of(ptape_guard_mode mode) {
  return mode == PTAPE_GUARD_LOG ? "log" : mode == PTAPE_GUARD_RAISE ? "raise" : "clamp";
}

bool valid(const ptape_guard_launch* launch) {
  return launch != nullptr && launch->size >= sizeof(ptape_guard_launch) && launch->page_size > 0 &&
         launch->window >= 0 && launch->bound >= 0 &&
         (launch->lens == nullptr || launch->len_bytes == 4 || launch->len_bytes == 8);
}

// The trace says it too: what a launch was given in the table's place is no longer the table.
void note(const ptape_guard& guard, const pagetape::GuardReport& report) {
  if (guard.recorder == nullptr) return;
  const std::string line = R"({"ev": "note", "text": "guard )" + std::string(name_of(guard.mode)) +
                           ": layer " + std::to_string(report.layer) + ", row " +
                           std::to_string(report.row) + ", column " + std::to_string(report.col) +
                           ": id " + std::to_string(report.id) + " is outside the bound pool of " +
                           std::to_string(report.bound) +
                           "; bad entries: " + std::to_string(report.bad) + R"("})";
  (void)ptape_json(guard.recorder, line.data(), line.size());
}

int check(const ptape_guarded& guarded, const pagetape::TableView& view,
          const ptape_guard_launch& launch, void* stream) {
  pagetape::GuardedLaunch to;
  to.lens = launch.lens;
  to.len_bytes = launch.len_bytes;
  to.layer = launch.layer;
  to.bound = launch.bound;
  to.reserved = guarded.reserved;
  to.page_size = launch.page_size;
  to.window = launch.window;
  to.q_len = launch.q_len;
  if (const Status status = guarded.table->check(view, to, stream); !status.ok()) {
    (void)argument_error(status.message());
    return PTAPE_E_DEVICE;
  }
  return PTAPE_OK;
}

}  // namespace

extern "C" {

ptape_guard* ptape_guard_open(ptape_recorder* recorder, ptape_guard_mode mode, int on_host) {
  if (mode < PTAPE_GUARD_LOG || mode > PTAPE_GUARD_CLAMP) {
    (void)argument_error("a guard's mode is log, raise or clamp");
    return nullptr;
  }
  try {
    Status status;
    auto guard = on_host != 0 ? pagetape::Guard::on_host() : pagetape::Guard::on_device(status);
    if (guard != nullptr) return new ptape_guard{recorder, mode, std::move(guard)};
    (void)argument_error(status.message());
  } catch (const std::exception& error) {  // No memory.
    (void)argument_error(error.what());
  }
  return nullptr;
}

ptape_guarded* ptape_guard_table(ptape_guard* guard, const ptape_table_view* view,
                                 std::int64_t reserved_page) {
  if (guard == nullptr || !pagetape::valid_view(view)) {
    (void)argument_error("a guarded table: null, of another version, or of odd widths or strides");
    return nullptr;
  }
  try {
    Status status;
    const pagetape::TableView cells = pagetape::view_of(*view);
    auto table = guard->guard->add(cells, guard->mode != PTAPE_GUARD_LOG, reserved_page, status);
    if (table != nullptr) return new ptape_guarded{cells, reserved_page, std::move(table)};
    (void)argument_error(status.message());
  } catch (const std::exception& error) {  // No memory.
    (void)argument_error(error.what());
  }
  return nullptr;
}

void* ptape_guarded_cells(ptape_guarded* guarded) {
  if (guarded == nullptr) return nullptr;
  void* copy = guarded->table->copy();
  return copy != nullptr ? copy : const_cast<void*>(guarded->view.cells);
}

int ptape_guard_check(ptape_guarded* guarded, const ptape_guard_launch* launch, void* stream) {
  if (guarded == nullptr || !valid(launch)) {
    return argument_error("a guarded launch: null, of another version, or of odd sizes");
  }
  return check(*guarded, guarded->view, *launch, stream);
}

int ptape_guard_check_at(ptape_guarded* guarded, const ptape_table_view* view,
                         const ptape_guard_launch* launch, void* stream) {
  if (guarded == nullptr || !valid(launch) || !pagetape::valid_view(view)) {
    return argument_error("a guarded launch: null, of another version, or of odd sizes");
  }
  const pagetape::TableView cells = pagetape::view_of(*view);
  if (!pagetape::copy_holds(guarded->view, cells)) {
    return argument_error("a guarded launch: a larger table, or of other cells, than was made for");
  }
  return check(*guarded, cells, *launch, stream);
}

int ptape_guard_poll(ptape_guard* guard, ptape_guard_finding* finding) {
  if (guard == nullptr || finding == nullptr) return argument_error("the guard is null");
  pagetape::GuardReport report;
  if (!pagetape::next_report(guard->guard->reports(), guard->next, report)) return 0;
  *finding = {report.id, report.bound, report.bad, report.row, report.col, report.layer, 0};
  note(*guard, report);
  return 1;
}

int ptape_guarded_close(ptape_guarded* guarded) {
  if (guarded == nullptr) return argument_error("the guarded table is null");
  delete guarded;
  return PTAPE_OK;
}

int ptape_guard_close(ptape_guard* guard) {
  if (guard == nullptr) return argument_error("the guard is null");
  delete guard;
  return PTAPE_OK;
}

}  // extern "C"
