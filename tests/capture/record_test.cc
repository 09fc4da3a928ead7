// SPDX-License-Identifier: Apache-2.0
#include "capture/record.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "traces/text.h"

namespace pagetape {
namespace {

class RecordTest : public testing::Test {
 protected:
  RecordTest() {
    for (const char* name : {"F", "A", "t", "tb"}) decoder_.add_name(name);
  }

  // Through the form of the ring.
  std::string decoded(const Record& record, const void* payload = nullptr, std::size_t bytes = 0) {
    std::vector<char> ring(record_bytes(record, bytes));
    char* to = write_record(ring.data(), record);
    if (bytes > 0) std::memcpy(to, payload, bytes);
    return decoded(ring);
  }
  std::string decoded(const std::vector<char>& ring) {
    RecordBytes rest(ring.data(), ring.size());
    Record read;
    if (!read_record(rest, read)) return "error: no record";
    Status status = decoder_.decode(read, rest, event_);
    return status.ok() ? print_event(event_, names_) : "error: " + status.message();
  }

  Names names_;
  RecordDecoder decoder_{names_};
  Event event_;
};

Record free_of(std::uint32_t pool, std::uint32_t req, std::uint32_t n) {
  Record record;
  record.kind = kKindOf<ev::Free>;
  record.set_names(pool, req);
  record.n = n;
  return record;
}

TEST_F(RecordTest, CallersIdsNeedNotBeTheTables) {
  names_.intern("said in a line of the text form first");
  decoder_.add_name("late");  // The callers' fifth, the table's sixth.
  const std::int32_t pages[] = {7, 8};
  EXPECT_EQ(decoded(free_of(1, 5, 2), pages, sizeof(pages)),
            R"({"ev": "free", "pool": "F", "req": "late", "pages": [7, 8]})");
}

TEST_F(RecordTest, NamesThatAreForgottenTakeNoRoom) {
  const auto requests = [&](std::uint32_t first, std::uint32_t n) {
    for (std::uint32_t id = first; id < first + n; ++id) {
      decoder_.add_name("r" + std::to_string(id));
      if (id >= first + 100) {
        EXPECT_TRUE(decoder_.forget_name(id - 100));
      }
    }
    for (std::uint32_t id = first + n - 100; id < first + n; ++id) decoder_.forget_name(id);
  };
  requests(5, 2'000);  // After the fixture's four.
  const std::size_t few = decoder_.ids().pages();
  requests(2'005, 20'000);
  EXPECT_LE(decoder_.ids().pages(), few + 1);
  EXPECT_FALSE(decoder_.forget_name(2'005));
  EXPECT_FALSE(decoder_.forget_name(0));
  EXPECT_FALSE(decoder_.forget_name(~0u));
  decoder_.add_name("late");
  EXPECT_EQ(names_.text(decoder_.name(22'005)), "late");
  EXPECT_EQ(names_.text(decoder_.name(4)), "tb");
}

TEST_F(RecordTest, AnIdThatWasNeverGivenOutIsAnError) {
  const std::int32_t pages[] = {7};
  EXPECT_EQ(decoded(free_of(1, 99, 1), pages, sizeof(pages)).substr(0, 6), "error:");
}

TEST_F(RecordTest, AFieldOfALineDoesNotStayInTheNextRecord) {
  Record line;
  line.kind = kJsonRecord;
  const std::string text =
      R"({"ev": "attention", "backend": "t", "layer": 1, "rows": [], "q_heads": 8})";
  line.n = static_cast<std::uint32_t>(text.size());
  EXPECT_NE(decoded(line, text.data(), text.size()).find("q_heads"), std::string::npos);

  ptape_launch launch{};
  launch.size = sizeof(launch);
  launch.backend = 3;
  const std::int32_t layer = 1;
  launch.layers = &layer;
  launch.n_layers = 1;
  launch.bound_pages = launch.bound_ptr = launch.window = launch.page_size = launch.table_rows =
      launch.table_cols = PTAPE_ABSENT;
  std::vector<char> payload(launch_head_bytes(launch).value());
  write_launch_head(payload.data(), launch);
  Record record;
  record.kind = kKindOf<ev::Attention>;
  EXPECT_EQ(decoded(record, payload.data(), payload.size()),
            R"({"ev": "attention", "backend": "t", "layer": 1, "rows": []})");
}

TEST_F(RecordTest, AnEmptyListIsNotAnAbsentOne) {
  ptape_row row{};
  row.len = row.q_len = row.q_pos = row.first = row.n = PTAPE_ABSENT;
  row.row = 3;
  const std::int32_t none = 0;
  row.pages = &none;
  std::vector<char> payload(rows_bytes(&row, 1).value());
  write_rows(payload.data(), &row, 1, payload.size());
  Record record;
  record.kind = kKindOf<ev::GraphLaunch>;
  record.set_names(ptape_name{4});
  record.flag = 1;
  record.n = 1;
  EXPECT_EQ(
      decoded(record, payload.data(), payload.size()),
      R"({"ev": "graph_launch", "graph": "tb", "rows": [{"req": null, "pages": [], "row": 3}]})");
}

TEST_F(RecordTest, ArraysOfRowsStandBehindThemInTheirOrder) {
  const std::int32_t pages[] = {7, 8, 9};
  const std::int64_t slots[] = {20};
  std::vector<ptape_row> rows(3);
  for (ptape_row& row : rows) ptape_row_init(&row);
  rows[0].pages = pages;
  rows[0].n_pages = 3;
  rows[2].req = 2;
  rows[2].pages = pages + 1;
  rows[2].n_pages = 1;
  rows[2].slots = slots;
  rows[2].n_slots = 1;
  std::vector<char> payload(rows_bytes(rows.data(), rows.size()).value());
  write_rows(payload.data(), rows.data(), rows.size(), payload.size());
  Record record;
  record.kind = kKindOf<ev::GraphLaunch>;
  record.set_names(ptape_name{4});
  record.flag = kLanesByRow;
  record.n = 3;
  EXPECT_EQ(decoded(record, payload.data(), payload.size()),
            R"({"ev": "graph_launch", "graph": "tb", "rows": [{"req": null, "pages": [7, 8, 9]}, )"
            R"({"req": null}, {"req": "A", "pages": [8], "slots": [20]}]})");
}

// A column's n-th number.
struct LanesColumn {
  const char* what;
  std::int64_t (*number)(std::int64_t n);
  std::size_t bytes_of_8;  // Eight of them take, in the ring.
};
constexpr LanesColumn kLanesColumns[] = {
    {"all the same", [](std::int64_t) { return std::int64_t{1}; }, 16},
    {"counting", [](std::int64_t n) { return 5 + n; }, 16},
    {"counting down, by three", [](std::int64_t n) { return -3 * n; }, 16},
    {"steady but for one", [](std::int64_t n) { return n == 4 ? std::int64_t{9} : n; }, 32},
    {"its ends as if it were", [](std::int64_t n) { return n * (n % 7 != 3); }, 32},
    {"steps beyond 63 bits", [](std::int64_t n) { return n % 2 == 0 ? INT64_MIN : INT64_MAX; }, 64},
    {"narrow to the last",
     [](std::int64_t n) { return std::int64_t{n % 2 == 0 ? INT32_MIN : INT32_MAX}; }, 32},
    {"just too wide", [](std::int64_t n) { return n == 3 ? INT64_C(1) << 31 : n; }, 64},
    {"absent", [](std::int64_t) { return std::int64_t{PTAPE_ABSENT}; }, 16},
    {"absent but for one", [](std::int64_t n) { return n == 2 ? 0 : PTAPE_ABSENT; }, 64},
};

TEST_F(RecordTest, LanesByColumnInAnyFormAreThoseByRow) {
  for (const LanesColumn& column : kLanesColumns) {
    for (const std::size_t n : {1, 2, 4, 5, 8, 9, 64}) {
      std::vector<std::int64_t> numbers(n);
      std::vector<ptape_row> rows(n);
      for (std::size_t i = 0; i < n; ++i) {
        ptape_row_init(&rows[i]);
        rows[i].q_pos = rows[i].first = numbers[i] = column.number(static_cast<std::int64_t>(i));
      }
      ptape_lanes lanes{};
      lanes.size = sizeof(lanes);
      lanes.n_lanes = n;
      lanes.q_pos = lanes.first = numbers.data();

      Record by_row, by_column;
      by_row.kind = by_column.kind = kKindOf<ev::GraphLaunch>;
      by_row.set_names(ptape_name{3});
      by_column.set_names(ptape_name{3});
      by_row.n = by_column.n = static_cast<std::uint32_t>(n);
      by_row.flag = kLanesByRow;
      const auto [bytes, flag] = plan_lanes(lanes).value();
      by_column.flag = flag;
      if (n == 8) {
        EXPECT_EQ(bytes, 2 * column.bytes_of_8) << column.what;
      }
      std::vector<char> of_columns(bytes), of_rows(rows_bytes(rows.data(), n).value());
      write_lanes(of_columns.data(), lanes, by_column.flag);
      write_rows(of_rows.data(), rows.data(), n, of_rows.size());
      EXPECT_EQ(decoded(by_column, of_columns.data(), bytes),
                decoded(by_row, of_rows.data(), of_rows.size()))
          << column.what << ", " << n;
    }
  }
}

TEST_F(RecordTest, RowsWithANullOrTooLongArrayHaveNoSize) {
  const std::int32_t page = 7;
  ptape_row row;
  ptape_row_init(&row);
  row.n_pages = 1;
  EXPECT_FALSE(rows_bytes(&row, 1).has_value());
  row.pages = &page;
  EXPECT_EQ(rows_bytes(&row, 1), sizeof(row) + 8);
  row.n_pages = kMostElements + 1;
  EXPECT_FALSE(rows_bytes(&row, 1).has_value());
  EXPECT_FALSE(rows_bytes(nullptr, 1).has_value());
}

// Whatever stands in a ring, the decoder stays within the record.
TEST_F(RecordTest, ARecordCutAnywhereIsAnErrorAndNoMore) {
  const std::int32_t pages[] = {7, 8, 9};
  std::vector<ptape_row> rows(2);
  for (ptape_row& row : rows) {
    ptape_row_init(&row);
    row.len = 3;
    row.pages = pages;
    row.n_pages = 3;
  }
  ptape_launch launch{};
  ptape_launch_init(&launch);
  const std::int64_t sizes[] = {8, 64};
  const ptape_tensor tensor{sizeof(ptape_tensor), 2, sizes, sizes};
  launch.size = sizeof(launch);
  launch.bound = &tensor;
  launch.backend = 3;
  const std::int32_t layers[] = {1, 2};
  launch.layers = layers;
  launch.n_layers = 2;
  Record record;
  record.kind = kKindOf<ev::Attention>;
  record.n = 2;
  const std::size_t head = launch_head_bytes(launch).value(),
                    tail = rows_bytes(rows.data(), 2).value();
  std::vector<char> ring(record_bytes(record, head + tail));
  write_rows(write_launch_head(write_record(ring.data(), record), launch), rows.data(), 2, tail);
  EXPECT_EQ(decoded(ring).substr(0, 6), R"({"ev":)");
  for (std::size_t bytes = 0; bytes < ring.size(); bytes += 8) {
    EXPECT_EQ(decoded(std::vector(ring.begin(), ring.begin() + static_cast<std::ptrdiff_t>(bytes)))
                  .substr(0, 6),
              "error:");
  }
}

TEST_F(RecordTest, AnyBytesAtAllAreDecodedOrRefused) {
  std::mt19937 random(5);
  for (int round = 0; round < 20'000; ++round) {
    std::vector<char> ring(8 * (random() % 40));
    for (char& byte : ring) byte = static_cast<char>(random() % 4 == 0 ? random() : 0);
    if (ring.size() > 2) {
      ring[0] = static_cast<char>(random() % kKinds);
      ring[1] = 0;
    }
    (void)decoded(ring);
  }
}

TEST_F(RecordTest, RankTimeStreamAndSourceAreTheRecords) {
  Record record = free_of(1, 2, 0);
  record.rank = 1;
  record.t = 5;
  record.stream = 2;
  record.src = 3;
  EXPECT_EQ(decoded(record),
            R"({"ev": "free", "pool": "F", "req": "A", "pages": [], "t": 5, "stream": 2, )"
            R"("src": "t", "rank": 1})");
}

TEST_F(RecordTest, RanksAndTimesOfLinesStandBeforeTheRecorders) {
  Record line;
  line.kind = kJsonRecord;
  line.rank = 1;
  line.t = 9;
  const std::string text = R"({"ev": "end", "rank": 4})";
  line.n = static_cast<std::uint32_t>(text.size());
  EXPECT_EQ(decoded(line, text.data(), text.size()), R"({"ev": "end", "t": 9, "rank": 4})");
}

}  // namespace
}  // namespace pagetape
