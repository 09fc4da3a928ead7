// SPDX-License-Identifier: Apache-2.0
#include "verify/csv_tables.h"

#include <gmock/gmock.h>

#include "tests/verify/export_fixture.h"

namespace pagetape {
namespace {

using testing::HasSubstr;

constexpr std::size_t kNoteTable = kKindOf<ev::Note>;

std::vector<FieldCell> note(const std::string& text) {
  std::vector<FieldCell> row(table_shapes()[kNoteTable].columns.size());
  row[0] = {FieldCell::Form::kInteger, "7"};
  row[5] = {FieldCell::Form::kString, text};
  return row;
}

TEST(CsvTables, QuoteWhatHoldsACommaAQuoteOrTheEndOfALine) {
  const ScratchFolder folder;
  CsvTables tables;
  ASSERT_TRUE(tables.open(folder.file("out")).ok());
  for (const char* text : {"plain", "a,b", "say \"x\"", "two\nlines", "cr\r"}) {
    ASSERT_TRUE(tables.add(kNoteTable, note(text)).ok());
  }
  ASSERT_TRUE(tables.finish().ok());
  EXPECT_EQ(text_of(folder.file("out/note.csv")),
            "event,t,rank,stream,src,text,extra\r\n"
            "7,,,,,plain,\r\n"
            "7,,,,,\"a,b\",\r\n"
            "7,,,,,\"say \"\"x\"\"\",\r\n"
            "7,,,,,\"two\nlines\",\r\n"
            "7,,,,,\"cr\r\",\r\n");
}

TEST(CsvTables, HoldAFileForEachKindThatCameAndOneOfFindings) {
  const ScratchFolder folder;
  CsvTables tables;
  ASSERT_TRUE(tables.open(folder.file("out")).ok());
  ASSERT_TRUE(tables.finish().ok());
  EXPECT_TRUE(std::filesystem::exists(folder.file("out/findings.csv")));
  EXPECT_FALSE(std::filesystem::exists(folder.file("out/note.csv")));
}

TEST(CsvTables, LeaveNothingWhereTheyWereNotFinished) {
  const ScratchFolder folder;
  {
    CsvTables tables;
    ASSERT_TRUE(tables.open(folder.file("out")).ok());
    ASSERT_TRUE(tables.add(kNoteTable, note("x")).ok());
  }
  EXPECT_FALSE(std::filesystem::exists(folder.file("out")));
}

TEST(CsvTables, RefuseAFolderThatHoldsSomethingAndOneThatCannotBe) {
  const ScratchFolder folder;
  std::filesystem::create_directory(folder.file("out"));
  folder.write("out/old.csv", "x");
  CsvTables full, nowhere, file;
  EXPECT_THAT(full.open(folder.file("out")).message(), HasSubstr("is not empty"));
  EXPECT_THAT(nowhere.open(folder.file("none/out")).message(), HasSubstr("cannot be created"));
  EXPECT_FALSE(file.open(folder.file("out/old.csv")).ok());
  EXPECT_EQ(text_of(folder.file("out/old.csv")), "x");
}

}  // namespace
}  // namespace pagetape
