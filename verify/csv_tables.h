// SPDX-License-Identifier: Apache-2.0
// The tables of a trace as files of comma-separated values.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "verify/event_tables.h"
#include "verify/output_file.h"

namespace pagetape {

// A folder with a file for each kind of event that the trace has (alloc.csv, …) and findings.csv,
// which is there in any case. As RFC 4180 says: lines end with CR LF, the first names the columns,
// and what holds a comma, a quote or the end of a line is quoted. What is absent is empty.
class CsvTables final : public TableSink {
 public:
  CsvTables() = default;
  CsvTables(const CsvTables&) = delete;
  CsvTables& operator=(const CsvTables&) = delete;
  // Without finish(), the folder and what is in it go away.
  ~CsvTables() override;

  // Makes the folder; one that is there must be empty.
  Status open(const std::string& folder);
  Status add(std::size_t table, const std::vector<FieldCell>& row) override;
  Status finish() override;

 private:
  Status start(std::size_t table);

  std::string folder_;
  bool made_ = false;
  std::vector<TableShape> shapes_ = table_shapes();
  std::map<std::size_t, OutputFile> files_;
  std::string line_;
};

}  // namespace pagetape
