// SPDX-License-Identifier: Apache-2.0
#include "traces/reader.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace pagetape {
namespace {

// Whether a file that begins so is a trace with a damaged byte rather than something else.
bool nearly_a_trace(Bytes file) {
  const std::size_t n = std::min(file.size(), kTraceMagic.size());
  std::size_t agree = 0;
  for (std::size_t i = 0; i < n; ++i) {
    agree += file[i] == static_cast<unsigned char>(kTraceMagic[i]);
  }
  return 2 * agree >= n;
}

}  // namespace

Reader::Reader(std::string path, int fd, Bytes file, Names& names)
    : path_(std::move(path)), fd_(fd), file_(file), decoder_(names) {}

Reader::~Reader() {
  ::munmap(const_cast<unsigned char*>(file_.data()), file_.size());
  ::close(fd_);
}

std::unique_ptr<Reader> Reader::open(const std::string& path, Names& names, Status& status) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info {};
  if (fd < 0 || ::fstat(fd, &info) != 0) {
    status = usage(path + ": cannot be read: " + std::strerror(errno));
    if (fd >= 0) ::close(fd);
    return nullptr;
  }
  if (!S_ISREG(info.st_mode)) {
    status = usage(path + ": a binary trace is read from a file, which this is not");
    ::close(fd);
    return nullptr;
  }
  const auto size = static_cast<std::size_t>(info.st_size);
  if (size == 0) {
    ::close(fd);
    status = usage(path + ": the file is empty");
    return nullptr;
  }
  void* map = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) {
    status = usage(path + ": cannot be mapped: " + std::strerror(errno));
    ::close(fd);
    return nullptr;
  }
  ::madvise(map, size, MADV_SEQUENTIAL);
  std::unique_ptr<Reader> reader(
      new Reader(path, fd, {static_cast<const unsigned char*>(map), size}, names));
  status = reader->begin();
  if (!status.ok()) return nullptr;
  return reader;
}

Status Reader::begin() {
  std::uint32_t version = 0;
  offset_ = kFileHeaderBytes;
  switch (look_at_file_header(file_, version)) {
    case Look::kGood:
      if (version > kFileVersion) {
        return usage(path_ + ": is a trace of file version " + std::to_string(version) +
                     "; this program reads up to version " + std::to_string(kFileVersion));
      }
      break;
    case Look::kCut:
      end_cut();
      break;
    case Look::kBad:
      if (!nearly_a_trace(file_)) return usage(path_ + ": is not a binary trace");
      offset_ = 0;
      fail(0, "the beginning of the file does not have its checksum (M1)");
      break;
  }
  return {};
}

bool Reader::next(Event& event) {
  for (;;) {
    if (!status_.ok() || at_end_) return false;
    if (!in_segment_ && !next_segment()) return false;
    switch (decoder_.next(event)) {
      case SegmentDecoder::Next::kEvent:
        ++position_;
        return true;
      case SegmentDecoder::Next::kSkipped:
        if (!skipped_unknown_) {
          warn(
              "events of a kind that this program does not know were skipped: the trace is of a "
              "newer format");
        }
        skipped_unknown_ = true;
        ++position_;
        break;
      case SegmentDecoder::Next::kEnd:
        in_segment_ = false;
        break;
      case SegmentDecoder::Next::kMalformed:
        in_segment_ = false;
        return fail(segment_offset_, decoder_.error());
    }
  }
}

bool Reader::next_but(const KindSet& kinds, std::uint64_t end, Event& event) {
  while (position_ < end) {
    if (!in_segment_ && (!status_.ok() || at_end_ || !next_segment())) return false;
    if (position_ == decoder_.first_event() + decoder_.events()) {
      in_segment_ = false;
    } else if (decoder_.pass(kinds)) {
      ++position_;
    } else {
      return next(event);
    }
  }
  return false;
}

// Goes from frame to frame up to a segment, and opens it.
bool Reader::next_segment() {
  while (!in_segment_) {
    if (became_shorter()) return fail(offset_, "the file became shorter while it was read");
    drop_pages(offset_);
    if (index_offset_ != 0) return at_tail();
    // An unclosed file ends so. It may still be being written.
    if (offset_ == file_.size()) return end_cut();
    Frame frame;
    const char* why = nullptr;
    switch (look_at_frame(file_, offset_, frame, why)) {
      case Look::kCut:
        return end_cut();
      case Look::kBad:
        return fail(offset_, why);
      case Look::kGood:
        if (!at_frame(frame)) return false;
    }
  }
  return true;
}

bool Reader::at_frame(const Frame& frame) {
  if (!payload_is_good(file_, frame)) {
    return fail(frame.offset, "the frame's payload does not have its checksum (M3)");
  }
  switch (frame.kind) {
    case FrameKind::kSegment:
      return open_segment(frame);
    case FrameKind::kKeyframe:
      return pass_keyframe(frame);
    case FrameKind::kIndex:
      return pass_index(frame);
  }
  return false;
}

bool Reader::open_segment(const Frame& frame) {
  if (!decoder_.open(words_of(frame, scratch_))) return fail(frame.offset, decoder_.error());
  const std::uint64_t first = decoder_.first_event();
  if (first < position_ || (first > position_ && !gap_allowed_)) {
    return fail(frame.offset, "the segment begins with event " + std::to_string(first) + ", not " +
                                  std::to_string(position_) + " (M5)");
  }
  warn_of_missing(first);
  gap_allowed_ = false;
  position_ = first;
  segment_offset_ = frame.offset;
  offset_ = frame.end();
  in_segment_ = true;
  return true;
}

bool Reader::pass_keyframe(const Frame& frame) {
  KeyframeInfo info;
  if (!decode_keyframe(words_of(frame, scratch_), info, nullptr)) {
    return fail(frame.offset, "the keyframe is malformed (M4, M17)");
  }
  if (info.event != position_ && !(gap_allowed_ && info.event > position_)) {
    return fail(frame.offset, "the keyframe is of event " + std::to_string(info.event) + ", not " +
                                  std::to_string(position_) + " (M17)");
  }
  offset_ = frame.end();
  return true;
}

bool Reader::pass_index(const Frame& frame) {
  IndexInfo info;
  if (!decode_index(words_of(frame, scratch_), info)) {
    return fail(frame.offset, "the index is malformed (M4)");
  }
  if (info.events != position_ && !(gap_allowed_ && info.events > position_)) {
    return fail(frame.offset, "the index is of " + std::to_string(info.events) + " events, not " +
                                  std::to_string(position_) + " (M18)");
  }
  warn_of_missing(info.events);
  offset_ = frame.end();
  index_offset_ = frame.offset;
  return true;
}

bool Reader::at_tail() {
  switch (look_at_tail(file_, offset_, index_offset_)) {
    case Look::kCut:
      return end_cut();
    case Look::kBad:
      return fail(offset_, "what follows the index is not the tail of a trace (M18)");
    case Look::kGood:
      at_end_ = true;
  }
  return false;
}

bool Reader::end_cut() {
  if (!cut_ && offset_ < file_.size()) {
    warn("the file ends within a frame, " + std::to_string(file_.size() - offset_) +
         " bytes that hold no whole segment: the recording was cut");
  }
  cut_ = at_end_ = true;
  return false;
}

bool Reader::fail(std::uint64_t offset, const std::string& reason) {
  damage_ = Damage{position_, offset, reason};
  status_ = pagetape::damaged(path_ + ": damaged at byte " + std::to_string(offset) + ", after " +
                              std::to_string(position_) + " events: " + reason);
  in_segment_ = false;
  return false;
}

// Where to look for a good frame after the one that failed at `offset`. Where its header is good,
// the payload is passed over, lest something in it looks like a frame.
std::uint64_t Reader::behind(std::uint64_t offset) const {
  Frame frame;
  const char* why = nullptr;
  const bool good = offset >= kFileHeaderBytes && offset <= file_.size() &&
                    look_at_frame(file_, offset, frame, why) == Look::kGood;
  return good ? frame.end() : offset + 1;
}

bool Reader::resume() {
  if (!damage_) return false;
  const Status status = status_;
  const Damage damage = *damage_;
  std::uint64_t from = behind(damage.offset);
  Frame frame;
  while (!became_shorter() && find_frame(file_, from, frame)) {
    leave();
    offset_ = frame.offset;
    gap_allowed_ = true;
    if (at_frame(frame) && (in_segment_ || next_segment())) return true;
    from = damage_ ? behind(damage_->offset) : frame.end();
  }
  leave();
  status_ = status;
  damage_ = damage;
  return false;
}

void Reader::leave() {
  status_ = Status();
  damage_.reset();
  in_segment_ = at_end_ = gap_allowed_ = false;
  index_offset_ = 0;
}

Status Reader::seek(std::uint64_t event) {
  const IndexInfo& all = index();
  leave();
  at_end_ = true;
  if (event > all.events) {
    return usage(path_ + ": has no event " + std::to_string(event) + ", only " +
                 std::to_string(all.events));
  }
  const auto after = std::upper_bound(
      all.segments.begin(), all.segments.end(), event,
      [](std::uint64_t e, const SegmentInfo& segment) { return e < segment.first_event; });
  position_ = event;
  if (after == all.segments.begin()) {
    if (event > 0) return pagetape::damaged(path_ + ": event 0 is missing");
    offset_ = kFileHeaderBytes;
    at_end_ = false;
    return {};
  }
  const SegmentInfo& segment = *(after - 1);
  Frame frame;
  const char* why = "it ends before (M18)";
  position_ = segment.first_event;
  if (became_shorter() || look_at_frame(file_, segment.offset, frame, why) != Look::kGood ||
      frame.kind != FrameKind::kSegment) {
    fail(segment.offset, why);
    return status_;
  }
  at_end_ = false;
  if (!at_frame(frame)) return status_;
  Event passed;
  while (position_ < event && next(passed)) {
  }
  if (!status_.ok()) return status_;
  if (position_ == event) return {};
  at_end_ = true;
  return pagetape::damaged(path_ + ": event " + std::to_string(event) + " is missing");
}

bool Reader::became_shorter() const {
  // To touch a page behind the end of a mapped file is a SIGBUS.
  struct stat info {};
  return ::fstat(fd_, &info) != 0 || static_cast<std::uint64_t>(info.st_size) < file_.size();
}

WordSpan Reader::words_of(const Frame& frame, Words& scratch) const {
  const Bytes payload = payload_of(file_, frame);
  const std::size_t n = payload.size() / sizeof(std::uint64_t);
  if (reinterpret_cast<std::uintptr_t>(payload.data()) % alignof(std::uint64_t) == 0) {
    return {reinterpret_cast<const std::uint64_t*>(payload.data()), n};
  }
  // Only where bytes were lost or added before it.
  scratch.resize(n);
  std::memcpy(scratch.data(), payload.data(), payload.size());
  return scratch;
}

// Gives back the memory of what was read: it stays in the page cache of the system.
void Reader::drop_pages(std::uint64_t end) {
  constexpr std::uint64_t kPage = 4096, kStep = 1u << 20;
  end = end / kPage * kPage;
  if (end < dropped_ + kStep) {
    if (end < dropped_) dropped_ = end;
    return;
  }
  ::madvise(const_cast<unsigned char*>(file_.data()) + dropped_, end - dropped_, MADV_DONTNEED);
  dropped_ = end;
}

void Reader::warn(const std::string& what) {
  const std::string line = path_ + ": " + what;
  if (std::find(warnings_.begin(), warnings_.end(), line) == warnings_.end()) {
    warnings_.push_back(line);
  }
}

void Reader::warn_of_missing(std::uint64_t next) {
  if (next == position_) return;
  warn(std::to_string(next - position_) + " events are missing from event " +
       std::to_string(position_) + " on");
}

std::unique_ptr<Source> open_binary(const std::string& path, Names& names, Status& status) {
  return Reader::open(path, names, status);
}

}  // namespace pagetape
