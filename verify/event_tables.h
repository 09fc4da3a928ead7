// SPDX-License-Identifier: Apache-2.0
// A trace as tables: one a kind of event, and one of the findings.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "traces/text.h"
#include "verify/export_walk.h"

namespace pagetape {

struct TableShape {
  std::string name;
  std::vector<std::string> columns;
};

// By kind, then the findings. An event has its index (`event`), `t`, `rank`, `stream`, `src`, the
// fields of its kind as the text form names them (one that is named like those before has a "_"
// behind it), and `extra`: fields that are not known, as JSON. A finding has what the report's
// JSON says of it. Lists and objects are JSON.
std::vector<TableShape> table_shapes();
inline constexpr std::size_t kFindingsTable = kKinds;

// What holds the tables: files, a database.
class TableSink {
 public:
  virtual ~TableSink() = default;
  // One cell a column of table_shapes()[table].
  virtual Status add(std::size_t table, const std::vector<FieldCell>& row) = 0;
  // Puts what was added in place.
  virtual Status finish() = 0;
};

// `names` are those of what is to come; it and `sink` outlive the exporter.
std::unique_ptr<Exporter> table_exporter(const Names& names, TableSink& sink);

}  // namespace pagetape
