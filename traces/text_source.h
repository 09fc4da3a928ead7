// SPDX-License-Identifier: Apache-2.0
// Reads a text trace line by line.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "traces/source.h"

namespace pagetape {

// Holds one line at a time, so that a trace may be larger than memory. Blank lines are skipped. In
// a file whose header says a newer format, events of unknown kinds are skipped with a warning;
// otherwise they are errors.
class TextSource : public Source {
 public:
  // Owns the file from here on. `path` is for messages.
  TextSource(std::FILE* file, std::string path, Names& names);

  bool next(Event& event) override;
  std::uint64_t position() const override { return position_; }
  std::string place() const override { return path_ + ":" + std::to_string(line_number_); }
  Status seek(std::uint64_t event) override;
  std::uint64_t events() override;
  const std::vector<KeyframeInfo>& keyframes() override;
  Status keyframe_state(const KeyframeInfo& keyframe, std::string& state) override;
  const Status& status() const override { return status_; }
  const std::vector<std::string>& warnings() const override { return warnings_; }
  bool skipped_unknown() const override { return skipped_unknown_; }

 private:
  // Where an event's line begins, so that a seek need not read all lines before it.
  struct Mark {
    std::uint64_t offset = 0;  // Bytes.
    std::uint64_t line = 0;    // Lines before it.
    std::int64_t format = 1;
  };

  std::uint64_t offset() const { return read_ - (chunk_size_ - chunk_at_); }
  void leave_mark();
  Status go_to(const Mark& mark, std::uint64_t event);
  bool read_line();
  bool refill();
  bool skip_unknown(const std::string& message);
  void warn_of_unknown_fields(const Event& event);
  void warn(const std::string& what);
  bool fail(Status status);
  std::string at_line(const std::string& message) const;

  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  std::string path_;
  Names& names_;
  std::string line_;
  std::vector<char> chunk_;
  std::size_t chunk_at_ = 0, chunk_size_ = 0;
  std::uint64_t read_ = 0;   // Bytes, up to the end of the chunk.
  std::vector<Mark> marks_;  // One each kMarkEvents events, as far as was read.
  std::uint64_t line_number_ = 0, position_ = 0;
  std::int64_t format_ = 1;
  Status status_;
  std::vector<std::string> warnings_;
  std::set<std::string> warned_of_;
  bool skipped_unknown_ = false;
};

// On failure returns null and sets `status`. `names` must outlive the source.
std::unique_ptr<Source> open_text(const std::string& path, Names& names, Status& status);

}  // namespace pagetape
