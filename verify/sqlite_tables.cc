// SPDX-License-Identifier: Apache-2.0
#include "verify/sqlite_tables.h"

#include <sqlite3.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace pagetape {
namespace {

using Form = FieldCell::Form;
namespace fs = std::filesystem;

std::string sql_name(const std::string& name) { return '"' + name + '"'; }

bool has(const TableShape& shape, const char* column) {
  return std::ranges::find(shape.columns, column) != shape.columns.end();
}

template <class T>
T number_in(const std::string& text) {
  T value{};
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

int bind(sqlite3_stmt* statement, int at, const FieldCell& cell) {
  switch (cell.form) {
    case Form::kAbsent:
      return sqlite3_bind_null(statement, at);
    case Form::kInteger:
      return sqlite3_bind_int64(statement, at, number_in<std::int64_t>(cell.text));
    case Form::kNumber:
      return sqlite3_bind_double(statement, at, number_in<double>(cell.text));
    case Form::kBool:
      return sqlite3_bind_int(statement, at, cell.text == "true" ? 1 : 0);
    case Form::kString:
    case Form::kJson:
      break;
  }
  // Stays where it is until the row is inserted.
  return sqlite3_bind_text64(statement, at, cell.text.data(), cell.text.size(), SQLITE_STATIC,
                             SQLITE_UTF8);
}

}  // namespace

void SqliteTables::CloseDatabase::operator()(sqlite3* database) const { sqlite3_close(database); }
void SqliteTables::CloseStatement::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

SqliteTables::~SqliteTables() {
  inserts_.clear();
  database_.reset();
  if (!partial_.empty()) std::remove(partial_.c_str());
}

Status SqliteTables::refused() const {
  return system_error(path_ + ": cannot be written: " + sqlite3_errmsg(database_.get()));
}

Status SqliteTables::run(const std::string& sql) {
  const int done = sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  return done == SQLITE_OK ? Status() : refused();
}

Status SqliteTables::open(const std::string& path) {
  path_ = path;
  std::error_code error;
  const fs::file_status there = fs::status(path, error);
  if (fs::exists(there) && !fs::is_regular_file(there)) {
    return usage(path + ": cannot be written: it is no file");
  }
  partial_ = path + ".partial";
  fs::remove(partial_, error);  // Of an export that was killed.
  sqlite3* database = nullptr;
  const int opened = sqlite3_open(partial_.c_str(), &database);
  database_.reset(database);
  return opened == SQLITE_OK ? create() : refused();
}

Status SqliteTables::create() {
  // A crash leaves a file beside the path, which nobody reads: nothing has to be undone.
  std::string sql = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;";
  for (std::size_t i = 0; i < shapes_.size(); ++i) {
    std::string columns;
    for (const std::string& column : shapes_[i].columns) {
      if (!columns.empty()) columns += ", ";
      columns += sql_name(column);
      if (column == "event" && i != kFindingsTable) columns += " INTEGER PRIMARY KEY";
    }
    sql += "CREATE TABLE " + sql_name(shapes_[i].name) + " (" + columns + ");";
  }
  if (Status status = run(sql); !status.ok()) return status;
  for (const TableShape& shape : shapes_) {
    std::string insert = "INSERT INTO " + sql_name(shape.name) + " VALUES (?";
    for (std::size_t i = 1; i < shape.columns.size(); ++i) insert += ", ?";
    insert += ')';
    sqlite3_stmt* statement = nullptr;
    const int done = sqlite3_prepare_v2(database_.get(), insert.c_str(), -1, &statement, nullptr);
    inserts_.emplace_back(statement);
    if (done != SQLITE_OK) return refused();
  }
  return {};
}

Status SqliteTables::add(std::size_t table, const std::vector<FieldCell>& row) {
  sqlite3_stmt* insert = inserts_[table].get();
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (bind(insert, static_cast<int>(i) + 1, row[i]) != SQLITE_OK) return refused();
  }
  const bool added = sqlite3_step(insert) == SQLITE_DONE;
  Status status = added ? Status() : refused();
  sqlite3_reset(insert);
  return status;
}

Status SqliteTables::index() {
  std::string sql = "CREATE INDEX findings_event ON findings (event);";
  for (const TableShape& shape : shapes_) {
    if (!has(shape, "req")) continue;
    sql +=
        "CREATE INDEX " + sql_name(shape.name + "_req") + " ON " + sql_name(shape.name) + " (req);";
  }
  return run(sql + "COMMIT;");
}

Status SqliteTables::finish() {
  inserts_.clear();
  if (Status status = index(); !status.ok()) return status;
  database_.reset();
  if (std::rename(partial_.c_str(), path_.c_str()) != 0) {
    return system_error(path_ + ": cannot be put in place: " + std::strerror(errno));
  }
  partial_.clear();
  return {};
}

}  // namespace pagetape
