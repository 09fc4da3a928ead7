// SPDX-License-Identifier: Apache-2.0
// Reads a binary trace through mmap, one decoded segment at a time, so that a file may be larger
// than memory. Trusts no length, offset or count of it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "traces/codec.h"
#include "traces/frame.h"
#include "traces/source.h"

namespace pagetape {

// Where reading stopped.
struct Damage {
  std::uint64_t event = 0;   // Events before it that could be read from the file's beginning …
  std::uint64_t offset = 0;  // … and the byte of the frame that could not.
  std::string reason;
};

// Not thread-safe; several readers of one file are independent.
class Reader final : public Source {
 public:
  // On failure returns null and sets `status`. `names` must outlive the reader.
  static std::unique_ptr<Reader> open(const std::string& path, Names& names, Status& status);
  ~Reader() override;
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  bool next(Event& event) override;
  Briefs briefs() override { return in_segment_ ? decoder_.briefs() : Briefs(); }
  void pass(const Briefs& briefs) override {
    decoder_.pass(briefs);
    position_ += briefs.count;
  }
  // As next(), but gives no event of these kinds (as SegmentDecoder::pass(), so that what is wrong
  // with them is not noticed), and none from `end` on: position() is then `end`.
  bool next_but(const KindSet& kinds, std::uint64_t end, Event& event);
  std::uint64_t position() const override { return position_; }
  std::string place() const override { return path_; }
  bool resume() override;
  const Status& status() const override { return status_; }
  const std::vector<std::string>& warnings() const override { return warnings_; }
  bool skipped_unknown() const override { return skipped_unknown_; }

  // Where status() is kDamaged.
  const std::optional<Damage>& damaged() const { return damage_; }
  // The file ends within a frame, or without its index: it was cut, which is no damage.
  // Known when the end was reached.
  bool cut() const { return cut_; }

  Status seek(std::uint64_t event) override;

  // What the file holds: from its index, or found by going through the frames, which takes the time
  // of reading the file once. Segments that are damaged are missing from what is found so.
  std::uint64_t events() override { return index().events; }
  const std::vector<SegmentInfo>& segments() { return index().segments; }
  const std::vector<KeyframeInfo>& keyframes() override { return index().keyframes; }
  const IndexInfo& index();
  // Whether index() was not in the file.
  bool index_rebuilt() const { return index_rebuilt_; }

  Status keyframe_state(const KeyframeInfo& keyframe, std::string& state) override;

  std::uint64_t file_bytes() const { return file_.size(); }

 private:
  Reader(std::string path, int fd, Bytes file, Names& names);

  Status begin();
  bool next_segment();
  bool at_frame(const Frame& frame);
  bool open_segment(const Frame& frame);
  bool pass_keyframe(const Frame& frame);
  bool pass_index(const Frame& frame);
  bool at_tail();
  bool end_cut();
  bool fail(std::uint64_t offset, const std::string& reason);
  bool became_shorter() const;
  // The payload, or a copy in `scratch` where it does not begin at a whole word of memory.
  WordSpan words_of(const Frame& frame, Words& scratch) const;
  std::uint64_t behind(std::uint64_t offset) const;
  void drop_pages(std::uint64_t end);
  bool read_index(IndexInfo& index);
  void rebuild_index();
  void leave();
  void warn(const std::string& what);
  void warn_of_missing(std::uint64_t next);

  std::string path_;
  int fd_;
  Bytes file_;  // The mapping.
  SegmentDecoder decoder_;
  Words scratch_;  // Of the segment at hand.

  std::uint64_t offset_ = 0;   // Of the next frame.
  std::uint64_t dropped_ = 0;  // Pages before this were given back.
  std::uint64_t segment_offset_ = 0;
  std::uint64_t position_ = 0;
  bool in_segment_ = false;
  std::uint64_t index_offset_ = 0;  // Of the index, once it was passed.
  bool gap_allowed_ = false;  // After resume(): events may be missing before the next segment.
  bool at_end_ = false;
  bool cut_ = false;
  bool skipped_unknown_ = false;
  Status status_;
  std::optional<Damage> damage_;
  std::vector<std::string> warnings_;
  std::optional<IndexInfo> index_;
  bool index_rebuilt_ = false;
};

// The same as a Source, for open_trace.
std::unique_ptr<Source> open_binary(const std::string& path, Names& names, Status& status);

}  // namespace pagetape
