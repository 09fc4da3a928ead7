// SPDX-License-Identifier: Apache-2.0
// Files with one bit flipped, each of all bits: by accident, which is always reported, and by
// somebody who makes the checksum right again, which is never a crash.
#include <gtest/gtest.h>

#include "tests/traces/trace_fixture.h"
#include "traces/check.h"
#include "verify/verify.h"

namespace pagetape {
namespace {

constexpr std::size_t kShares = 8;  // Of the bits of a file: cases for the shards of Bazel.

class FlippedBits : public testing::TestWithParam<std::size_t> {
 protected:
  // Calls `look` with each bit of [begin, end) that is of this case's share.
  template <class F>
  void each_bit(std::size_t begin, std::size_t end, F&& look) const {
    for (std::size_t bit = 8 * begin + GetParam(); bit < 8 * end; bit += kShares) {
      look(bit);
      if (HasFatalFailure()) return;
    }
  }

  ScratchFolder folder;
  std::string path = folder.file("x");
  Names names;
};

// Every kind of event with all it may have, keyframes, index and tail.
TEST_P(FlippedBits, AreReportedWhereverTheyAre) {
  const std::vector<Event> events = small_trace(names);
  Status status;
  const auto writer = create_trace(path, names, segments_of(24), status);
  ASSERT_TRUE(writer != nullptr) << status.message();
  for (std::size_t i = 0; i < events.size(); ++i) {
    if (i == 24) {
      ASSERT_TRUE(writer->add_keyframe(std::string(100, 's'), 7).ok());
    }
    ASSERT_TRUE(writer->add(events[i]).ok());
  }
  ASSERT_TRUE(writer->close().ok());
  const std::vector<Frame> frames = frames_of(load(path));
  EXPECT_EQ(std::ranges::count(frames, FrameKind::kKeyframe, &Frame::kind), 1);
  EXPECT_EQ(std::ranges::count(frames, FrameKind::kIndex, &Frame::kind), 1);
  each_bit(0, std::filesystem::file_size(path), [&](std::size_t bit) {
    flip_bit(path, bit);
    const ReadBack back = read_back(path, names);
    flip_bit(path, bit);
    ASSERT_TRUE(is_prefix(back.events, events)) << bit;
    ASSERT_EQ(back.status.code(), Code::kDamaged) << bit << ": " << back.status.message();
  });
}

// A run that the rules judge, and whose columns are of every form: runs of slots, columns of one
// number, differences with and without a base, changes of tables.
constexpr const char* kRun[] = {
    R"({"ev":"pool","pool":"F","pages":4096,"page_size":64,"reserved":[{"page":0,"role":"pad"}]})",
    R"({"ev":"buffer","buffer":"pt","rows":2,"cols":8})",
    R"({"ev":"buffer","buffer":"s"})",
    R"({"ev":"buffer","buffer":"l"})",
    R"({"ev":"backend","backend":"t"})",
    R"({"ev":"pool_swap","backend":"t","layers":[0,1],"pool":"F"})",
    R"({"ev":"alloc","pool":"F","req":"A","pages":[1,2,4000],"first":0})",
    R"({"ev":"alloc","pool":"F","req":"B","pages":[3],"first":0})",
    R"({"ev":"fill","pool":"F","req":"A","pages":[1]})",
    R"({"ev":"slots","buffer":"s","values":[128,129,130,256000,256001,192,0]})",
    R"({"ev":"store","backend":"t","layers":[0,1],"rows":[{"req":"A","slots":[128,129,130]},
        {"req":"B","slots":[192,193,194,195]},{"req":null,"slots":[0]}]})",
    R"({"ev":"store","backend":"t","layer":0,"rows":[{"req":"A","row":0,"n":3}],"slots":"s"})",
    R"({"ev":"lens","buffer":"l","values":[67,4]})",
    R"({"ev":"table","buffer":"pt","row":0,"col":0,"pages":[1,2,4000],"req":"A","space":"F"})",
    R"({"ev":"table","buffer":"pt","row":1,"col":0,"pages":[3],"req":"B","space":"F"})",
    R"({"ev":"attention","backend":"t","layers":[0,1],"table":"pt","lens":"l",
        "rows":[{"req":"A","row":0},{"req":"B","row":1},{"req":null,"row":1,"len":1}]})",
    R"({"ev":"table","buffer":"pt","row":0,"col":1,"pages":[2,4000,5],"req":"A","space":"F"})",
    R"({"ev":"launch_done","event":10})",
    R"({"ev":"launch_done","event":15})",
    R"({"ev":"end"})",
};

// The segment as `kRun` is written, in a file with nothing else but its index.
std::vector<Event> write_run(const std::string& path, Names& names) {
  std::vector<Event> events;
  for (const char* line : kRun) {
    events.push_back(parsed(line, names));
    events.back().t =
        OptInt(1'700'000'000'000'000'000 + 100 * static_cast<std::int64_t>(events.size()));
  }
  write_trace(path, events, names, segments_of(1000, 0));
  return events;
}

TEST(FlippedBitsOfARun, AreOfASegmentWithColumnsOfEveryForm) {
  const ScratchFolder folder;
  Names names;
  const std::vector<Event> events = write_run(folder.file("x"), names);
  EXPECT_EQ(verify_trace(folder.file("x"), {}).exit_code(), 0);
  edited_segment(events, names, [](auto, auto columns) {
    EXPECT_TRUE(columns.getSlots().getValues().getRuns());
    EXPECT_TRUE(columns.getStore().getRows().getSlots().getRuns());
    EXPECT_TRUE(columns.getStore().getBackend().isElided());
    EXPECT_NE(columns.getT().getBase(), 0);
    EXPECT_TRUE(columns.getTable().getPages().hasSkips());
  });
}

TEST_P(FlippedBits, WithTheChecksumMadeRightAreAnErrorOrAnotherTrace) {
  write_run(path, names);
  const FileBytes good = load(path);
  const Frame frame = frames_of(good)[0];
  std::size_t errors = 0, traces = 0;
  each_bit(frame.offset + kFrameHeaderBytes, frame.end(), [&](std::size_t bit) {
    FileBytes file = good;
    file[bit / 8] ^= static_cast<unsigned char>(1 << bit % 8);
    reseal(file, frame);
    save(path, file);
    Names others;
    const ReadBack back = read_back(path, others);
    for (const Event& event : back.events) ASSERT_TRUE(check_event(event, others).ok()) << bit;
    const Report report = verify_trace(path, {});
    ++(report.status.ok() ? traces : errors);
    if (!back.status.ok()) {
      ASSERT_EQ(back.status.code(), Code::kDamaged) << bit;
      ASSERT_NE(back.status.message(), "") << bit;
      ASSERT_FALSE(report.status.ok()) << bit;
    }
    ASSERT_LE(report.events, back.events.size()) << bit;
  });
  EXPECT_GT(errors, 0u);
  EXPECT_GT(traces, 0u);
}

INSTANTIATE_TEST_SUITE_P(Shares, FlippedBits, testing::Range(std::size_t{0}, kShares));

}  // namespace
}  // namespace pagetape
