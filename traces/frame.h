// SPDX-License-Identifier: Apache-2.0
// Framing of a binary trace: the bytes around the messages. All numbers are little endian.
//
//   file    = magic[8] version:u32 check:u32 frame* [tail]
//   frame   = magic:u32 kind:u32 payload_bytes:u64 payload_xxh3:u64 header_xxh3:u64 payload
//   tail    = index_offset:u64 index_offset_xxh3:u64 magic[8]      (after the index frame only)
//
// `check` is the low half of the XXH3-64 of the 12 bytes before it; header_xxh3 is of the 24
// before.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace pagetape {

using Bytes = std::span<const unsigned char>;

// As PNG's: not text, and a conversion of line ends breaks it.
inline constexpr std::string_view kTraceMagic = "\x89PTAPE\r\n";
inline constexpr std::uint32_t kFileVersion = 3;
inline constexpr std::uint64_t kFileHeaderBytes = 16;
inline constexpr std::uint64_t kFrameHeaderBytes = 32;
inline constexpr std::uint64_t kTailBytes = 24;
inline constexpr std::uint64_t kMaxPayloadBytes = (std::uint64_t{64} << 20) + (1u << 20);

enum class FrameKind : std::uint32_t { kSegment = 1, kKeyframe = 2, kIndex = 3 };

std::array<unsigned char, kFileHeaderBytes> file_header();
// `payload` is whole words, at most kMaxPayloadBytes.
std::array<unsigned char, kFrameHeaderBytes> frame_header(FrameKind kind, Bytes payload);
std::array<unsigned char, kTailBytes> file_tail(std::uint64_t index_offset);

enum class Look {
  kGood,
  kCut,  // The file ends before this does: what a kill or a full disk leaves.
  kBad,
};

// `version` is set where the magic and the checksum are good; it may be newer than kFileVersion.
Look look_at_file_header(Bytes file, std::uint32_t& version);

struct Frame {
  std::uint64_t offset = 0;  // Of its header, bytes.
  FrameKind kind = FrameKind::kSegment;
  std::uint64_t payload_bytes = 0, checksum = 0;
  std::uint64_t end() const { return offset + kFrameHeaderBytes + payload_bytes; }
};

// Checks the header at `offset` (at most the file's size) and that the payload is within the file.
// kBad: `why` says what must is broken; kCut also where only zeros follow, as after a power loss.
// With kGood the payload is still to be checked.
Look look_at_frame(Bytes file, std::uint64_t offset, Frame& frame, const char*& why);

// The payload of a frame that is good, and whether it is what its header says.
Bytes payload_of(Bytes file, const Frame& frame);
bool payload_is_good(Bytes file, const Frame& frame);

// Looks for a good header at `offset` or behind. False where there is none.
bool find_frame(Bytes file, std::uint64_t offset, Frame& frame);

// Whether the tail of the index at `index_offset` stands at `offset`, and nothing behind it.
Look look_at_tail(Bytes file, std::uint64_t offset, std::uint64_t index_offset);
// Where the index is, by a tail at the end of the file. False where there is none.
bool read_tail(Bytes file, std::uint64_t& index_offset);

}  // namespace pagetape
