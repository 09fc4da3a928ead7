// SPDX-License-Identifier: Apache-2.0
// What a ring no longer holds and its trace does not: the names behind callers' ids. Kept beside
// the trace while it is written, so that the rest of the ring can be read after the collector died.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "traces/status.h"

namespace pagetape {

inline constexpr char kJournalSuffix[] = ".journal";  // Behind the trace's name.

class Journal {
 public:
  // Creates the file, or takes the place of one that is there.
  static std::unique_ptr<Journal> create(const std::string& path, const std::string& ring,
                                         Status& status);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  void add(std::string_view name);
  // Hands what was added to the operating system.
  Status sync();

 private:
  Journal(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  std::string path_;
  int fd_;
  std::string waiting_;
};

struct JournalContent {
  std::string ring;  // Its path.
  std::vector<std::string> names;
};
// A last name that was cut is left out: the ring still has it.
Status read_journal(const std::string& path, JournalContent& content);

}  // namespace pagetape
