// SPDX-License-Identifier: Apache-2.0
#include "verify/sqlite_tables.h"

#include <gmock/gmock.h>
#include <sqlite3.h>

#include "tests/verify/export_fixture.h"

namespace pagetape {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

// The rows of a query, columns apart by "|", NULL as "-".
std::vector<std::string> query(const std::string& path, const std::string& sql) {
  sqlite3* database = nullptr;
  EXPECT_EQ(sqlite3_open_v2(path.c_str(), &database, SQLITE_OPEN_READONLY, nullptr), SQLITE_OK);
  sqlite3_stmt* statement = nullptr;
  EXPECT_EQ(sqlite3_prepare_v2(database, sql.c_str(), -1, &statement, nullptr), SQLITE_OK)
      << sqlite3_errmsg(database);
  std::vector<std::string> rows;
  while (statement != nullptr && sqlite3_step(statement) == SQLITE_ROW) {
    std::string& row = rows.emplace_back();
    for (int i = 0; i < sqlite3_column_count(statement); ++i) {
      const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, i));
      row += (i > 0 ? "|" : "") + std::string(text == nullptr ? "-" : text);
    }
  }
  sqlite3_finalize(statement);
  sqlite3_close(database);
  return rows;
}

std::string exported(const ScratchFolder& folder, const std::string& lines) {
  const Report report = verify_trace(folder.write("trace.jsonl", lines), {});
  const std::string path = folder.file("run.db");
  SqliteTables tables;
  EXPECT_TRUE(tables.open(path).ok());
  const auto exporter = table_exporter(*report.names, tables);
  const Status status = walk_trace(report, *exporter);
  EXPECT_TRUE(status.ok()) << status.message();
  return path;
}

TEST(SqliteTables, HoldEventsAndFindingsThatCanBeJoined) {
  const ScratchFolder folder;
  const std::string path = exported(folder, std::string(kSmallTrace) + kBadLaunch);
  EXPECT_THAT(query(path, "SELECT event, pool, req, pages, first, t, extra FROM alloc"),
              ElementsAre("3|F|A|[1, 2]|0|-|-"));
  EXPECT_THAT(query(path,
                    "SELECT f.rule, f.page, a.backend, a.layer FROM findings f "
                    "JOIN attention a USING (event)"),
              ElementsAre("OOB_PAGE|9|t|0"));
  EXPECT_THAT(query(path, "SELECT value FROM alloc, json_each(alloc.pages)"),
              ElementsAre("1", "2"));
}

TEST(SqliteTables, KeepTheKindsOfValues) {
  const ScratchFolder folder;
  const std::string path = exported(folder, R"({"ev":"pool","pool":"7","pages":8,"page_size":4}
{"ev":"backend","backend":"d"}
{"ev":"swa_state","backend":"d","uses_swa":false,"swa_pool":null,"derived_from":"7"}
{"ev":"attention","backend":"d","layer":1,"rows":[],"scale":0.125}
)");
  EXPECT_THAT(query(path, "SELECT typeof(pool), typeof(pages), typeof(kind) FROM pool"),
              ElementsAre("text|integer|null"));
  EXPECT_THAT(query(path, "SELECT uses_swa, typeof(uses_swa) FROM swa_state"),
              ElementsAre("0|integer"));
  EXPECT_THAT(query(path, "SELECT scale, typeof(scale), typeof(layer) FROM attention"),
              ElementsAre("0.125|real|integer"));
}

TEST(SqliteTables, AreThereForEveryKindWithTheirIndices) {
  const ScratchFolder folder;
  const std::string path = exported(folder, kSmallTrace);
  const auto tables = query(path, "SELECT name FROM sqlite_master WHERE type = 'table'");
  EXPECT_EQ(tables.size(), kKinds + 1);
  for (const std::string_view kind : kKindNames) EXPECT_THAT(tables, Contains(kind));
  EXPECT_THAT(query(path, "EXPLAIN QUERY PLAN SELECT * FROM alloc WHERE req = 'A'")[0],
              HasSubstr("alloc_req"));
  EXPECT_THAT(query(path, "EXPLAIN QUERY PLAN SELECT * FROM findings WHERE event = 3")[0],
              HasSubstr("findings_event"));
  EXPECT_THAT(query(path, "EXPLAIN QUERY PLAN SELECT * FROM alloc WHERE event = 3")[0],
              HasSubstr("INTEGER PRIMARY KEY"));
}

TEST(SqliteTables, ReplaceAFileWhenFinishedAndNotBefore) {
  const ScratchFolder folder;
  const std::string path = folder.write("run.db", "before");
  {
    SqliteTables tables;
    ASSERT_TRUE(tables.open(path).ok());
  }
  EXPECT_EQ(text_of(path), "before");
  EXPECT_FALSE(std::filesystem::exists(path + ".partial"));
  exported(folder, kSmallTrace);
  EXPECT_THAT(query(path, "SELECT count(*) FROM pool"), ElementsAre("1"));
}

TEST(SqliteTables, RefuseWhatIsNoFile) {
  const ScratchFolder folder;
  SqliteTables on_folder, nowhere;
  EXPECT_THAT(on_folder.open(folder.file("")).message(), HasSubstr("it is no file"));
  EXPECT_THAT(nowhere.open(folder.file("none/run.db")).message(), HasSubstr("cannot be written"));
}

}  // namespace
}  // namespace pagetape
