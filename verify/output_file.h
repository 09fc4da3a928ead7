// SPDX-License-Identifier: Apache-2.0
// A file that is there complete or not at all.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "traces/status.h"

namespace pagetape {

// Opened before the work that fills it, so that a path that cannot be written is refused at once.
// What is written stands beside the path under a temporary name until commit() puts it in place of
// what was there; without it nothing changes. What is no regular file (a pipe, /dev/stdout) cannot
// be put in place: it is written as write() and commit() are called.
class OutputFile {
 public:
  OutputFile() = default;
  OutputFile(OutputFile&& other) noexcept = default;
  ~OutputFile();

  // "": standard output.
  Status open(const std::string& path);
  bool is_open() const { return file_ != nullptr; }
  // Adds to what commit() puts in place.
  Status write(std::string_view text);
  Status commit(std::string_view text = {});

 private:
  struct Close {
    void operator()(std::FILE* file) const {
      if (file != stdout) std::fclose(file);
    }
  };

  Status refused(const char* what) const;

  std::string path_, target_, temporary_;  // `temporary_`: "" where it writes through.
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace pagetape
