// SPDX-License-Identifier: Apache-2.0
#include "capture/guard.h"

#include <bit>

namespace pagetape {
namespace {

class HostTable final : public GuardedTable {
 public:
  HostTable(const TableView& view, bool copies, std::int64_t reserved, GuardReports& reports,
            std::uint64_t& reported)
      : view_(view), reports_(reports), reported_(reported) {
    if (!copies) return;
    const auto bytes = static_cast<std::size_t>(copied_cells(view)) * view.cell_bytes;
    copy_.resize((bytes + kVectorBytes - 1) / kVectorBytes);
    const auto fill = [&]<class Cell>(Cell* cells) {
      for (std::int64_t i = 0; i < copied_cells(view); ++i) cells[i] = static_cast<Cell>(reserved);
    };
    view.cell_bytes == 4 ? fill(static_cast<std::int32_t*>(copy()))
                         : fill(static_cast<std::int64_t*>(copy()));
  }

  Status check(const TableView& view, const GuardedLaunch& launch, void*) override {
    view_ = view;
    state_ = {};
    whole_ = !copy_.empty() && launch.bound < copied_bound_;
    copied_bound_ = launch.bound;
    const bool vectors = compares_vectors(view_);
    if (view_.cell_bytes == 4) {
      vectors ? check_as<std::int32_t, 4>(launch) : check_as<std::int32_t, 1>(launch);
    } else {
      vectors ? check_as<std::int64_t, 2>(launch) : check_as<std::int64_t, 1>(launch);
    }
    if (state_.bad == 0) return {};
    const GuardReport report = make_report(view_, launch, state_, ++reported_);
    GuardReport& to = reports_.held[reported_ % kReportsHeld];
    to = report;
    std::atomic_ref(to.number).store(report.number, std::memory_order_release);
    return {};
  }
  void* copy() override { return copy_.empty() ? nullptr : copy_.data(); }

 private:
  template <class Cell, std::uint32_t kCells>
  void check_as(const GuardedLaunch& launch) {
    for (std::uint32_t row = 0; row < view_.rows; ++row) {
      const RowSpan span = row_span(view_, row);
      const LiveColumns live = live_columns(span, launch, row);
      auto* to = static_cast<Cell*>(copy());
      if (to != nullptr) to += copied_row(view_, span, row);
      const GuardedItems items = guarded_items(span, live, whole_, kCells);
      for (std::uint32_t i = items.begin; i < items.end; ++i) {
        GuardItem<Cell, kCells> item;
        item.load(view_, span, i);
        add(item.settle(launch, live, i, to), row * view_.cols + i * kCells);
      }
    }
  }
  void add(std::uint32_t bad, std::uint32_t index) {
    if (bad == 0) return;
    const auto first = index + static_cast<std::uint32_t>(std::countr_zero(bad));
    if (first < state_.first) state_.first = first;
    state_.bad += static_cast<std::uint64_t>(std::popcount(bad));
  }

  TableView view_;  // Of this check.
  GuardReports& reports_;
  std::uint64_t& reported_;
  GuardState state_;
  bool whole_ = false;
  std::int64_t copied_bound_ = 0;  // Of what the copy holds.
  std::vector<CellGroup<std::int32_t, 4>> copy_;
};

class HostGuard final : public Guard {
 public:
  GuardReports& reports() override { return reports_; }
  std::unique_ptr<GuardedTable> add(const TableView& view, bool copies, std::int64_t reserved,
                                    Status& status) override {
    status = {};
    return std::make_unique<HostTable>(view, copies, reserved, reports_, reported_);
  }

 private:
  GuardReports reports_{};
  std::uint64_t reported_ = 0;
};

}  // namespace

bool next_report(GuardReports& reports, std::uint64_t& next, GuardReport& report) {
  while (true) {
    GuardReport& from = reports.held[next % kReportsHeld];
    const std::uint64_t number = std::atomic_ref(from.number).load(std::memory_order_acquire);
    if (number < next) return false;
    report = from;
    std::atomic_thread_fence(std::memory_order_acquire);
    const std::uint64_t after = std::atomic_ref(from.number).load(std::memory_order_relaxed);
    if (number == next && after == next) {
      ++next;
      return true;
    }
    // Written over: the oldest that may still be there.
    next = (after > number ? after : number) - kReportsHeld + 1;
  }
}

std::unique_ptr<Guard> Guard::on_host() { return std::make_unique<HostGuard>(); }

}  // namespace pagetape
