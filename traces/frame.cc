// SPDX-License-Identifier: Apache-2.0
#include "traces/frame.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "traces/check.h"

namespace pagetape {
namespace {

constexpr std::string_view kFrameMagic = "\xF5PTF";
constexpr std::string_view kTailMagic = "PTAPEEND";

std::uint64_t hash(const unsigned char* data, std::uint64_t size) {
  return XXH3_64bits(data, size);
}

template <class T>
void put(unsigned char* at, T value) {
  std::memcpy(at, &value, sizeof value);
}
template <class T>
T get(const unsigned char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

void put_text(unsigned char* at, std::string_view text) {
  std::memcpy(at, text.data(), text.size());
}

// Whether `bytes` begins with `text`, or is a beginning of it.
bool agrees(Bytes bytes, std::string_view text) {
  return std::memcmp(bytes.data(), text.data(), std::min(bytes.size(), text.size())) == 0;
}

bool all_zero(Bytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](unsigned char byte) { return byte == 0; });
}

Look bad(const char*& why, const char* what) {
  why = what;
  return Look::kBad;
}

}  // namespace

std::array<unsigned char, kFileHeaderBytes> file_header() {
  std::array<unsigned char, kFileHeaderBytes> out{};
  put_text(out.data(), kTraceMagic);
  put(out.data() + 8, kFileVersion);
  put(out.data() + 12, static_cast<std::uint32_t>(hash(out.data(), 12)));
  return out;
}

std::array<unsigned char, kFrameHeaderBytes> frame_header(FrameKind kind, Bytes payload) {
  const bool fits = payload.size() % 8 == 0 && payload.size() <= kMaxPayloadBytes;
  PAGETAPE_CHECK(fits, "a payload of %zu bytes", payload.size());
  std::array<unsigned char, kFrameHeaderBytes> out{};
  put_text(out.data(), kFrameMagic);
  put(out.data() + 4, static_cast<std::uint32_t>(kind));
  put(out.data() + 8, static_cast<std::uint64_t>(payload.size()));
  put(out.data() + 16, hash(payload.data(), payload.size()));
  put(out.data() + 24, hash(out.data(), 24));
  return out;
}

std::array<unsigned char, kTailBytes> file_tail(std::uint64_t index_offset) {
  std::array<unsigned char, kTailBytes> out{};
  put(out.data(), index_offset);
  put(out.data() + 8, hash(out.data(), 8));
  put_text(out.data() + 16, kTailMagic);
  return out;
}

Look look_at_file_header(Bytes file, std::uint32_t& version) {
  if (!agrees(file, kTraceMagic)) return Look::kBad;
  if (file.size() < kFileHeaderBytes) return Look::kCut;
  if (get<std::uint32_t>(file.data() + 12) != static_cast<std::uint32_t>(hash(file.data(), 12))) {
    return Look::kBad;
  }
  version = get<std::uint32_t>(file.data() + 8);
  return Look::kGood;
}

Look look_at_frame(Bytes file, std::uint64_t offset, Frame& frame, const char*& why) {
  const Bytes rest = file.subspan(offset);
  if (!agrees(rest, kFrameMagic)) {
    if (all_zero(rest)) return Look::kCut;
    return bad(why, "no frame begins here (M2)");
  }
  if (rest.size() < kFrameHeaderBytes) return Look::kCut;
  if (get<std::uint64_t>(rest.data() + 24) != hash(rest.data(), 24)) {
    return bad(why, "the frame's header does not have its checksum (M2)");
  }
  const auto kind = get<std::uint32_t>(rest.data() + 4);
  frame.offset = offset;
  frame.kind = static_cast<FrameKind>(kind);
  frame.payload_bytes = get<std::uint64_t>(rest.data() + 8);
  frame.checksum = get<std::uint64_t>(rest.data() + 16);
  if (kind < 1 || kind > 3) return bad(why, "the frame is of no known kind (M2)");
  if (frame.payload_bytes > kMaxPayloadBytes || frame.payload_bytes % 8 != 0) {
    return bad(why, "the frame says a size that none may have (M2)");
  }
  return frame.payload_bytes > rest.size() - kFrameHeaderBytes ? Look::kCut : Look::kGood;
}

Bytes payload_of(Bytes file, const Frame& frame) {
  return file.subspan(frame.offset + kFrameHeaderBytes, frame.payload_bytes);
}

bool payload_is_good(Bytes file, const Frame& frame) {
  const Bytes payload = payload_of(file, frame);
  return hash(payload.data(), payload.size()) == frame.checksum;
}

bool find_frame(Bytes file, std::uint64_t offset, Frame& frame) {
  while (offset < file.size()) {
    const void* found =
        memmem(file.data() + offset, file.size() - offset, kFrameMagic.data(), kFrameMagic.size());
    if (found == nullptr) return false;
    offset = static_cast<std::uint64_t>(static_cast<const unsigned char*>(found) - file.data());
    const char* why = nullptr;
    if (look_at_frame(file, offset, frame, why) == Look::kGood) return true;
    ++offset;
  }
  return false;
}

Look look_at_tail(Bytes file, std::uint64_t offset, std::uint64_t index_offset) {
  const Bytes rest = file.subspan(offset);
  const auto tail = file_tail(index_offset);
  if (rest.size() > kTailBytes || !std::equal(rest.begin(), rest.end(), tail.begin())) {
    return Look::kBad;
  }
  return rest.size() < kTailBytes ? Look::kCut : Look::kGood;
}

bool read_tail(Bytes file, std::uint64_t& index_offset) {
  if (file.size() < kFileHeaderBytes + kFrameHeaderBytes + kTailBytes) return false;
  const std::uint64_t offset = file.size() - kTailBytes;
  index_offset = get<std::uint64_t>(file.data() + offset);
  return look_at_tail(file, offset, index_offset) == Look::kGood &&
         index_offset >= kFileHeaderBytes && index_offset <= offset;
}

}  // namespace pagetape
