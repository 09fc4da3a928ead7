// SPDX-License-Identifier: Apache-2.0
// The index of a trace, read or rebuilt, and what is found through it.
#include <sys/mman.h>

#include "traces/reader.h"

namespace pagetape {
namespace {

// M18, as far as it can be told without the frames: those are checked when they are read.
bool is_in_order(const IndexInfo& index) {
  std::uint64_t offset = 0, events = 0;
  for (const SegmentInfo& segment : index.segments) {
    if (segment.offset <= offset || segment.first_event != events || segment.events == 0 ||
        segment.first_event > UINT64_MAX - segment.events) {
      return false;
    }
    offset = segment.offset;
    events = segment.first_event + segment.events;
  }
  if (events != index.events) return false;
  offset = events = 0;
  for (const KeyframeInfo& keyframe : index.keyframes) {
    if (keyframe.offset <= offset || keyframe.event < events || keyframe.event > index.events) {
      return false;
    }
    offset = keyframe.offset;
    events = keyframe.event;
  }
  return true;
}

}  // namespace

const IndexInfo& Reader::index() {
  if (index_) return *index_;
  IndexInfo found;
  if (read_index(found)) {
    index_ = std::move(found);
  } else {
    rebuild_index();
  }
  return *index_;
}

bool Reader::read_index(IndexInfo& index) {
  Words scratch;
  std::uint64_t offset = 0;
  if (became_shorter() || !read_tail(file_, offset)) return false;
  Frame frame;
  const char* why = nullptr;
  if (look_at_frame(file_, offset, frame, why) != Look::kGood || frame.kind != FrameKind::kIndex ||
      frame.end() != file_.size() - kTailBytes || !payload_is_good(file_, frame)) {
    return false;
  }
  return decode_index(words_of(frame, scratch), index) && is_in_order(index);
}

void Reader::rebuild_index() {
  index_.emplace();
  index_rebuilt_ = true;
  Frame frame;
  Words scratch;
  std::uint64_t dropped = 0;
  std::uint64_t offset = kFileHeaderBytes;
  while (!became_shorter() && find_frame(file_, offset, frame)) {
    offset = frame.end();
    if (!payload_is_good(file_, frame)) continue;
    SegmentInfo segment;
    KeyframeInfo keyframe;
    if (frame.kind == FrameKind::kSegment && segment_info(words_of(frame, scratch), segment) &&
        segment.first_event >= index_->events) {
      segment.offset = frame.offset;
      index_->events = segment.first_event + segment.events;
      index_->segments.push_back(std::move(segment));
    } else if (frame.kind == FrameKind::kKeyframe &&
               decode_keyframe(words_of(frame, scratch), keyframe, nullptr) &&
               keyframe.event >= index_->events) {
      keyframe.offset = frame.offset;
      index_->keyframes.push_back(keyframe);
    }
    const std::uint64_t end = offset / 4096 * 4096;
    ::madvise(const_cast<unsigned char*>(file_.data()) + dropped, end - dropped, MADV_DONTNEED);
    dropped = end;
  }
}

Status Reader::keyframe_state(const KeyframeInfo& keyframe, std::string& state) {
  Frame frame;
  KeyframeInfo found;
  Words scratch;
  const char* why = nullptr;
  const bool good = !became_shorter() && keyframe.offset <= file_.size() &&
                    look_at_frame(file_, keyframe.offset, frame, why) == Look::kGood &&
                    frame.kind == FrameKind::kKeyframe && payload_is_good(file_, frame) &&
                    decode_keyframe(words_of(frame, scratch), found, &state) &&
                    found.event == keyframe.event && found.digest == keyframe.digest;
  if (good) return {};
  return pagetape::damaged(path_ + ": the keyframe at byte " + std::to_string(keyframe.offset) +
                           " cannot be read (M17)");
}

}  // namespace pagetape
