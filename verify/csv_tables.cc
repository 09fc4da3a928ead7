// SPDX-License-Identifier: Apache-2.0
#include "verify/csv_tables.h"

#include <filesystem>
#include <string_view>

namespace pagetape {

namespace fs = std::filesystem;

static void add_field(std::string& line, std::string_view text) {
  if (text.find_first_of("\",\r\n") == std::string_view::npos) {
    line += text;
    return;
  }
  line += '"';
  for (const char c : text) {
    if (c == '"') line += '"';
    line += c;
  }
  line += '"';
}

CsvTables::~CsvTables() {
  files_.clear();
  std::error_code error;
  if (made_) fs::remove(folder_, error);  // A folder that holds anything stays.
}

Status CsvTables::open(const std::string& folder) {
  folder_ = folder;
  std::error_code error;
  made_ = fs::create_directory(folder, error);
  if (error) return system_error(folder + ": cannot be created: " + error.message());
  if (!made_ && !fs::is_empty(folder, error)) {
    return usage(folder + ": is not empty; name a new folder, or clear this one");
  }
  return start(kFindingsTable);
}

Status CsvTables::start(std::size_t table) {
  const TableShape& shape = shapes_[table];
  OutputFile& file = files_[table];
  if (Status status = file.open((fs::path(folder_) / (shape.name + ".csv")).string());
      !status.ok()) {
    return status;
  }
  std::string line;
  for (const std::string& column : shape.columns) {
    if (!line.empty()) line += ',';
    line += column;
  }
  return file.write(line + "\r\n");
}

Status CsvTables::add(std::size_t table, const std::vector<FieldCell>& row) {
  auto at = files_.find(table);
  if (at == files_.end()) {
    if (Status status = start(table); !status.ok()) return status;
    at = files_.find(table);
  }
  line_.clear();
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (i > 0) line_ += ',';
    add_field(line_, row[i].text);
  }
  line_ += "\r\n";
  return at->second.write(line_);
}

Status CsvTables::finish() {
  for (auto& [table, file] : files_) {
    if (Status status = file.commit(); !status.ok()) return status;
  }
  made_ = false;
  return {};
}

}  // namespace pagetape
