// SPDX-License-Identifier: Apache-2.0
#include "capture/sim/tables.h"

#include <algorithm>

namespace pagetape::sim {

Tables::Tables(Tape& tape, const Config& config) : tape_(tape), config_(config) {
  draft_.push_back({tape.draft_table, tape.full, false, false});
  if (!draft_is_stale(config.bug)) draft_.push_back({tape.draft_swa_table, tape.swa, true, false});
  if (config.bug == Bug::kClamp) {
    draft_.push_back({tape.draft_clamped_table, tape.full, false, true});
  }
}

void Tables::start() {
  const std::int32_t pad = 0;
  for (DraftTable& table : draft_) {
    for (std::int64_t row = 0; row < config_.concurrency; ++row) {
      tape_.table(table.buffer, row, 0, {&pad, 1}, 0, 0);
    }
    table.fresh = true;
  }
}

void Tables::write_draft(DraftTable& table, const Request& request, std::int64_t col,
                         std::int64_t n) {
  const PageList& pages = table.swa ? request.swa : request.full;
  cells_.assign(pages.begin() + col, pages.begin() + col + n);
  if (table.clamped) {
    for (std::int32_t& cell : cells_) cell = std::min(cell, config_.model->swa_pages - 1);
  }
  tape_.table(table.buffer, request.lane, col, cells_, request.name, table.space);
  table.fresh = true;
}

void Tables::write(const Request& request, std::int64_t col) {
  const auto n = static_cast<std::int64_t>(request.full.size()) - col;
  if (n <= 0) return;
  const auto tail = [&](const PageList& pages) {
    return Tape::Pages(pages).subspan(static_cast<std::size_t>(col));
  };
  tape_.table(tape_.target_table, request.lane, col, tail(request.full), request.name, tape_.full);
  tape_.table(tape_.target_swa_table, request.lane, col, tail(request.swa), request.name,
              tape_.swa);
  for (DraftTable& table : draft_) write_draft(table, request, col, n);
}

void Tables::clear_swa(const Request& request, std::int64_t col) {
  const std::int32_t none = 0;
  tape_.table(tape_.target_swa_table, request.lane, col, {&none, 1}, request.name, tape_.swa);
  for (DraftTable& table : draft_) {
    if (table.swa) write_draft(table, request, col, 1);
  }
}

void Tables::release(const Request& request) {
  const std::int32_t pad = 0;
  for (DraftTable& table : draft_) {
    tape_.table(table.buffer, request.lane, 0, {&pad, 1}, 0, 0);
    table.fresh = true;
  }
}

void Tables::refresh_draft() {
  for (DraftTable& table : draft_) {
    if (!table.fresh) tape_.keep(ptape_refresh(tape_.recorder(), tape_.at(), table.buffer));
    table.fresh = false;
  }
}

}  // namespace pagetape::sim
