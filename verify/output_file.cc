// SPDX-License-Identifier: Apache-2.0
#include "verify/output_file.h"

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace pagetape {

namespace fs = std::filesystem;

Status OutputFile::refused(const char* what) const {
  return system_error(path_ + ": cannot be " + what + ": " + std::strerror(errno));
}

OutputFile::~OutputFile() {
  if (file_ != nullptr && !temporary_.empty()) std::remove(temporary_.c_str());
}

Status OutputFile::open(const std::string& path) {
  path_ = path.empty() ? "standard output" : path;
  if (path.empty()) {
    file_.reset(stdout);
    return {};
  }
  std::error_code error;
  const fs::path target = fs::weakly_canonical(path, error);  // Through a link, which stays.
  target_ = error ? path : target.string();
  const fs::file_status there = fs::status(target_, error);
  if (fs::is_directory(there)) return system_error(path + ": cannot be written: it is a folder");
  if (fs::exists(there) && !fs::is_regular_file(there)) {
    file_.reset(std::fopen(target_.c_str(), "w"));
    return file_ == nullptr ? refused("written") : Status();
  }
  // "x": what another process writes at this moment is left alone.
  for (int i = 0; file_ == nullptr && i < 100; ++i) {
    temporary_ = target_ + ".partial" + (i == 0 ? "" : std::to_string(i));
    file_.reset(std::fopen(temporary_.c_str(), "wx"));
    if (file_ == nullptr && errno != EEXIST) break;
  }
  return file_ == nullptr ? refused("written") : Status();
}

Status OutputFile::write(std::string_view text) {
  if (text.empty()) return {};  // It may have no address, which fwrite does not take.
  const bool written = std::fwrite(text.data(), 1, text.size(), file_.get()) == text.size();
  return written ? Status() : refused("written");
}

Status OutputFile::commit(std::string_view text) {
  if (Status status = write(text); !status.ok()) return status;
  if (std::fflush(file_.get()) != 0) return refused("written");
  if (!temporary_.empty() && std::rename(temporary_.c_str(), target_.c_str()) != 0) {
    return refused("put in place");
  }
  file_.reset();
  return {};
}

}  // namespace pagetape
