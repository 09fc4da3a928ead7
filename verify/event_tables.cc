// SPDX-License-Identifier: Apache-2.0
#include "verify/event_tables.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "verify/report.h"

namespace pagetape {
namespace {

using Form = FieldCell::Form;
using Json = nlohmann::ordered_json;

constexpr const char* kEventColumns[] = {"event", "t", "rank", "stream", "src"};
constexpr const char* kFindingColumns[] = {
    "id",  "rule",   "event",  "launch",  "rank",  "step", "backend", "layer", "logical_layer",
    "req", "row",    "column", "page",    "bound", "pool", "slot",    "op",    "graph",
    "map", "buffer", "object", "message", "cause"};

FieldCell integer(std::int64_t value) { return {Form::kInteger, std::to_string(value)}; }
FieldCell integer(const OptInt& value) { return value.has_value() ? integer(*value) : FieldCell(); }

FieldCell cell_of(const Json& json) {
  if (json.is_null()) return {};
  if (json.is_number_integer()) return {Form::kInteger, json.dump()};
  if (json.is_string()) return {Form::kString, json.get<std::string>()};
  return {Form::kJson, json.dump(-1, ' ', false, Json::error_handler_t::replace)};
}

class TableExporter final : public Exporter {
 public:
  TableExporter(const Names& names, TableSink& sink) : names_(names), sink_(sink) {}

  Status event(const Event& event, EventIndex index) override {
    row_.clear();
    row_.push_back(integer(static_cast<std::int64_t>(index)));
    row_.push_back(integer(event.t));
    row_.push_back(integer(event.rank));
    row_.push_back(integer(event.stream));
    row_.push_back(event.src == kNone
                       ? FieldCell()
                       : FieldCell{Form::kString, std::string(names_.text(event.src))});
    print_fields(event, names_, fields_);
    row_.insert(row_.end(), fields_.begin(), fields_.end());
    row_.push_back(event.extra.empty() ? FieldCell() : FieldCell{Form::kJson, event.extra});
    return sink_.add(event.kind(), row_);
  }

  Status finding(const Finding& finding) override {
    const Json json = finding_json(finding, names_);
    row_.clear();
    for (const char* column : kFindingColumns) {
      const auto at = json.find(column);
      row_.push_back(at == json.end() ? FieldCell() : cell_of(*at));
    }
    return sink_.add(kFindingsTable, row_);
  }

  Status end() override { return sink_.finish(); }

 private:
  const Names& names_;
  TableSink& sink_;
  std::vector<FieldCell> row_, fields_;
};

}  // namespace

std::vector<TableShape> table_shapes() {
  std::vector<TableShape> shapes;
  for (std::size_t kind = 0; kind < kKinds; ++kind) {
    TableShape& shape = shapes.emplace_back();
    shape.name = kKindNames[kind];
    shape.columns.assign(std::begin(kEventColumns), std::end(kEventColumns));
    for (const std::string_view field : field_names(kind)) {
      const bool taken = std::ranges::find(kEventColumns, field) != std::end(kEventColumns);
      shape.columns.push_back(std::string(field) + (taken ? "_" : ""));
    }
    shape.columns.emplace_back("extra");
  }
  shapes.push_back({"findings", {std::begin(kFindingColumns), std::end(kFindingColumns)}});
  return shapes;
}

std::unique_ptr<Exporter> table_exporter(const Names& names, TableSink& sink) {
  return std::make_unique<TableExporter>(names, sink);
}

}  // namespace pagetape
