// SPDX-License-Identifier: Apache-2.0
#include "capture/table_events.h"

#include <algorithm>
#include <ctime>
#include <utility>

namespace pagetape {
namespace {

constexpr std::int64_t kPatienceNs = 10'000'000'000;
constexpr std::size_t kTablesMost = 4096;

std::int64_t now_ns() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// By index, the latest of each.
void order(std::vector<CellWord>& cells) {
  std::ranges::stable_sort(cells, {}, index_of);
  auto to = cells.begin();
  for (auto from = cells.begin(); from != cells.end(); ++from) {
    if (from + 1 != cells.end() && index_of(from[1]) == index_of(*from)) continue;
    *to++ = *from;
  }
  cells.erase(to, cells.end());
}

}  // namespace

TableSource tables_of(std::string ring, int sharing) {
  return [ring = std::move(ring), sharing](std::uint32_t n) -> std::shared_ptr<TableMemory> {
    Status status;
    return TableMemory::open(table_path(ring, n), sharing, status);
  };
}

bool TableEvents::take(const Record& record, const RecordDecoder& names, bool now) {
  bodies_.clear();
  Table* table = table_of(record);
  if (table == nullptr) {
    bodies_.emplace_back(ev::Dropped{1, {}, {}});
    return true;
  }
  const std::uint64_t steps = table->reader->place().steps;
  const auto taken = table->reader->take(static_cast<std::uint64_t>(record.ints[1]), cells_);
  if (table->reader->place().steps > steps) table->hopeless = false;
  lost_ |= taken.lost;
  if (!taken.all) {
    if (!now && waits(*table)) return false;
    // What comes later is told with a later compare.
    table->hopeless = lost_ = true;
  }
  const bool lost = std::exchange(lost_, false);
  if (lost) {
    bodies_.emplace_back(ev::Dropped{1, {}, {}});
    forget();
  }
  waiting_ = false;
  order(cells_);
  switch (table->reader->kind()) {
    case TableKind::kPages:
    case TableKind::kLens:
    case TableKind::kSlots:
      add_cells(*table->reader, record, names);
      break;
    case TableKind::kMap:
      table->map.add(cells_, names.name(record.names[0]), bodies_);
      break;
    case TableKind::kOwners:
      add_owners(*table, record, names);
      break;
    case TableKind::kNames:
      add_named(*table, record, names, lost);
      break;
  }
  cells_.clear();
  return true;
}

void TableEvents::forget() {
  for (Table& table : tables_) {
    if (table.owners != nullptr) table.owners->forget();
  }
}

TableEvents::Table* TableEvents::table_of(const Record& record) {
  current_ = static_cast<std::size_t>(record.ints[0]);
  if (current_ >= kTablesMost || record.ints[1] <= 0) return nullptr;
  if (current_ >= tables_.size()) tables_.resize(current_ + 1);
  Table& table = tables_[current_];
  if (table.reader == nullptr && source_) {
    auto memory = source_(static_cast<std::uint32_t>(current_));
    if (memory != nullptr) table.reader = std::make_unique<TableReader>(std::move(memory));
  }
  return table.reader == nullptr ? nullptr : &table;
}

bool TableEvents::crowded() const {
  return std::ranges::any_of(
      tables_, [](const Table& t) { return t.reader != nullptr && t.reader->crowded(); });
}

bool TableEvents::waits(const Table& table) {
  if (table.hopeless || table.reader->failed()) return false;
  if (!std::exchange(waiting_, true)) since_ = now_ns();
  return now_ns() - since_ < kPatienceNs;
}

void TableEvents::passed(std::uint64_t position) {
  if (current_ >= tables_.size() || tables_[current_].reader == nullptr) return;
  passed_.push_back({position, current_, tables_[current_].reader->place()});
}

void TableEvents::release(std::uint64_t position) {
  while (!passed_.empty() && passed_.front().position <= position) {
    tables_[passed_.front().table].reader->release(passed_.front().place);
    passed_.pop_front();
  }
}

void TableEvents::add_owners(Table& table, const Record& record, const RecordDecoder& names) {
  const Name pool = names.name(record.names[0]), nobody = names.name(record.names[1]);
  if (table.owners == nullptr) table.owners = std::make_unique<ToldOwners>(table.reader->cols());
  table.pool = pool;
  table.owners->add(cells_, pool, nobody, names, bodies_);
  if (record.flag != kMoved && record.flag != kKept) return;
  const Name from = names.name(record.names[2]), to = names.name(record.names[3]);
  if (from == kNone || to == kNone) return;
  table.owners->moved(pool, from, to, record.flag == kKept, bodies_);
}

void TableEvents::add_named(Table& table, const Record& record, const RecordDecoder& names,
                            bool lost) {
  table.named.resize(table.reader->cols());
  for (const CellWord cell : cells_) {
    if (index_of(cell) < table.named.size()) table.named[index_of(cell)] = value_of(cell);
  }
  const Name pool = names.name(record.names[0]), request = names.name(record.names[2]);
  // That which was opened last.
  const auto owners = std::find_if(tables_.rbegin(), tables_.rend(), [pool](const Table& one) {
    return one.owners != nullptr && one.pool == pool;
  });
  if (lost || record.flag != kNamed || request == kNone || owners == tables_.rend()) return;
  const std::size_t n = std::min<std::size_t>(record.n, table.named.size());
  owners->owners->named({table.named.data(), n}, pool, request, record.ints[2], bodies_);
}

// Lengths stand behind the cells.
void TableEvents::add_cells(const TableReader& reader, const Record& record,
                            const RecordDecoder& names) {
  const auto behind = std::ranges::lower_bound(cells_, reader.table_cells(), {}, index_of);
  const std::vector<CellWord> lengths(behind, cells_.end());
  cells_.erase(behind, cells_.end());
  add_runs(reader, record, names);
  const Name lens = names.name(record.names[1]);
  if (lens == kNone) return;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const std::int64_t row = index_of(lengths[i]) - reader.table_cells();
    if (i == 0 || index_of(lengths[i]) != index_of(lengths[i - 1]) + 1) {
      bodies_.emplace_back(ev::Lens{lens, {}, row});
    }
    std::get<ev::Lens>(bodies_.back()).values.push_back(value_of(lengths[i]));
  }
}

// Cells side by side make one event.
void TableEvents::add_runs(const TableReader& reader, const Record& record,
                           const RecordDecoder& names) {
  const Name buffer = names.name(record.names[0]);
  std::uint32_t next = 0;
  for (std::size_t i = 0; i < cells_.size(); ++i) {
    const CellWord cell = cells_[i];
    const std::uint32_t index = index_of(cell);
    const std::int64_t row = index / reader.cols(), col = index % reader.cols();
    const bool begins = i == 0 || index != next || (col == 0 && reader.kind() == TableKind::kPages);
    next = index + 1;
    switch (reader.kind()) {
      case TableKind::kPages: {
        if (begins) {
          bodies_.emplace_back(ev::Table{buffer,
                                         row,
                                         col,
                                         {},
                                         kNone,
                                         names.name(record.names[2]),
                                         names.name(record.names[3])});
        }
        std::get<ev::Table>(bodies_.back()).pages.push_back(PageId{value_of(cell)});
        break;
      }
      case TableKind::kLens:
        if (begins) bodies_.emplace_back(ev::Lens{buffer, {}, index});
        std::get<ev::Lens>(bodies_.back()).values.push_back(value_of(cell));
        break;
      case TableKind::kSlots:
        if (begins) bodies_.emplace_back(ev::SlotList{buffer, {}, index});
        std::get<ev::SlotList>(bodies_.back()).values.push_back(SlotId{value_of(cell)});
        break;
      case TableKind::kMap:
      case TableKind::kOwners:
      case TableKind::kNames:
        break;  // An allocator's state.
    }
  }
}

}  // namespace pagetape
