// SPDX-License-Identifier: Apache-2.0
// The tables of a trace as an SQLite database.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "verify/event_tables.h"

struct sqlite3;
struct sqlite3_stmt;

namespace pagetape {

// A table for each kind of event, there also where the trace has none, and `findings`. `event` is
// the key of an event's row; findings are indexed by event, and whatever names a request by `req`.
// Names that are words of SQL ("table", "copy", "end") need quotes in queries. What is absent is
// NULL, true is 1.
class SqliteTables final : public TableSink {
 public:
  SqliteTables() = default;
  SqliteTables(const SqliteTables&) = delete;
  SqliteTables& operator=(const SqliteTables&) = delete;
  ~SqliteTables() override;

  // Beside the path, until finish() puts it in the place of what is there.
  Status open(const std::string& path);
  Status add(std::size_t table, const std::vector<FieldCell>& row) override;
  Status finish() override;

 private:
  struct CloseDatabase {
    void operator()(sqlite3* database) const;
  };
  struct CloseStatement {
    void operator()(sqlite3_stmt* statement) const;
  };
  using Statement = std::unique_ptr<sqlite3_stmt, CloseStatement>;

  Status run(const std::string& sql);
  Status create();
  Status index();
  Status refused() const;

  std::string path_, partial_;
  std::vector<TableShape> shapes_ = table_shapes();
  std::unique_ptr<sqlite3, CloseDatabase> database_;
  std::vector<Statement> inserts_;  // By table. Gone before the database.
};

}  // namespace pagetape
