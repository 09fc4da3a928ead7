// SPDX-License-Identifier: Apache-2.0
#include "traces/text_source.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace pagetape {
namespace {

class TextSourceTest : public testing::Test {
 protected:
  ~TextSourceTest() override { std::filesystem::remove(path_); }

  // Opens a file of that text.
  void open(std::string_view text) {
    std::ofstream(path_, std::ios::binary) << text;
    Status status;
    source_ = open_text(path_, names_, status);
    ASSERT_TRUE(status.ok()) << status.message();
  }

  // Reads to the end, and gives the kinds of what was read.
  std::string kinds() {
    std::string kinds;
    for (Event event; source_->next(event);) kinds += std::string(kKindNames[event.kind()]) + " ";
    return kinds;
  }

  const std::string path_ = testing::TempDir() + "text_source_test.jsonl";
  Names names_;
  std::unique_ptr<Source> source_;
};

TEST_F(TextSourceTest, GivesEventsInOrderAndCountsThemNotLines) {
  open("\n{\"ev\": \"note\", \"text\": \"x\"}\n \t\r\n{\"ev\": \"end\"}\r\n\n");
  Event event;
  EXPECT_EQ(source_->position(), 0u);
  ASSERT_TRUE(source_->next(event));
  EXPECT_EQ(kKindNames[event.kind()], "note");
  EXPECT_EQ(source_->position(), 1u);
  EXPECT_EQ(source_->place(), path_ + ":2");
  ASSERT_TRUE(source_->next(event));
  EXPECT_EQ(source_->position(), 2u);
  EXPECT_EQ(source_->place(), path_ + ":4");
  EXPECT_FALSE(source_->next(event));
  EXPECT_TRUE(source_->status().ok());
  EXPECT_TRUE(source_->warnings().empty());
  EXPECT_FALSE(source_->skipped_unknown());
}

TEST_F(TextSourceTest, TheLastLineNeedsNoNewline) {
  open("{\"ev\": \"end\"}\n{\"ev\": \"end\"}");
  EXPECT_EQ(kinds(), "end end ");
  EXPECT_TRUE(source_->status().ok());
}

TEST_F(TextSourceTest, AnErrorNamesFileAndLineAndEndsTheReading) {
  open("{\"ev\": \"end\"}\n\n{\"ev\": \"version\"}\n{\"ev\": \"end\"}\n");
  EXPECT_EQ(kinds(), "end ");
  EXPECT_EQ(source_->status().code(), Code::kUsage);
  EXPECT_EQ(source_->status().message(), path_ + ":3: missing field \"object\" (a string)");
  EXPECT_EQ(kinds(), "");
  EXPECT_EQ(source_->position(), 1u);
}

TEST_F(TextSourceTest, AnUnknownEventIsAnErrorInFormatOne) {
  open("{\"ev\": \"header\", \"format\": 1}\n{\"ev\": \"telepathy\"}\n");
  EXPECT_EQ(kinds(), "header ");
  EXPECT_EQ(source_->status().message(), path_ + ":2: unknown event \"telepathy\"");
  EXPECT_FALSE(source_->skipped_unknown());
}

TEST_F(TextSourceTest, UnknownEventsOfANewerFormatAreSkippedAndWarnedAboutOnceEach) {
  open(R"({"ev": "header", "format": 2}
          {"ev": "telepathy"}
          {"ev": "end"}
          {"ev": "telepathy"}
          {"ev": "magic"})");
  EXPECT_EQ(kinds(), "header end ");
  EXPECT_TRUE(source_->status().ok());
  EXPECT_TRUE(source_->skipped_unknown());
  EXPECT_EQ(source_->position(), 2u);
  EXPECT_EQ(source_->warnings(),
            (std::vector{path_ + ":2: unknown event \"telepathy\" of format 2: skipped",
                         path_ + ":5: unknown event \"magic\" of format 2: skipped"}));
}

TEST_F(TextSourceTest, ANewerFormatExcusesNoOtherError) {
  open("{\"ev\": \"header\", \"format\": 2}\n{\"ev\": \"version\"}\n");
  EXPECT_EQ(kinds(), "header ");
  EXPECT_EQ(source_->status().message(), path_ + ":2: missing field \"object\" (a string)");
}

TEST_F(TextSourceTest, UnknownFieldsAreWarnedAboutOnceForAnEventAndField) {
  open(R"({"ev": "end", "a": 1}
          {"ev": "end", "a": 2}
          {"ev": "version", "object": "F", "a": 1})");
  EXPECT_EQ(kinds(), "end end version ");
  EXPECT_EQ(source_->warnings(),
            (std::vector{
                path_ + ":1: unknown field \"a\" of event \"end\": kept, and not looked at",
                path_ + ":3: unknown field \"a\" of event \"version\": kept, and not looked at"}));
  EXPECT_FALSE(source_->skipped_unknown());
}

TEST_F(TextSourceTest, WarningsDoNotGrowWithTheFile) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "{\"ev\": \"end\", \"f" + std::to_string(i) + "\": 1}\n";
  open(text);
  kinds();
  ASSERT_EQ(source_->warnings().size(), 101u);
  EXPECT_EQ(source_->warnings().back(), path_ + ": more unknown events and fields are not listed");
}

TEST_F(TextSourceTest, LinesMayBeLongerThanWhatIsReadAtOnce) {
  const std::string note(200000, 'x');
  const std::string line = "{\"ev\": \"note\", \"text\": \"" + note + "\"}\n";
  open(line + line);
  Event event;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(source_->next(event)) << source_->status().message();
    EXPECT_EQ(names_.text(std::get<ev::Note>(event.body).text), note);
  }
  EXPECT_FALSE(source_->next(event));
}

TEST_F(TextSourceTest, ALineWithoutAnEndIsNotReadWhole) {
  open("");
  std::filesystem::resize_file(path_, 1u << 30);  // Sparse: it takes no space.
  EXPECT_EQ(kinds(), "");
  EXPECT_EQ(source_->status().message(), path_ + ":1: the line is longer than 64 MiB");
}

TEST_F(TextSourceTest, SeeksForwardsAndBack) {
  std::string text;
  for (int i = 0; i < 1000; ++i) {
    text += "\n{\"ev\": \"note\", \"text\": \"" + std::to_string(i) + "\"}\n";
  }
  open(text + "{\"ev\": \"nope\"}\n");
  EXPECT_EQ(source_->events(), 1000u);
  EXPECT_EQ(source_->position(), 0u) << "counting them is no reading";
  for (const std::uint64_t at : {999u, 3u, 256u, 255u, 700u, 0u, 512u}) {
    ASSERT_TRUE(source_->seek(at).ok());
    EXPECT_EQ(source_->position(), at);
    Event event;
    ASSERT_TRUE(source_->next(event));
    EXPECT_EQ(names_.text(std::get<ev::Note>(event.body).text), std::to_string(at));
    EXPECT_EQ(source_->place(), path_ + ':' + std::to_string(2 * at + 2));
  }
  EXPECT_FALSE(source_->seek(1001).ok());
  EXPECT_NE(source_->status().message().find(":2001: "), std::string::npos);
  EXPECT_TRUE(source_->seek(998).ok()) << "the error lies behind";
}

TEST_F(TextSourceTest, AFileThatIsNotThereIsSaidToBe) {
  Status status;
  EXPECT_EQ(open_text("no/such.jsonl", names_, status), nullptr);
  EXPECT_EQ(status.code(), Code::kUsage);
  EXPECT_EQ(status.message(), "no/such.jsonl: cannot be read: No such file or directory");
}

}  // namespace
}  // namespace pagetape
