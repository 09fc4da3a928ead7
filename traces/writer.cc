// SPDX-License-Identifier: Apache-2.0
#include "traces/writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "traces/codec.h"
#include "traces/event_view.h"
#include "traces/frame.h"
#include "traces/text.h"

namespace pagetape {
namespace {

Bytes bytes_of(const Words& words) {
  return {reinterpret_cast<const unsigned char*>(words.data()), words.size() * sizeof(words[0])};
}

// What a person can do about it.
std::string advice(const std::string& path, int error) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return "; the folder " + folder + " does not exist: create it first";
    case EACCES:
    case EPERM:
    case EROFS:
      return "; choose a file in a folder that you may write to";
    case EISDIR:
      return "; name a file in it";
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return "; free some space, or write to another disk";
    default:
      return "";
  }
}

class FileWriter final : public Writer {
 public:
  FileWriter(int fd, std::string path, const Names& names, const WriterOptions& options)
      : fd_(fd),
        path_(std::move(path)),
        names_(names),
        options_(options),
        encoder_(names, options.zstd_level) {
    options_.segment_events = std::max(options_.segment_events, 1u);
    // Room for one large event more within what a segment may be.
    options_.segment_bytes = std::min(options_.segment_bytes, 16u << 20);
  }
  ~FileWriter() override {
    if (fd_ >= 0) ::close(fd_);
  }
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  Status begin() {
    const auto header = file_header();
    return write({Bytes(header)});
  }

  Status add(const Event& event) override {
    // A reader refuses such an event, and with it the rest of its segment.
    if (Status good = check_event(event, names_); !good.ok()) return good;
    return add_checked(event);
  }

  Status add_checked(const Event& event) override {
    if (!failed_.ok()) return failed_;
    switch (encoder_.fit(event)) {
      case SegmentEncoder::Fit::kNever:
        return usage(path_ + ": event " + std::to_string(events()) +
                     " is larger than a segment may be (64 MiB, or 262144 rows); split it");
      case SegmentEncoder::Fit::kNotNow:
        if (Status status = end_segment(); !status.ok()) return status;
        break;
      case SegmentEncoder::Fit::kFits:
        break;
    }
    encoder_.add(event);
    return full() ? end_segment() : Status();
  }

  Status add_view(const EventView& view) override {
    if (!failed_.ok()) return failed_;
    if (!encoder_.surely_fits(view)) return Writer::add_view(view);
    encoder_.add(view);
    return full() ? end_segment() : Status();
  }

  Status add_keyframe(std::string_view state, std::uint64_t state_digest) override {
    if (state.size() > kMaxBodyBytes) {
      return usage(path_ + ": a keyframe's state is larger than 64 MiB");
    }
    if (Status status = end_segment(); !status.ok()) return status;
    const KeyframeInfo info{size_, index_.events, state_digest};
    const Words payload = encode_keyframe(info, state, options_.zstd_level);
    if (Status status = write_frame(FrameKind::kKeyframe, payload); !status.ok()) return status;
    index_.keyframes.push_back(info);
    return {};
  }

  Status flush() override { return end_segment(); }

  Status close() override {
    if (fd_ < 0) return failed_;
    if (Status status = end_segment(); !status.ok()) return status;
    const std::uint64_t offset = size_;
    const Words payload = encode_index(index_);
    const Bytes bytes = bytes_of(payload);
    // A very long trace goes without: a reader finds the segments from frame to frame.
    if (bytes.size() <= kMaxPayloadBytes) {
      const auto header = frame_header(FrameKind::kIndex, bytes);
      const auto tail = file_tail(offset);
      if (Status status = write({Bytes(header), bytes, Bytes(tail)}); !status.ok()) return status;
    }
    const int fd = std::exchange(fd_, -1);
    if (::close(fd) != 0) failed_ = failure("cannot be closed", errno);
    return failed_;
  }

  std::uint64_t events() const override { return index_.events + encoder_.events(); }
  std::uint64_t written() const override { return index_.events; }
  std::uint64_t bytes() const override { return size_; }

 private:
  bool full() const {
    return encoder_.events() >= options_.segment_events ||
           encoder_.bytes() >= options_.segment_bytes;
  }

  Status end_segment() {
    if (!failed_.ok()) return failed_;
    if (encoder_.events() == 0) return {};
    SegmentInfo info;
    info.offset = size_;
    info.first_event = index_.events;
    info.events = encoder_.events();
    const Words payload = encoder_.finish(index_.events, info.summary);
    if (Status status = write_frame(FrameKind::kSegment, payload); !status.ok()) return status;
    index_.events += info.events;
    index_.segments.push_back(std::move(info));
    return {};
  }

  Status write_frame(FrameKind kind, const Words& payload) {
    const Bytes bytes = bytes_of(payload);
    const auto header = frame_header(kind, bytes);
    return write({Bytes(header), bytes});
  }

  // Appends all of it or nothing: what stands in the file stays whole.
  Status write(std::initializer_list<Bytes> parts) {
    if (!failed_.ok()) return failed_;
    // One call for a frame: many small writes make a file slow to map afterwards.
    buffer_.clear();
    for (const Bytes part : parts) buffer_.insert(buffer_.end(), part.begin(), part.end());
    std::size_t done = 0;
    while (done < buffer_.size()) {
      const ssize_t n = ::write(fd_, buffer_.data() + done, buffer_.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        const int error = errno;
        // A part of a frame would be read as a cut; without it the file merely ends.
        if (done > 0 && ::ftruncate(fd_, static_cast<off_t>(size_)) != 0) errno = 0;
        return failed_ = failure("cannot be written", error);
      }
      done += static_cast<std::size_t>(n);
    }
    size_ += done;
    return {};
  }

  Status failure(const std::string& what, int error) const {
    return system_error(path_ + ": " + what + ": " + std::strerror(error) + " (" +
                        std::to_string(index_.events) + " events are in the file and can be read)" +
                        advice(path_, error));
  }

  int fd_;
  std::string path_;
  const Names& names_;
  WriterOptions options_;
  SegmentEncoder encoder_;
  IndexInfo index_;  // Of what stands in the file.
  std::uint64_t size_ = 0;
  Status failed_;  // Once writing has failed, nothing more is written.
  std::vector<unsigned char> buffer_;
};

}  // namespace

Status Writer::add_view(const EventView& view) {
  Event event;
  (void)make_event(view, event);
  return add_checked(event);
}

std::unique_ptr<Writer> create_trace(const std::string& path, const Names& names,
                                     const WriterOptions& options, Status& status) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) {
    status =
        system_error(path + ": cannot be created: " + std::strerror(errno) + advice(path, errno));
    return nullptr;
  }
  auto writer = std::make_unique<FileWriter>(fd, path, names, options);
  status = writer->begin();
  if (!status.ok()) return nullptr;
  return writer;
}

}  // namespace pagetape
