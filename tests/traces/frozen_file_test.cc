// SPDX-License-Identifier: Apache-2.0
// Binary files that stay as they were written: what each version of the file said can be read. They
// are never made anew; a new version of the file gets a file of its own.
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "replay/state.h"
#include "tests/traces/trace_fixture.h"

namespace pagetape {
namespace {

const std::string kGoldenFolder = "traces/golden/";
std::string frozen(std::uint32_t version) {
  return kGoldenFolder + "frozen/v" + std::to_string(version);
}

std::uint32_t version_of(const std::string& path) {
  std::uint32_t version = 0;
  EXPECT_EQ(look_at_file_header(load(path), version), Look::kGood) << path;
  return version;
}

// Of version 1 are the recordings of real engines; of each later version there is frozen/vN.ptape.
std::vector<std::string> binaries() {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kGoldenFolder)) {
    if (entry.path().extension() == ".ptape") out.push_back(entry.path().string());
  }
  return out;
}

TEST(FrozenFile, IsThereOfEveryVersionThatIsRead) {
  std::set<std::uint32_t> versions, wanted;
  for (const std::string& path : binaries()) versions.insert(version_of(path));
  for (std::uint32_t version = 1; version <= kFileVersion; ++version) wanted.insert(version);
  EXPECT_EQ(versions, wanted);
}

TEST(FrozenFile, IsReadToItsEndWithoutAWarning) {
  for (const std::string& path : binaries()) {
    Names names;
    const ReadBack back = read_back(path, names);
    EXPECT_TRUE(back.status.ok()) << back.status.message();
    EXPECT_EQ(back.warnings, std::vector<std::string>()) << path;
    EXPECT_FALSE(back.cut) << path;
    ASSERT_FALSE(back.events.empty()) << path;
    EXPECT_TRUE(std::holds_alternative<ev::End>(back.events.back().body)) << path;
  }
}

TEST(FrozenFile, SaysWhatItsTextSays) {
  for (std::uint32_t version = 2; version <= kFileVersion; ++version) {
    Names names;
    std::vector<Event> written;
    std::ifstream text(frozen(version) + ".jsonl");
    for (std::string line; std::getline(text, line);) written.push_back(parsed(line, names));
    EXPECT_EQ(version_of(frozen(version) + ".ptape"), version);
    EXPECT_FALSE(written.empty());
    EXPECT_TRUE(read_back(frozen(version) + ".ptape", names).events == written) << version;
  }
}

// Calls f(columns) for each segment of the file, which is not compressed.
void for_each_segment(const std::string& path,
                      const std::function<void(schema::Columns::Reader)>& f) {
  const FileBytes file = load(path);
  for (const Frame& frame : frames_of(file)) {
    if (frame.kind != FrameKind::kSegment) continue;
    Words words(frame.payload_bytes / 8);
    std::memcpy(words.data(), payload_of(file, frame).data(), frame.payload_bytes);
    capnp::FlatArrayMessageReader message(as_capnp(words));
    const auto segment = message.getRoot<schema::Segment>();
    ASSERT_EQ(segment.getCompression(), schema::Compression::NONE);
    const auto body = segment.getBody();
    Words inner(body.size() / 8);
    std::memcpy(inner.data(), body.begin(), body.size());
    capnp::FlatArrayMessageReader reader(as_capnp(inner));
    f(reader.getRoot<schema::Columns>());
  }
}

// What they are about: all that the version added, and changes of tables.
TEST(FrozenFile, OfVersion2HasRunsOfSlotsAndColumnsOfOneNumberAndABase) {
  bool slots = false, stores = false, one = false, base = false, kept = false;
  for_each_segment(frozen(2) + ".ptape", [&](schema::Columns::Reader columns) {
    slots |= columns.getSlots().getValues().getRuns();
    stores |= columns.getStore().getRows().getSlots().getRuns();
    one |= columns.getStore().getBackend().isElided() && columns.getStore().getBackend().getDelta();
    base |= columns.getT().getBase() != 0 && columns.getT().isInt16();
    kept |= columns.getTable().getPages().hasSkips();
  });
  EXPECT_TRUE(slots && stores && one && base && kept) << slots << stores << one << base << kept;
}

TEST(FrozenFile, OfVersion3HasLanesOfTheLastListAndOfTheOneBefore) {
  std::set<std::int64_t> counts;
  for_each_segment(frozen(3) + ".ptape", [&](schema::Columns::Reader columns) {
    const auto cells = columns.getStore().getRows().getCounts();
    if (!cells.isInt8() || cells.getDelta()) return;
    for (const std::int8_t count : cells.getInt8()) counts.insert(count);
  });
  EXPECT_TRUE(counts.contains(1) && counts.contains(-1) && counts.contains(-2));
}

void expect_replay_goes_on_from_keyframes(const std::string& path) {
  Names names;
  Status status;
  const auto reader = Reader::open(path, names, status);
  ASSERT_NE(reader, nullptr) << status.message();
  const std::vector<Event> events = read_back(path, names).events;
  State through(names);
  for (const Event& event : events) ASSERT_TRUE(through.apply(event).applied());
  ASSERT_GE(reader->keyframes().size(), 2u);
  for (const KeyframeInfo& keyframe : reader->keyframes()) {
    std::string bytes;
    ASSERT_TRUE(reader->keyframe_state(keyframe, bytes).ok());
    State state(names);
    ASSERT_TRUE(state.load(bytes, names).ok());
    EXPECT_EQ(State::digest_of(bytes), keyframe.digest);
    for (std::size_t i = keyframe.event; i < events.size(); ++i) {
      ASSERT_TRUE(state.apply(events[i]).applied()) << i;
    }
    EXPECT_EQ(state.digest(), through.digest());
  }
}

TEST(FrozenFile, HasKeyframesFromWhichReplayGoesOn) {
  for (std::uint32_t version = 2; version <= kFileVersion; ++version) {
    expect_replay_goes_on_from_keyframes(frozen(version) + ".ptape");
  }
}

}  // namespace
}  // namespace pagetape
