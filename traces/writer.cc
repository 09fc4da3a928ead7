// SPDX-License-Identifier: Apache-2.0
#include "traces/writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

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

// The file: its frames, and the index of what stands in it. One thread at a time, but for events()
// and bytes().
class TraceFile {
 public:
  TraceFile(int fd, std::string path, int zstd_level)
      : fd_(fd), path_(std::move(path)), zstd_level_(zstd_level) {}
  ~TraceFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  TraceFile(const TraceFile&) = delete;
  TraceFile& operator=(const TraceFile&) = delete;

  Status begin() {
    const auto header = file_header();
    return write({Bytes(header)});
  }

  Status segment(SegmentEncoder& encoder) {
    SegmentInfo info;
    info.offset = bytes_;
    info.first_event = index_.events;
    info.events = encoder.events();
    const Words payload = encoder.finish(index_.events, info.summary);
    if (Status status = write_frame(FrameKind::kSegment, payload); !status.ok()) return status;
    index_.events += info.events;
    index_.segments.push_back(std::move(info));
    events_.store(index_.events, std::memory_order_release);
    return {};
  }

  Status keyframe(std::string_view state, std::uint64_t state_digest) {
    const KeyframeInfo info{bytes_, index_.events, state_digest};
    const Words payload = encode_keyframe(info, state, zstd_level_);
    if (Status status = write_frame(FrameKind::kKeyframe, payload); !status.ok()) return status;
    index_.keyframes.push_back(info);
    return {};
  }

  Status close() {
    const std::uint64_t offset = bytes_;
    const Words payload = encode_index(index_);
    const Bytes bytes = bytes_of(payload);
    // A very long trace goes without: a reader finds the segments from frame to frame.
    if (bytes.size() <= kMaxPayloadBytes) {
      const auto header = frame_header(FrameKind::kIndex, bytes);
      const auto tail = file_tail(offset);
      if (Status status = write({Bytes(header), bytes, Bytes(tail)}); !status.ok()) return status;
    }
    const int fd = std::exchange(fd_, -1);
    return ::close(fd) == 0 ? Status() : failure("cannot be closed", errno);
  }

  const std::string& path() const { return path_; }
  bool closed() const { return fd_ < 0; }
  std::uint64_t events() const { return events_.load(std::memory_order_acquire); }
  std::uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  Status write_frame(FrameKind kind, const Words& payload) {
    const Bytes bytes = bytes_of(payload);
    const auto header = frame_header(kind, bytes);
    return write({Bytes(header), bytes});
  }

  // Appends all of it or nothing: what stands in the file stays whole.
  Status write(std::initializer_list<Bytes> parts) {
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
        if (done > 0 && ::ftruncate(fd_, static_cast<off_t>(bytes())) != 0) errno = 0;
        return failure("cannot be written", error);
      }
      done += static_cast<std::size_t>(n);
    }
    bytes_ += done;
    return {};
  }

  Status failure(const std::string& what, int error) const {
    return system_error(path_ + ": " + what + ": " + std::strerror(error) + " (" +
                        std::to_string(index_.events) + " events are in the file and can be read)" +
                        advice(path_, error));
  }

  int fd_;
  const std::string path_;
  const int zstd_level_;
  IndexInfo index_;
  std::atomic<std::uint64_t> events_{0}, bytes_{0};
  std::vector<unsigned char> buffer_;
};

// What comes next in the file: a segment, then a keyframe, where there are such.
struct Part {
  SegmentEncoder* segment = nullptr;  // Sealed.
  std::optional<std::string> state;
  std::uint64_t digest = 0;
};

Status append(TraceFile& file, const Part& part) {
  if (part.segment != nullptr) {
    if (Status status = file.segment(*part.segment); !status.ok()) return status;
  }
  return part.state ? file.keyframe(*part.state, part.digest) : Status();
}

// Appends parts on a thread of its own, one at a time.
class Appender {
 public:
  explicit Appender(TraceFile& file) : file_(file), thread_([this] { run(); }) {}
  ~Appender() {
    (void)wait();
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  // After wait().
  void append(Part part) {
    {
      const std::lock_guard lock(mutex_);
      part_ = std::move(part);
    }
    changed_.notify_all();
  }
  // Until the last part is in the file, or failed.
  Status wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !part_.has_value(); });
    return status_;
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return part_.has_value() || ending_; });
      if (!part_) return;
      lock.unlock();
      Status status = pagetape::append(file_, *part_);
      lock.lock();
      status_ = std::move(status);
      part_.reset();
      changed_.notify_all();
    }
  }

  TraceFile& file_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Part> part_;
  Status status_;
  bool ending_ = false;
  std::thread thread_;
};

class FileWriter final : public Writer {
 public:
  FileWriter(int fd, std::string path, const Names& names, const WriterOptions& options)
      : file_(fd, std::move(path), options.zstd_level), names_(names), options_(options) {
    options_.segment_events = std::max(options_.segment_events, 1u);
    // Room for one large event more within what a segment may be.
    options_.segment_bytes = std::min(options_.segment_bytes, 16u << 20);
    encoder_ = std::make_unique<SegmentEncoder>(names, options.zstd_level);
    if (options.behind && std::thread::hardware_concurrency() > 1) {
      other_ = std::make_unique<SegmentEncoder>(names, options.zstd_level);
      appender_ = std::make_unique<Appender>(file_);
    }
  }

  Status begin() { return file_.begin(); }

  Status add(const Event& event) override {
    // A reader refuses such an event, and with it the rest of its segment.
    if (Status good = check_event(event, names_); !good.ok()) return good;
    return add_checked(event);
  }

  Status add_checked(const Event& event) override {
    if (!failed_.ok()) return failed_;
    switch (encoder_->fit(event)) {
      case SegmentEncoder::Fit::kNever:
        return usage(file_.path() + ": event " + std::to_string(events()) +
                     " is larger than a segment may be (64 MiB, or 262144 rows); split it");
      case SegmentEncoder::Fit::kNotNow:
        if (Status status = end_segment(); !status.ok()) return status;
        break;
      case SegmentEncoder::Fit::kFits:
        break;
    }
    encoder_->add(event);
    return full() ? end_full_segment() : Status();
  }

  Status add_view(const EventView& view) override {
    if (!failed_.ok()) return failed_;
    if (!encoder_->surely_fits(view)) return Writer::add_view(view);
    encoder_->add(view);
    return full() ? end_full_segment() : Status();
  }

  Status add_keyframe(std::string_view state, std::uint64_t state_digest) override {
    if (state.size() > kMaxBodyBytes) {
      return usage(file_.path() + ": a keyframe's state is larger than 64 MiB");
    }
    return append({nullptr, std::string(state), state_digest});
  }

  Status flush() override {
    if (Status status = end_segment(); !status.ok()) return status;
    return wait();
  }

  Status close() override {
    if (file_.closed()) return failed_;
    if (Status status = flush(); !status.ok()) return status;
    return failed_ = file_.close();
  }

  std::uint64_t events() const override { return ended_ + encoder_->events() - refused_; }
  std::uint64_t written() const override { return file_.events(); }
  std::uint64_t ended() const override { return ended_; }
  std::uint64_t bytes() const override { return file_.bytes(); }

 private:
  bool full() const {
    return encoder_->events() >= options_.segment_events ||
           encoder_->bytes() >= options_.segment_bytes;
  }

  Status end_full_segment() {
    Status status = end_segment();
    if (!status.ok()) refused_ = 1;
    return status;
  }

  Status wait() {
    if (appender_ != nullptr && failed_.ok()) failed_ = appender_->wait();
    return failed_;
  }

  Status end_segment() { return encoder_->events() == 0 ? failed_ : append({}); }

  // Ends the segment, if there is one: it comes before the part.
  Status append(Part part) {
    if (Status status = wait(); !status.ok()) return status;
    if (const std::uint32_t events = encoder_->events(); events > 0) {
      encoder_->seal();
      part.segment = encoder_.get();
      ended_ += events;
    }
    if (appender_ == nullptr) return failed_ = pagetape::append(file_, part);
    if (part.segment != nullptr) std::swap(encoder_, other_);
    appender_->append(std::move(part));
    return {};
  }

  TraceFile file_;
  const Names& names_;
  WriterOptions options_;
  std::unique_ptr<SegmentEncoder> encoder_;
  std::uint64_t ended_ = 0;    // Events of the segments before.
  Status failed_;              // Once writing has failed, nothing more is written …
  std::uint64_t refused_ = 0;  // … and the event with which it did was not taken.
  // Where segments are written behind: the one that is, or the next.
  std::unique_ptr<SegmentEncoder> other_;
  std::unique_ptr<Appender> appender_;
};

}  // namespace

Status Writer::add_view(const EventView& view) {
  Event event;
  (void)make_event(view, event);
  return add_checked(event);
}

std::unique_ptr<Writer> create_trace(const std::string& path, const Names& names,
                                     const WriterOptions& options, Status& status) {
  // What users asked an engine is not in it, but who they are may be.
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) {
    status =
        system_error(path + ": cannot be created: " + std::strerror(errno) + advice(path, errno));
    return nullptr;
  }
  struct stat file {};
  if (::fstat(fd, &file) == 0 && S_ISREG(file.st_mode))
    (void)::fchmod(fd, 0600);  // Of another one.
  auto writer = std::make_unique<FileWriter>(fd, path, names, options);
  status = writer->begin();
  if (!status.ok()) return nullptr;
  return writer;
}

}  // namespace pagetape
