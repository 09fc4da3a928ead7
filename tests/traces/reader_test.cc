// SPDX-License-Identifier: Apache-2.0
#include "traces/reader.h"

#include <gtest/gtest.h>

#include "tests/traces/trace_fixture.h"
#include "traces/columns.h"

namespace pagetape {
namespace {

std::unique_ptr<Reader> opened(const std::string& path, Names& names) {
  Status status;
  auto reader = Reader::open(path, names, status);
  EXPECT_NE(reader, nullptr) << status.message();
  return reader;
}

// Numbered events in segments of ten, with a keyframe before events 20 and 40 of 60.
std::vector<Event> write_numbered(const std::string& path, Names& names, int level = 3) {
  Status status;
  const auto writer = create_trace(path, names, segments_of(10, level), status);
  std::vector<Event> events;
  for (int i = 0; i < 60; ++i) {
    if (i == 20 || i == 40) {
      EXPECT_TRUE(writer->add_keyframe("state " + std::to_string(i), 1000u + i).ok());
    }
    ev::Table table{names.intern("t"), i % 3, 0, {PageId{i}, PageId{7}}, kNone, kNone, kNone};
    events.emplace_back().body = std::move(table);
    EXPECT_TRUE(writer->add(events.back()).ok());
  }
  EXPECT_TRUE(writer->close().ok());
  return events;
}

// Breaks the payload of the nth segment and returns its frame.
Frame break_segment(const std::string& path, std::size_t nth) {
  FileBytes file = load(path);
  std::vector<Frame> frames = frames_of(file);
  std::erase_if(frames, [](const Frame& frame) { return frame.kind != FrameKind::kSegment; });
  file[frames[nth].offset + kFrameHeaderBytes + 9] ^= 1;
  save(path, file);
  return frames[nth];
}

class ReaderTest : public ::testing::Test {
 protected:
  ScratchFolder folder;
  std::string path = folder.file("x");
  Names names;
  Event event;
};

TEST_F(ReaderTest, GoesToAnyEvent) {
  const std::vector<Event> events = write_numbered(path, names);
  const auto reader = opened(path, names);
  EXPECT_EQ(reader->events(), 60u);
  for (const std::size_t i : {59, 0, 31, 30, 29, 9, 10, 1}) {
    ASSERT_TRUE(reader->seek(i).ok());
    EXPECT_EQ(reader->position(), i);
    ASSERT_TRUE(reader->next(event));
    EXPECT_TRUE(event == events[i]) << i;
  }
  ASSERT_TRUE(reader->seek(60).ok());
  EXPECT_FALSE(reader->next(event));
  EXPECT_TRUE(reader->status().ok()) << reader->status().message();
  EXPECT_EQ(reader->seek(61).code(), Code::kUsage);
  EXPECT_FALSE(reader->next(event));
}

// Of any kind but a table's, and up to any event: what is read behind is as it was written.
TEST_F(ReaderTest, PassesKindsOverAndReadsThemLater) {
  std::vector<Event> events = sample_events(names);
  const std::vector<Event> once = events;
  events.insert(events.end(), once.begin(), once.end());
  write_trace(path, events, names, segments_of(static_cast<std::uint32_t>(once.size() - 9)));
  const KindSet kinds = KindSet().set().reset(kKindOf<ev::Table>);
  for (std::size_t end = 0; end < events.size(); ++end) {
    const auto reader = opened(path, names);
    while (reader->next_but(kinds, end, event)) {
      EXPECT_EQ(event.kind(), kKindOf<ev::Table>);
      EXPECT_TRUE(event == events[reader->position() - 1]) << end;
    }
    ASSERT_TRUE(reader->status().ok()) << reader->status().message();
    ASSERT_EQ(reader->position(), end);
    for (std::size_t i = end; i < events.size(); ++i) {
      ASSERT_TRUE(reader->next(event));
      ASSERT_TRUE(event == events[i]) << end << ' ' << i;
    }
  }
}

TEST_F(ReaderTest, ListsSegmentsWhileItReads) {
  const std::vector<Event> events = write_numbered(path, names, 0);
  const auto reader = opened(path, names);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(reader->next(event));
  ASSERT_EQ(reader->segments().size(), 6u);
  EXPECT_EQ(reader->segments()[3].first_event, 30u);
  EXPECT_EQ(reader->segments()[3].summary.counts[kKindOf<ev::Table>], 10u);
  ASSERT_TRUE(reader->next(event));
  EXPECT_TRUE(event == events[5]);
}

TEST_F(ReaderTest, GivesTheStatesOfKeyframes) {
  write_numbered(path, names);
  const auto reader = opened(path, names);
  ASSERT_EQ(reader->keyframes().size(), 2u);
  const KeyframeInfo& keyframe = reader->keyframes()[1];
  EXPECT_EQ(keyframe.event, 40u);
  EXPECT_EQ(keyframe.digest, 1040u);
  std::string state;
  ASSERT_TRUE(reader->keyframe_state(keyframe, state).ok());
  EXPECT_EQ(state, "state 40");
  EXPECT_EQ(reader->keyframe_state({16, 40, 1040}, state).code(), Code::kDamaged);
}

TEST_F(ReaderTest, AnIndexRebuiltIsTheIndexThatWasWritten) {
  write_numbered(path, names);
  const auto whole = opened(path, names);
  EXPECT_FALSE((whole->index(), whole->index_rebuilt()));
  FileBytes file = load(path);
  file.resize(frames_of(file).back().offset);
  save(folder.file("y"), file);
  const auto without = opened(folder.file("y"), names);
  EXPECT_TRUE(without->index() == whole->index());
  EXPECT_TRUE(without->index_rebuilt());
  ASSERT_TRUE(without->seek(35).ok());
  EXPECT_TRUE(without->next(event));
}

TEST_F(ReaderTest, AnUnclosedTraceMerelyEnds) {
  const std::vector<Event> events = sample_events(names);
  write_trace(path, events, names, segments_of(10), false);
  const ReadBack back = read_back(path, names);
  EXPECT_TRUE(back.status.ok());
  EXPECT_TRUE(back.cut);
  EXPECT_TRUE(back.warnings.empty());
  EXPECT_TRUE(back.events == events);
}

TEST_F(ReaderTest, AFrameThatWasCutIsWarnedAbout) {
  write_trace(path, sample_events(names), names, segments_of(10), false);
  FileBytes file = load(path);
  file.pop_back();
  save(path, file);
  const ReadBack back = read_back(path, names);
  EXPECT_TRUE(back.status.ok());
  EXPECT_TRUE(back.cut);
  ASSERT_EQ(back.warnings.size(), 1u);
  EXPECT_NE(back.warnings[0].find("ends within a frame"), std::string::npos);
  EXPECT_EQ(back.events.size(), sample_events(names).size() / 10 * 10);
}

TEST_F(ReaderTest, SaysWhereTheDamageIs) {
  const std::vector<Event> events = write_numbered(path, names);
  const Frame broken = break_segment(path, 3);
  const auto reader = opened(path, names);
  std::vector<Event> read;
  while (reader->next(event)) read.push_back(event);
  EXPECT_EQ(reader->status().code(), Code::kDamaged);
  ASSERT_TRUE(reader->damaged().has_value());
  EXPECT_EQ(reader->damaged()->event, 30u);
  EXPECT_EQ(reader->damaged()->offset, broken.offset);
  EXPECT_EQ(read.size(), 30u);
  EXPECT_TRUE(is_prefix(read, events));
}

TEST_F(ReaderTest, GoesOnBehindDamage) {
  const std::vector<Event> events = write_numbered(path, names);
  break_segment(path, 3);
  const auto reader = opened(path, names);
  while (reader->next(event)) {
  }
  ASSERT_TRUE(reader->resume());
  EXPECT_TRUE(reader->status().ok());
  EXPECT_EQ(reader->position(), 40u);
  ASSERT_EQ(reader->warnings().size(), 1u);
  EXPECT_NE(reader->warnings()[0].find("10 events are missing from event 30 on"),
            std::string::npos);
  std::vector<Event> rest;
  while (reader->next(event)) rest.push_back(event);
  EXPECT_TRUE(std::equal(rest.begin(), rest.end(), events.begin() + 40, events.end()));
  EXPECT_TRUE(reader->status().ok()) << reader->status().message();
  EXPECT_FALSE(reader->resume());
}

TEST_F(ReaderTest, DamageInTheLastSegmentStaysReported) {
  write_numbered(path, names);
  break_segment(path, 5);
  const auto reader = opened(path, names);
  while (reader->next(event)) {
  }
  EXPECT_FALSE(reader->resume());
  EXPECT_EQ(reader->status().code(), Code::kDamaged);
  EXPECT_EQ(reader->damaged()->event, 50u);
  ASSERT_EQ(reader->warnings().size(), 1u);  // The index knows.
  EXPECT_NE(reader->warnings()[0].find("10 events are missing from event 50 on"),
            std::string::npos);
}

TEST_F(ReaderTest, GoesOnBehindLostBytes) {
  const std::vector<Event> events = write_numbered(path, names, 0);
  FileBytes file = load(path);
  const Frame second = frames_of(file)[1];
  // Frames behind are then no longer at whole words.
  file.erase(file.begin() + static_cast<long>(second.offset + 50),
             file.begin() + static_cast<long>(second.offset + 53));
  save(path, file);
  const auto reader = opened(path, names);
  while (reader->next(event)) {
  }
  EXPECT_EQ(reader->position(), 10u);
  ASSERT_TRUE(reader->resume());
  EXPECT_EQ(reader->position(), 20u);
  std::size_t i = 20;
  for (; reader->next(event); ++i) EXPECT_TRUE(event == events[i]) << i;
  EXPECT_EQ(i, 60u);
}

TEST_F(ReaderTest, ADamagedBeginningDoesNotHideTheSegments) {
  write_numbered(path, names);
  for (const std::size_t byte : {0, 9, 13}) {
    FileBytes file = load(path);
    file[byte] ^= 4;
    save(folder.file("y"), file);
    const auto reader = opened(folder.file("y"), names);
    EXPECT_FALSE(reader->next(event));
    EXPECT_EQ(reader->status().code(), Code::kDamaged);
    ASSERT_TRUE(reader->resume());
    EXPECT_EQ(reader->position(), 0u);
    EXPECT_EQ(reader->events(), 60u);
  }
}

TEST_F(ReaderTest, SeekGoesAroundDamageAndReportsItWhereItIs) {
  const std::vector<Event> events = write_numbered(path, names);
  break_segment(path, 3);
  const auto reader = opened(path, names);
  EXPECT_EQ(reader->seek(35).code(), Code::kDamaged);
  EXPECT_FALSE(reader->next(event));
  ASSERT_TRUE(reader->seek(45).ok());
  ASSERT_TRUE(reader->next(event));
  EXPECT_TRUE(event == events[45]);
}

TEST_F(ReaderTest, AFileThatBecomesShorterIsDamagedAndNoCrash) {
  write_numbered(path, names);
  const auto reader = opened(path, names);
  ASSERT_TRUE(reader->next(event));
  std::filesystem::resize_file(path, 20);
  while (reader->next(event)) {
  }
  EXPECT_EQ(reader->position(), 10u);
  EXPECT_EQ(reader->status().code(), Code::kDamaged);
  EXPECT_FALSE(reader->seek(50).ok());
}

TEST_F(ReaderTest, FilesThatAreNoTracesAreRefused) {
  Status status;
  save(path, {});
  EXPECT_EQ(Reader::open(path, names, status), nullptr);
  EXPECT_NE(status.message().find("is empty"), std::string::npos);
  save(path, FileBytes(100, 'x'));
  EXPECT_EQ(Reader::open(path, names, status), nullptr);
  EXPECT_NE(status.message().find("not a binary trace"), std::string::npos);
  EXPECT_EQ(Reader::open(folder.file("none"), names, status), nullptr);
  EXPECT_NE(status.message().find("No such file"), std::string::npos) << status.message();
  EXPECT_EQ(Reader::open("/dev/null", names, status), nullptr);
  EXPECT_EQ(status.code(), Code::kUsage);
}

TEST_F(ReaderTest, KindsOfANewerFormatAreSkippedAndSaid) {
  const std::vector<Event> events = {parsed(kSampleLines[2], names), parsed(kSampleLines[0], names),
                                     parsed(kSampleLines[2], names)};
  const Words payload = edited_segment(events, names, [](auto segment, auto columns) {
    columns.getKinds()[1] = 200;
    segment.setFormat(2);
    segment.getSummary().getCounts().set(kind_number(kKindOf<ev::Header>), 0);
  });
  FileBytes file(kFileHeaderBytes);
  const auto begin = file_header();
  const Bytes bytes(reinterpret_cast<const unsigned char*>(payload.data()), payload.size() * 8);
  const auto header = frame_header(FrameKind::kSegment, bytes);
  std::copy(begin.begin(), begin.end(), file.begin());
  file.insert(file.end(), header.begin(), header.end());
  file.insert(file.end(), bytes.begin(), bytes.end());
  save(path, file);
  const auto reader = opened(path, names);
  ASSERT_TRUE(reader->next(event));
  EXPECT_FALSE(reader->skipped_unknown());
  ASSERT_TRUE(reader->next(event));
  EXPECT_TRUE(event == events[2]);
  EXPECT_EQ(reader->position(), 3u) << "skipped events count";
  EXPECT_TRUE(reader->skipped_unknown());
  EXPECT_EQ(reader->warnings().size(), 1u);
}

std::size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t pages = 0;
  statm >> pages >> pages;
  return pages * 4096;
}

TEST_F(ReaderTest, ALongTraceIsReadInBoundedMemory) {
  Status status;
  auto writer = create_trace(path, names, segments_of(1u << 16, 0), status);
  Event written;
  ev::Lens lens{names.intern("l"), Ints(4096), {}};
  for (std::size_t i = 0; i < lens.values.size(); ++i) {
    lens.values[i] = static_cast<std::int64_t>(i * i * 77777);
  }
  for (int i = 0; i < 3000; ++i) {
    written.body = lens;
    ASSERT_TRUE(writer->add(written).ok());
  }
  ASSERT_TRUE(writer->close().ok());
  writer.reset();
  ASSERT_GT(std::filesystem::file_size(path), std::size_t{90} << 20);
  const std::size_t before = resident_bytes();
  std::size_t most = 0;
  const auto reader = opened(path, names);
  for (int i = 0; reader->next(event); ++i) {
    if (i % 50 == 0) most = std::max(most, resident_bytes());
  }
  EXPECT_EQ(reader->position(), 3000u);
  EXPECT_LT(most, before + (std::size_t{40} << 20));
}

}  // namespace
}  // namespace pagetape
