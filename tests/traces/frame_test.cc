// SPDX-License-Identifier: Apache-2.0
#include "traces/frame.h"

#include <gtest/gtest.h>
#include <xxhash.h>

#include "tests/traces/trace_fixture.h"

namespace pagetape {
namespace {

const FileBytes kPayload(24, 0x5A);

template <class Part>
void append(FileBytes& file, const Part& part) {
  file.insert(file.end(), part.begin(), part.end());
}

FileBytes one_frame() {
  FileBytes file;
  append(file, file_header());
  append(file, frame_header(FrameKind::kSegment, kPayload));
  append(file, kPayload);
  return file;
}

Look look(const FileBytes& file, std::uint64_t offset = kFileHeaderBytes) {
  Frame frame;
  const char* why = nullptr;
  return look_at_frame(file, offset, frame, why);
}

TEST(Frame, IsReadAsItWasWritten) {
  const FileBytes file = one_frame();
  std::uint32_t version = 0;
  EXPECT_EQ(look_at_file_header(file, version), Look::kGood);
  EXPECT_EQ(version, kFileVersion);
  Frame frame;
  const char* why = nullptr;
  ASSERT_EQ(look_at_frame(file, kFileHeaderBytes, frame, why), Look::kGood);
  EXPECT_EQ(frame.kind, FrameKind::kSegment);
  EXPECT_EQ(frame.end(), file.size());
  EXPECT_TRUE(payload_is_good(file, frame));
}

TEST(Frame, CutAnywhereIsCutAndNotBad) {
  const FileBytes file = one_frame();
  for (std::size_t size = kFileHeaderBytes; size < file.size(); ++size) {
    EXPECT_EQ(look(FileBytes(file.begin(), file.begin() + static_cast<long>(size))), Look::kCut);
  }
}

TEST(Frame, ZerosAtTheEndAreACut) {
  FileBytes file = one_frame();
  const std::size_t end = file.size();
  file.resize(end + 5000, 0);
  EXPECT_EQ(look(file, end), Look::kCut);
  file.back() = 1;
  EXPECT_EQ(look(file, end), Look::kBad);
}

TEST(Frame, AnyFlippedBitIsFound) {
  const FileBytes good = one_frame();
  for (std::size_t bit = 8 * kFileHeaderBytes; bit < 8 * good.size(); ++bit) {
    FileBytes file = good;
    file[bit / 8] ^= static_cast<unsigned char>(1 << bit % 8);
    Frame frame;
    const char* why = nullptr;
    const Look found = look_at_frame(file, kFileHeaderBytes, frame, why);
    EXPECT_TRUE(found == Look::kBad || !payload_is_good(file, frame)) << bit;
  }
}

// A header whose checksum is right, whatever it says.
Look look_at_sealed(std::uint32_t kind, std::uint64_t payload_bytes) {
  FileBytes file = one_frame();
  unsigned char* header = file.data() + kFileHeaderBytes;
  std::memcpy(header + 4, &kind, sizeof kind);
  std::memcpy(header + 8, &payload_bytes, sizeof payload_bytes);
  const std::uint64_t check = XXH3_64bits(header, 24);
  std::memcpy(header + 24, &check, sizeof check);
  return look(file);
}

TEST(Frame, M2AnUnknownKindIsBad) {
  EXPECT_EQ(look_at_sealed(1, 24), Look::kGood);
  EXPECT_EQ(look_at_sealed(0, 24), Look::kBad);
  EXPECT_EQ(look_at_sealed(4, 24), Look::kBad);
}

TEST(Frame, M2ASizeIsNotBelieved) {
  for (const std::uint64_t size : {UINT64_MAX, UINT64_MAX - 31, std::uint64_t{1} << 63,
                                   kMaxPayloadBytes + 8, std::uint64_t{23}}) {
    EXPECT_EQ(look_at_sealed(1, size), Look::kBad) << size;
  }
  EXPECT_EQ(look_at_sealed(1, kMaxPayloadBytes), Look::kCut) << "more than there is";
}

TEST(Frame, IsFoundBehindGarbage) {
  FileBytes file = one_frame();
  file.insert(file.begin() + kFileHeaderBytes, {0xF5, 'P', 'T', 'F', 1, 2, 3});
  Frame frame;
  ASSERT_TRUE(find_frame(file, kFileHeaderBytes, frame));
  EXPECT_EQ(frame.offset, kFileHeaderBytes + 7);
  EXPECT_FALSE(find_frame(file, frame.offset + 1, frame));
}

TEST(Frame, TailMustNameTheIndex) {
  FileBytes file = one_frame();
  const std::size_t end = file.size();
  append(file, file_tail(kFileHeaderBytes));
  EXPECT_EQ(look_at_tail(file, end, kFileHeaderBytes), Look::kGood);
  EXPECT_EQ(look_at_tail(file, end, kFileHeaderBytes + 8), Look::kBad);
  std::uint64_t index = 0;
  EXPECT_TRUE(read_tail(file, index));
  EXPECT_EQ(index, kFileHeaderBytes);
  file.pop_back();
  EXPECT_EQ(look_at_tail(file, end, kFileHeaderBytes), Look::kCut);
  EXPECT_FALSE(read_tail(file, index));
}

}  // namespace
}  // namespace pagetape
