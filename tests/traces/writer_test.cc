// SPDX-License-Identifier: Apache-2.0
#include "traces/writer.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <fstream>
#include <iterator>

#include "tests/traces/trace_fixture.h"

namespace pagetape {
namespace {

std::unique_ptr<Writer> create(const std::string& path, const Names& names,
                               const WriterOptions& options, Status& status) {
  return create_trace(path, names, options, status);
}

TEST(Writer, WhatItWroteIsReadBack) {
  ScratchFolder folder;
  Names names;
  const std::vector<Event> events = sample_events(names);
  for (const int level : {0, 1, 3, 19}) {
    for (const std::uint32_t size : {1u, 7u, 1000u}) {
      write_trace(folder.file("x"), events, names, segments_of(size, level));
      const ReadBack back = read_back(folder.file("x"), names);
      EXPECT_TRUE(back.status.ok()) << back.status.message();
      EXPECT_TRUE(back.events == events) << level << " " << size;
      EXPECT_FALSE(back.cut);
      EXPECT_TRUE(back.warnings.empty());
    }
  }
}

TEST(Writer, ATraceWithoutEventsIsWhole) {
  ScratchFolder folder;
  Names names;
  write_trace(folder.file("x"), {}, names, {});
  const ReadBack back = read_back(folder.file("x"), names);
  EXPECT_TRUE(back.status.ok()) << back.status.message();
  EXPECT_TRUE(back.events.empty());
  EXPECT_FALSE(back.cut);
}

TEST(Writer, AFolderThatIsMissingIsNamed) {
  Names names;
  Status status;
  EXPECT_EQ(create("/nowhere/at/all/x.ptape", names, {}, status), nullptr);
  EXPECT_EQ(status.code(), Code::kSystem);
  EXPECT_NE(status.message().find("the folder /nowhere/at/all does not exist"), std::string::npos)
      << status.message();
}

TEST(Writer, AFullDiskIsReportedWithWhatToDo) {
  Names names;
  Status status;
  EXPECT_EQ(create("/dev/full", names, {}, status), nullptr);
  EXPECT_EQ(status.code(), Code::kSystem);
  EXPECT_NE(status.message().find("free some space"), std::string::npos) << status.message();
}

struct Filled {
  std::uint64_t added = 0;
  Status first, again, closed;  // Of the add that failed, of one more, and of closing.
};

// Adds the event while files may have 20,000 bytes.
Filled fill_a_disk(Writer& writer, const Event& event) {
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const rlimit limit{20000, old.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  Filled out;
  while ((out.first = writer.add(event)).ok()) ++out.added;
  out.again = writer.add(event);
  out.closed = writer.close();
  ::setrlimit(RLIMIT_FSIZE, &old);
  return out;
}

TEST(Writer, ADiskThatFillsUpLeavesWhatWasWrittenWhole) {
  ScratchFolder folder;
  Names names;
  const Event event = parsed(R"({"ev":"note","text":"n"})", names);
  Status status;
  const auto writer = create(folder.file("x"), names, segments_of(1, 0), status);
  ASSERT_NE(writer, nullptr);
  const auto [written, first, again, closed] = fill_a_disk(*writer, event);
  EXPECT_EQ(first.code(), Code::kSystem);
  EXPECT_NE(first.message().find(std::to_string(written) + " events are in the file"),
            std::string::npos)
      << first.message();
  EXPECT_FALSE(again.ok());
  EXPECT_FALSE(closed.ok());
  const ReadBack back = read_back(folder.file("x"), names);
  EXPECT_TRUE(back.status.ok());
  EXPECT_TRUE(back.warnings.empty()) << "no part of a frame is left";
  EXPECT_EQ(back.events.size(), written);
}

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Writer, WhatIsWrittenBehindIsTheSame) {
  ScratchFolder folder;
  Names names;
  const std::vector<Event> events = sample_events(names);
  for (const bool behind : {false, true}) {
    WriterOptions options = segments_of(7);
    options.behind = behind;
    Status status;
    const auto writer = create(folder.file(behind ? "b" : "a"), names, options, status);
    ASSERT_NE(writer, nullptr);
    std::uint64_t added = 0;
    for (int round = 0; round < 50; ++round) {
      for (const Event& event : events) {
        ASSERT_TRUE(writer->add(event).ok());
        names.intern("said while a segment is written: " + std::to_string(added));
        EXPECT_EQ(writer->events(), ++added);
        EXPECT_LE(writer->written(), writer->ended());
      }
      if (round % 3 == 0) {
        ASSERT_TRUE(writer->add_keyframe(std::string(5000, 'k'), added).ok());
        EXPECT_EQ(writer->ended(), added);
      }
      if (round % 20 == 0) {
        ASSERT_TRUE(writer->flush().ok());
        EXPECT_EQ(writer->written(), added);
      }
    }
    ASSERT_TRUE(writer->close().ok());
    EXPECT_EQ(writer->written(), added);
  }
  EXPECT_TRUE(bytes_of(folder.file("a")) == bytes_of(folder.file("b")));
}

TEST(Writer, WhatFailsBehindIsToldOfByALaterCall) {
  ScratchFolder folder;
  Names names;
  const Event event = parsed(R"({"ev":"note","text":"n"})", names);
  WriterOptions options = segments_of(3, 0);
  options.behind = true;
  Status status;
  const auto writer = create(folder.file("x"), names, options, status);
  ASSERT_NE(writer, nullptr);
  const auto [added, first, again, closed] = fill_a_disk(*writer, event);
  EXPECT_EQ(first.code(), Code::kSystem);
  EXPECT_FALSE(again.ok());
  EXPECT_FALSE(closed.ok());
  EXPECT_EQ(writer->events(), added) << "but for the one that was refused";
  EXPECT_LE(added - writer->written(), 6u) << "the segment that failed, and the one behind it";
  const ReadBack back = read_back(folder.file("x"), names);
  EXPECT_TRUE(back.status.ok());
  EXPECT_EQ(back.events.size(), writer->written());
}

TEST(Writer, FlushHandsOverWhatWasAdded) {
  ScratchFolder folder;
  Names names;
  Status status;
  const auto writer = create(folder.file("x"), names, {}, status);
  ASSERT_NE(writer, nullptr);
  ASSERT_TRUE(writer->add(parsed(R"({"ev":"note","text":"n"})", names)).ok());
  EXPECT_TRUE(read_back(folder.file("x"), names).events.empty());
  ASSERT_TRUE(writer->flush().ok());
  EXPECT_EQ(read_back(folder.file("x"), names).events.size(), 1u);
  EXPECT_EQ(writer->events(), 1u);
  EXPECT_EQ(writer->bytes(), std::filesystem::file_size(folder.file("x")));
}

TEST(Writer, ASegmentEndsAtSoManyBytes) {
  ScratchFolder folder;
  Names names;
  WriterOptions options;
  options.segment_bytes = 1000;
  write_trace(folder.file("x"), std::vector<Event>(1000, parsed(kSampleLines[0], names)), names,
              options);
  Status status;
  EXPECT_GT(Reader::open(folder.file("x"), names, status)->segments().size(), 10u);
}

TEST(Writer, AnEventLargerThanASegmentIsRefusedAndTheRestGoesOn) {
  ScratchFolder folder;
  Names names;
  Status status;
  const auto writer = create(folder.file("x"), names, {}, status);
  ASSERT_NE(writer, nullptr);
  Event small = parsed(kSampleLines[0], names), large;
  ASSERT_TRUE(writer->add(small).ok());
  large.body = ev::Lens{names.intern("l"), Ints(9'000'000), {}};
  status = writer->add(large);
  EXPECT_EQ(status.code(), Code::kUsage);
  EXPECT_NE(status.message().find("event 1 is larger than a segment"), std::string::npos);
  large.body = ev::Attention{};
  std::get<ev::Attention>(large.body).backend = names.intern("b");
  std::get<ev::Attention>(large.body).layer = Layer::number(1);
  std::get<ev::Attention>(large.body).table = names.intern("t");
  ev::Row row;
  row.len = row.row = 0;
  std::get<ev::Attention>(large.body).rows.edit().resize(300'000, row);
  EXPECT_EQ(writer->add(large).code(), Code::kUsage);
  ASSERT_TRUE(writer->add(small).ok());
  ASSERT_TRUE(writer->close().ok());
  EXPECT_EQ(read_back(folder.file("x"), names).events.size(), 2u);
}

TEST(Writer, ALargeEventThatStillFitsIsReadBack) {
  ScratchFolder folder;
  Names names;
  Event event;
  event.body = ev::Lens{names.intern("l"), Ints(7'000'000, std::int64_t{1} << 40), {}};
  const std::vector<Event> events(3, event);
  write_trace(folder.file("x"), events, names, {});
  EXPECT_TRUE(read_back(folder.file("x"), names).events == events);
}

TEST(Writer, AnEventThatAReaderWouldRefuseIsRefused) {
  ScratchFolder folder;
  Names names;
  Status status;
  const auto writer = create(folder.file("x"), names, {}, status);
  ASSERT_NE(writer, nullptr);
  Event event;
  event.body = ev::Pool{};
  EXPECT_EQ(writer->add(event).code(), Code::kUsage);
  EXPECT_EQ(writer->events(), 0u);
}

// The bytes that a line of the example's shows, from its offset on: 8 a column, or blanks.
void expect_bytes(const std::string& line, const FileBytes& file) {
  const std::size_t offset = std::stoul(line.substr(0, 4), nullptr, 16);
  for (const std::size_t column : {6, 31}) {
    for (std::size_t i = 0; i < 8; ++i) {
      const std::size_t at = offset + i + (column == 6 ? 0 : 8);
      const std::string digits = line.size() > column + 3 * i ? line.substr(column + 3 * i, 2) : "";
      if (digits.empty() || digits == "  ") continue;
      ASSERT_LT(at, file.size()) << line;
      EXPECT_EQ(std::stoul(digits, nullptr, 16), file[at]) << line;
    }
  }
}

TEST(Writer, TheExampleOfTheFormatIsWhatIsWritten) {
  ScratchFolder folder;
  Names names;
  std::vector<Event> events;
  std::ifstream page("traces/FORMAT.md");
  std::size_t shown = 0;
  FileBytes file;
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("{\"ev\"")) events.push_back(parsed(line, names));
    if (line.size() < 16 || line.find_first_not_of("0123456789abcdef") != 4 || line[5] != ' ') {
      continue;
    }
    if (file.empty()) {
      write_trace(folder.file("x"), events, names, segments_of(1 << 16, 0));
      file = load(folder.file("x"));
    }
    expect_bytes(line, file);
    ++shown;
  }
  EXPECT_EQ(events.size(), 2u);
  EXPECT_GT(shown, 20u);
}

}  // namespace
}  // namespace pagetape
