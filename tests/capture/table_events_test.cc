// SPDX-License-Identifier: Apache-2.0
// What compares of an allocator's state mean where events or steps are lost: device_tables_test has
// the rest.
#include "capture/table_events.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

namespace pagetape {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint32_t kPages = 5;

class TableEventsTest : public testing::Test {
 protected:
  TableEventsTest()
      : decoder_(names_),
        events_([this](std::uint32_t n) { return n < memory_.size() ? memory_[n] : nullptr; }) {
    for (const char* name : {"F", "#nobody", "A", "B", "#cache"}) decoder_.add_name(name);
    owners_ = open(TableKind::kOwners, cells_.data(), 2);
    names_of_ = open(TableKind::kNames, row_.data(), 1);
  }

  static TableView view_of(const std::int32_t* cells, std::uint32_t rows) {
    TableView view;
    view.cells = cells;
    view.rows = rows;
    view.cols = kPages;
    view.row_stride = kPages;
    return view;
  }
  std::unique_ptr<HostCompare> open(TableKind kind, const std::int32_t* cells, std::uint32_t rows) {
    Status status;
    const TableView view = view_of(cells, rows);
    memory_.push_back(TableMemory::create("", kind, view, status));
    EXPECT_TRUE(status.ok()) << status.message();
    return std::make_unique<HostCompare>(view, *memory_.back());
  }

  Record record(std::int64_t table, std::int64_t step, std::uint16_t flag = kChanges,
                ptape_name from = 0, ptape_name to = 0, std::uint32_t n = 0) {
    Record record;
    record.kind = kCompareRecord;
    record.flag = flag;
    record.n = n;
    record.set_names(kF, kNobody, from, to);
    record.set_ints(table, step, std::int64_t{0});
    return record;
  }
  // The events of a record, as kind, holder and pages.
  std::vector<std::string> told(const Record& record, bool now = true) {
    EXPECT_TRUE(events_.take(record, decoder_, now));
    std::vector<std::string> lines;
    for (const EventBody& body : events_.bodies()) lines.push_back(line(body));
    return lines;
  }
  std::string line(const EventBody& body) {
    if (const auto* alloc = std::get_if<ev::Alloc>(&body)) return line("alloc", *alloc);
    if (const auto* share = std::get_if<ev::Share>(&body)) return line("share", *share);
    if (const auto* free = std::get_if<ev::Free>(&body)) return line("free", *free);
    return std::holds_alternative<ev::Dropped>(body) ? "dropped" : "another";
  }
  template <class Body>
  std::string line(const char* event, const Body& body) {
    std::string text = std::string(event) + ' ' + std::string(names_.text(body.req));
    for (const PageId page : body.pages) text += ' ' + std::to_string(raw(page));
    return text;
  }

  static constexpr ptape_name kF = 1, kNobody = 2, kA = 3, kB = 4, kCache = 5;
  Names names_;
  RecordDecoder decoder_;
  std::vector<std::shared_ptr<TableMemory>> memory_;
  TableEvents events_;
  // Pages 1 and 2 are A's; the columns behind.
  std::vector<std::int32_t> cells_{0, 3, 3, 0, 0, 0, 0, 1, 0, 0}, row_{1, 2, 0, 0, 0};
  std::unique_ptr<HostCompare> owners_, names_of_;
};

TEST_F(TableEventsTest, AfterADropWhoHoldsAPageIsNotKnownButOfWhatIsTakenThen) {
  owners_->compare();
  EXPECT_THAT(told(record(0, 1)), ElementsAre("alloc A 1 2"));
  names_of_->compare();
  EXPECT_THAT(told(record(1, 1, kNamed, kB, 0, 2)), ElementsAre("share B 1 2"));
  events_.forget();
  EXPECT_THAT(told(record(0, 1, kMoved, kA, kCache)), IsEmpty());
  cells_[1] = -1;  // No one's.
  cells_[3] = 4;
  owners_->compare();
  EXPECT_THAT(told(record(0, 2)), ElementsAre("free #nobody 1", "alloc B 3"));
  EXPECT_THAT(told(record(0, 2, kMoved, kB, kCache)), ElementsAre("share #cache 3", "free B 3"));
}

TEST_F(TableEventsTest, PagesThatAreLostOnTheWayAreNamedByNoOne) {
  owners_->compare();
  told(record(0, 1));
  names_of_->compare();
  // A step is missing, and does not come: what is there are an older row's pages.
  EXPECT_THAT(told(record(1, 2, kNamed, kB, 0, 2)), ElementsAre("dropped"));
  row_[0] = 2;
  names_of_->compare();
  EXPECT_THAT(told(record(1, 3, kNamed, kB, 0, 1)), ElementsAre("dropped"));
}

TEST_F(TableEventsTest, WhatMakesNoSenseNamesNothing) {
  owners_->compare();
  told(record(0, 1));
  names_of_->compare();
  Record far = record(1, 1, kNamed, kB, 0, 2);
  far.ints[2] = std::int64_t{1} << 31;
  EXPECT_THAT(told(far), IsEmpty());
  far.ints[2] = -1;
  EXPECT_THAT(told(far), IsEmpty());
  EXPECT_THAT(told(record(1, 1, kNamed, 99, 0, 2)), IsEmpty());
  EXPECT_THAT(told(record(0, 1, kMoved, kA, 99)), IsEmpty());
  EXPECT_THAT(told(record(0, 1, 77, kA, kB)), IsEmpty());
  // More pages than there are in the table: the rest are none.
  EXPECT_THAT(told(record(1, 1, kNamed, kB, 0, 1u << 31)), ElementsAre("share B 1 2"));
}

TEST_F(TableEventsTest, ATableThatIsOpenedAnewIsThePools) {
  owners_->compare();
  told(record(0, 1));
  names_of_->compare();
  auto again = open(TableKind::kOwners, cells_.data(), 2);
  again->compare();
  EXPECT_THAT(told(record(2, 1)), ElementsAre("alloc A 1 2"));
  EXPECT_THAT(told(record(1, 1, kNamed, kB, 0, 2)), ElementsAre("share B 1 2"));
  EXPECT_THAT(told(record(2, 1, kMoved, kB, kCache)),
              ElementsAre("share #cache 1 2", "free B 1 2"));
}

}  // namespace
}  // namespace pagetape
