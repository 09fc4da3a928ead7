// SPDX-License-Identifier: Apache-2.0
#include "capture/text_writer.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "traces/text.h"

namespace pagetape {
namespace {

class TextWriter final : public Writer {
 public:
  TextWriter(std::string path, std::FILE* file, const Names& names)
      : path_(std::move(path)), file_(file), names_(names) {}
  ~TextWriter() override {
    if (file_ != nullptr) std::fclose(file_);
  }

  Status add(const Event& event) override {
    std::string line = print_event(event, names_);
    line += '\n';
    if (std::fwrite(line.data(), 1, line.size(), file_) != line.size()) return failure();
    bytes_ += line.size();
    ++events_;
    return {};
  }
  Status add_keyframe(std::string_view, std::uint64_t) override { return {}; }
  Status flush() override { return std::fflush(file_) == 0 ? Status() : failure(); }
  Status close() override {
    return std::fclose(std::exchange(file_, nullptr)) == 0 ? Status() : failure();
  }
  std::uint64_t events() const override { return events_; }
  std::uint64_t bytes() const override { return bytes_; }

 private:
  Status failure() const {
    return system_error(path_ + ": cannot be written (" + std::strerror(errno) +
                        "). What was written before stands; make room and record again.");
  }

  const std::string path_;
  std::FILE* file_;
  const Names& names_;
  std::uint64_t events_ = 0, bytes_ = 0;
};

}  // namespace

std::unique_ptr<Writer> create_text_trace(const std::string& path, const Names& names,
                                          Status& status) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  std::FILE* file = fd < 0 ? nullptr : ::fdopen(fd, "w");
  if (file == nullptr) {
    status = system_error(path + ": cannot be created (" + std::strerror(errno) + ").");
    return nullptr;
  }
  status = {};
  return std::make_unique<TextWriter>(path, file, names);
}

}  // namespace pagetape
