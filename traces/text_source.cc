// SPDX-License-Identifier: Apache-2.0
#include "traces/text_source.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "traces/codec.h"
#include "traces/text.h"
#include "traces/text_json.h"
#include "traces/unknown_fields.h"

namespace pagetape {
namespace {

constexpr std::int64_t kFormat = 1;  // The newest that this version knows.
constexpr std::size_t kChunkBytes = 64 << 10;
// Of a file that is no trace of ours each line may hold new names.
constexpr std::size_t kMostWarnings = 100;
constexpr std::uint64_t kMarkEvents = 256;
// How parse_event's message begins where the kind is not known.
constexpr const char* kUnknownEvent = "unknown event ";

}  // namespace

TextSource::TextSource(std::FILE* file, std::string path, Names& names)
    : file_(file, std::fclose),
      path_(std::move(path)),
      names_(names),
      chunk_(kChunkBytes),
      marks_(1) {}

bool TextSource::next(Event& event) {
  for (;;) {
    leave_mark();
    if (!status_.ok() || !read_line()) return false;
    if (line_.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (Status status = parse_event(line_, names_, event); !status.ok()) {
      if (skip_unknown(status.message())) continue;
      return fail({status.code(), at_line(status.message())});
    }
    if (const auto* header = std::get_if<ev::Header>(&event.body)) {
      format_ = std::max(format_, header->format);
    }
    if (!event.extra.empty()) warn_of_unknown_fields(event);
    ++position_;
    return true;
  }
}

void TextSource::leave_mark() {
  if (position_ == marks_.size() * kMarkEvents) marks_.push_back({offset(), line_number_, format_});
}

Status TextSource::go_to(const Mark& mark, std::uint64_t event) {
  if (::fseeko(file_.get(), static_cast<off_t>(mark.offset), SEEK_SET) != 0) {
    return status_ = usage(path_ + ": cannot be read again: " + std::strerror(errno));
  }
  status_ = Status();
  read_ = mark.offset;
  chunk_at_ = chunk_size_ = 0;
  line_number_ = mark.line;
  format_ = mark.format;
  position_ = event;
  return {};
}

Status TextSource::seek(std::uint64_t event) {
  const std::uint64_t mark = std::min<std::uint64_t>(event / kMarkEvents, marks_.size() - 1);
  if (event < position_ || mark * kMarkEvents > position_) {
    if (Status status = go_to(marks_[mark], mark * kMarkEvents); !status.ok()) return status;
  }
  Event passed;
  while (position_ < event && next(passed)) {
  }
  if (position_ == event) return {};
  const std::string has =
      path_ + ": has no event " + std::to_string(event) + ", only " + std::to_string(position_);
  return status_.ok() ? usage(has) : status_;
}

std::uint64_t TextSource::events() {
  const std::uint64_t here = position_;
  Event passed;
  while (next(passed)) {
  }
  const std::uint64_t all = position_;
  (void)seek(here);  // A pipe stays at its end, with a status that says so.
  return all;
}

const std::vector<KeyframeInfo>& TextSource::keyframes() {
  static const std::vector<KeyframeInfo> none;
  return none;
}

Status TextSource::keyframe_state(const KeyframeInfo&, std::string&) {
  return usage(path_ + ": a text trace has no keyframes");
}

// The next line without its end, or false at the end of the file and on failure.
bool TextSource::read_line() {
  line_.clear();
  ++line_number_;
  while (chunk_at_ < chunk_size_ || refill()) {
    const char* begin = chunk_.data() + chunk_at_;
    const std::size_t left = chunk_size_ - chunk_at_;
    const auto* end = static_cast<const char*>(std::memchr(begin, '\n', left));
    const std::size_t size = end == nullptr ? left : static_cast<std::size_t>(end - begin);
    chunk_at_ += size + (end != nullptr);
    if (line_.size() + size > kMaxLineBytes) {
      const std::string limit = std::to_string(kMaxLineBytes >> 20);
      return fail(usage(at_line("the line is longer than " + limit + " MiB")));
    }
    line_.append(begin, size);
    if (end != nullptr) return true;
  }
  return status_.ok() && !line_.empty();
}

bool TextSource::refill() {
  chunk_at_ = 0;
  chunk_size_ = std::fread(chunk_.data(), 1, chunk_.size(), file_.get());
  read_ += chunk_size_;
  if (chunk_size_ > 0) return true;
  if (std::ferror(file_.get()) == 0) return false;
  return fail(usage(path_ + ": cannot be read: " + std::strerror(errno)));
}

// Whether the error is but an event of a newer format than this version knows.
bool TextSource::skip_unknown(const std::string& message) {
  if (format_ <= kFormat || !message.starts_with(kUnknownEvent)) return false;
  skipped_unknown_ = true;
  warn(message + " of format " + std::to_string(format_) + ": skipped");
  return true;
}

void TextSource::warn_of_unknown_fields(const Event& event) {
  const std::string of_event = "\" of event \"" + std::string(kKindNames[event.kind()]) + "\"";
  for (const std::string& field : unknown_fields(event)) {
    warn("unknown field \"" + field + of_event + ": kept, and not looked at");
  }
}

void TextSource::warn(const std::string& what) {
  if (warnings_.size() > kMostWarnings || !warned_of_.insert(what).second) return;
  warnings_.push_back(warnings_.size() < kMostWarnings
                          ? at_line(what)
                          : path_ + ": more unknown events and fields are not listed");
}

bool TextSource::fail(Status status) {
  status_ = std::move(status);
  return false;
}

std::string TextSource::at_line(const std::string& message) const {
  return place() + ": " + message;
}

std::unique_ptr<Source> open_text(const std::string& path, Names& names, Status& status) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) {
    status = usage(path + ": cannot be read: " + std::strerror(errno));
    return nullptr;
  }
  status = Status();
  return std::make_unique<TextSource>(file, path, names);
}

}  // namespace pagetape
