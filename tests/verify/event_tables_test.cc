// SPDX-License-Identifier: Apache-2.0
#include "verify/event_tables.h"

#include <gmock/gmock.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/traces/trace_fixture.h"
#include "tests/verify/verify_fixture.h"

namespace pagetape {
namespace {

using testing::Contains;
using testing::ElementsAre;

using Row = std::map<std::string, FieldCell>;

// Rows by table, each what is not absent by its column.
class Kept final : public TableSink {
 public:
  Status add(std::size_t table, const std::vector<FieldCell>& row) override {
    const TableShape& shape = shapes_[table];
    EXPECT_EQ(row.size(), shape.columns.size()) << shape.name;
    Row& kept = rows[shape.name].emplace_back();
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (row[i].form != FieldCell::Form::kAbsent) kept[shape.columns[i]] = row[i];
    }
    return {};
  }
  Status finish() override {
    finished = true;
    return {};
  }

  std::map<std::string, std::vector<Row>> rows;
  bool finished = false;

 private:
  const std::vector<TableShape> shapes_ = table_shapes();
};

nlohmann::json json_of(const FieldCell& cell) {
  const bool string = cell.form == FieldCell::Form::kString;
  return string ? nlohmann::json(cell.text) : nlohmann::json::parse(cell.text);
}

TEST(EventTables, HaveAColumnForEachFieldAndNoNameTwice) {
  std::set<std::string> tables;
  for (const TableShape& shape : table_shapes()) {
    EXPECT_TRUE(tables.insert(shape.name).second);
    const std::set<std::string> columns(shape.columns.begin(), shape.columns.end());
    EXPECT_EQ(columns.size(), shape.columns.size()) << shape.name;
    EXPECT_EQ(columns.count("event"), 1u) << shape.name;
  }
  EXPECT_EQ(tables.size(), kKinds + 1);
  EXPECT_THAT(table_shapes()[kKindOf<ev::LaunchDone>].columns, Contains("event_"));
}

// What a row says is what the text form says.
TEST(EventTables, SayWhatTheTextFormSays) {
  Names names;
  Kept kept;
  const auto exporter = table_exporter(names, kept);
  EventIndex index = 0;
  for (const Event& event : sample_events(names)) {
    ASSERT_TRUE(exporter->event(event, index).ok());
    const auto text = nlohmann::json::parse(print_event(event, names));
    const Row& row = kept.rows.at(text.at("ev")).back();
    EXPECT_EQ(row.at("event").text, std::to_string(index++));
    for (const auto& [key, value] : text.items()) {
      if (key == "ev" || key == "new" || value.is_null()) continue;
      const std::string column = text.at("ev") == "launch_done" && key == "event" ? "event_" : key;
      ASSERT_EQ(row.count(column), 1u) << text << ' ' << key;
      EXPECT_EQ(json_of(row.at(column)), value) << text << ' ' << key;
    }
  }
  EXPECT_EQ(kept.rows.at("note").back().at("extra").text, R"({"new":[1]})");
}

TEST(EventTables, TellIntegersFromWordsAndLists) {
  Names names;
  std::vector<FieldCell> cells;
  using Form = FieldCell::Form;
  const auto forms = [&](const std::string& line) {
    print_fields(parsed(line, names), names, cells);
    std::vector<Form> out;
    for (const FieldCell& cell : cells) out.push_back(cell.form);
    return out;
  };
  EXPECT_THAT(forms(R"({"ev":"pool_layer","pool":"F","layer":"x","k_ptr":1,"shape":[1]})"),
              ElementsAre(Form::kString, Form::kString, Form::kInteger, Form::kAbsent, Form::kJson,
                          Form::kAbsent));
  EXPECT_THAT(forms(R"({"ev":"swa_state","backend":"d","uses_swa":true,"swa_pool":null,)"
                    R"("derived_from":"F"})"),
              ElementsAre(Form::kString, Form::kBool, Form::kAbsent, Form::kString));
}

TEST(EventTables, HaveOfAFindingWhatTheReportHas) {
  const Report report = verify_lines(std::string(kSmallTrace) + kBadLaunch);
  Kept kept;
  const auto exporter = table_exporter(*report.names, kept);
  ASSERT_TRUE(exporter->finding(report.findings.at(0)).ok());
  const Row& row = kept.rows.at("findings").at(0);
  const auto json = finding_json(report.findings[0], *report.names);
  for (const auto& [key, value] : json.items()) {
    if (value.is_null()) continue;
    ASSERT_EQ(row.count(key), 1u) << key;
    EXPECT_EQ(json_of(row.at(key)), value) << key;
  }
  EXPECT_FALSE(kept.finished);
  ASSERT_TRUE(exporter->end().ok());
  EXPECT_TRUE(kept.finished);
}

}  // namespace
}  // namespace pagetape
