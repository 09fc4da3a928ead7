// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "traces/columns_in.h"

namespace pagetape {

bool RowsIn::count(In& in, ColumnIn counts, std::size_t cells, bool may_be_absent,
                   std::uint64_t& there, std::uint64_t& all) {
  there = all = 0;
  std::array<std::uint64_t, kToldLanes> told{};
  std::size_t n_told = 0;
  const char* wrong = nullptr;
  counts.each(cells, [&](std::size_t, std::int64_t count) {
    if (count >= 0) {
      const auto n = static_cast<std::uint64_t>(count - (may_be_absent && count > 0));
      if (n > kMaxSegmentElements) wrong = kBadCount;
      there += n;
      all += n;
      if (n > 0) told[n_told++ % kToldLanes] = n;
    } else if (count >= -static_cast<std::int64_t>(std::min(n_told, kToldLanes))) {
      all += told[(n_told - static_cast<std::size_t>(-count)) % kToldLanes];
    } else {
      wrong = "lanes are those of no list before (M21)";
    }
  });
  return in.need(wrong == nullptr, wrong);
}

bool RowsIn::open_fields(In& in, capnp::AnyStruct::Reader any, capnp::StructSchema schema,
                         const Limits& field, std::size_t cells) {
  told_ = 0;  // Names are numbers of the segment.
  ++segment_;
  if (!columns_.open_fields(in, any, schema, field, cells)) return false;
  slots_alone_ = true;
  lists_ = false;
  columns_.each_column([&]<class M>(std::size_t, auto& column, M ev::Row::*) {
    bool good = true;
    if constexpr (std::is_same_v<M, std::optional<Slots>>) {
      good = !column.counts.elided();
      lists_ = lists_ || good;
    } else if constexpr (requires { column.counts; }) {
      good = column.counts.elided();
      lists_ = lists_ || !good;
    } else if constexpr (!std::is_same_v<M, Name>) {
      good = column.column.elided() && column.may_be_elided;
    }
    slots_alone_ = slots_alone_ && good;
    return true;
  });
  return true;
}

bool RowsIn::refresh(std::size_t n) {
  bool same = told_ > 0 && list_before(1).good && n == list_before(1).rows.size();
  columns_.each_column([&](std::size_t i, auto& column, auto) {
    if constexpr (requires { column.counts; }) {
      same = same && column.counts.elided();
    } else if (!column.column.elided()) {
      cells_[i].resize(n);
      same = column.column.refresh(cells_[i].data(), n) && same;
    }
    return true;
  });
  return same;
}

void RowsIn::read_slots(In& in, std::size_t n, ev::Rows& rows) {
  ev::SlotLanes& lanes = rows.renew_slot_lanes();
  lanes.reqs.resize(n);
  lanes.ends.resize(n);
  lanes.runs.clear();
  std::vector<std::size_t> without;  // Lanes that have no slots, not even an empty list of them.
  columns_.each_column([&]<class M>(std::size_t, auto& column, M ev::Row::*) {
    if constexpr (std::is_same_v<M, Name>) {
      column.get_each(
          in, n, [to = lanes.reqs.data()](std::size_t i) -> auto& { return to[i]; }, false);
    } else if constexpr (std::is_same_v<M, std::optional<Slots>>) {
      column.counts.each(n, [&](std::size_t i, std::int64_t count) {
        if (count == 0) [[unlikely]]
          without.push_back(i);
        // A list may be absent: counts are one more.
        if (count > 1) {
          column.values.take(in, static_cast<std::uint64_t>(count - 1),
                             [&lanes](const ev::SlotRun& run) { lanes.runs.push_back(run); });
        }
        lanes.ends.data()[i] = static_cast<std::uint32_t>(lanes.runs.size());
      });
    }
    return true;
  });
  if (without.empty()) return;
  std::vector<ev::Row>& list = rows.edit();
  for (const std::size_t i : without) list[i].slots.reset();
}

void RowsIn::read(In& in, std::size_t n, ev::Rows& rows) {
  std::vector<ev::Row>& list = rows.renew();
  list.resize(n);
  columns_.each_column([&](std::size_t i, auto& column, auto member) {
    if constexpr (requires { column.counts; }) {
      if (column.counts.elided()) return true;
      column.get_each(
          in, n, [&](std::size_t k) -> auto& { return list.data()[k].*member; });
    } else if (column.column.elided()) {
      in.doubtful |= n > 0 && !column.may_be_elided;
    } else {
      const Limits limits = *column.limits;
      for (std::size_t k = 0; k < n; ++k) {
        in.doubtful |= !take_cell(in, cells_[i].data()[k], limits, list.data()[k].*member);
      }
    }
    return true;
  });
}

// How many slots are in the lists of the lanes, and how many values in the others.
static std::pair<std::uint64_t, std::uint64_t> list_sizes(const ev::Rows& rows) {
  std::uint64_t slots = 0, cells = 0;
  if (const ev::SlotLanes* lanes = rows.slot_lanes(); lanes != nullptr) {
    for (const ev::SlotRun& run : lanes->runs) slots += run.count;
    return {slots, cells};
  }
  const auto size = [](const auto& list) { return list ? list->size() : 0; };
  for (const ev::Row& row : rows) {
    slots += size(row.slots);
    cells += size(row.pages) + size(row.spaces) + size(row.logical);
  }
  return {slots, cells};
}

void RowsIn::get(In& in, std::size_t n, ev::Rows& rows) {
  if (n == 0) {
    rows = {};
    return;
  }
  const bool same = !slots_alone_ && refresh(n);
  Kept& kept = kept_[told_++ % kToldLanes];
  if (same) {
    kept = list_before(2);
  } else {
    if (kept.rows.shared() || kept.segment != segment_) kept.rows = {};
    kept.segment = segment_;
    const bool doubtful = std::exchange(in.doubtful, false);
    slots_alone_ ? read_slots(in, n, kept.rows) : read(in, n, kept.rows);
    kept.good = !in.doubtful && in.error == nullptr;
    std::tie(kept.slots, kept.cells) =
        lists_ ? list_sizes(kept.rows) : std::pair<std::uint64_t, std::uint64_t>();
    in.doubtful |= doubtful;
  }
  rows = kept.rows;
}

void RowsIn::again(In& in, std::size_t back, ev::Rows& rows) {
  const Kept& kept = list_before(back);
  in.slots += kept.slots;
  in.need(in.slots <= kMaxSegmentSlots, kManySlots);
  in.table_cells += kept.cells;
  in.need(in.table_cells <= kMaxSegmentTableCells, kManyCells);
  in.event_elements += kept.rows.size();
  in.need(in.event_elements <= kMaxEventElements, kManyElements);
  in.doubtful |= !kept.good;
  rows = kept.rows;
}

}  // namespace pagetape
