// SPDX-License-Identifier: Apache-2.0
#include "capture/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>

namespace pagetape {

static Status failure(const std::string& path, int error) {
  return system_error(path + ": cannot be written: " + std::strerror(error));
}

// A length of four bytes, then the text; the ring's path comes first.
static void put(std::string& to, std::string_view text) {
  const auto bytes = static_cast<std::uint32_t>(text.size());
  to.append(reinterpret_cast<const char*>(&bytes), sizeof(bytes));
  to += text;
}

std::unique_ptr<Journal> Journal::create(const std::string& path, const std::string& ring,
                                         Status& status) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) {
    status = failure(path, errno);
    return nullptr;
  }
  auto journal = std::unique_ptr<Journal>(new Journal(path, fd));
  journal->add(ring);
  status = journal->sync();
  return status.ok() ? std::move(journal) : nullptr;
}

Journal::~Journal() { ::close(fd_); }

void Journal::add(std::string_view name) { put(waiting_, name); }

Status Journal::sync() {
  std::size_t done = 0;
  while (done < waiting_.size()) {
    const ssize_t n = ::write(fd_, waiting_.data() + done, waiting_.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failure(path_, errno);
    done += static_cast<std::size_t>(n);
  }
  waiting_.clear();
  return {};
}

Status read_journal(const std::string& path, JournalContent& content) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return system_error(path + ": cannot be opened");
  const std::string all{std::istreambuf_iterator<char>(file), {}};
  std::string_view rest = all;
  bool first = true;
  while (rest.size() >= sizeof(std::uint32_t)) {
    std::uint32_t bytes;
    std::memcpy(&bytes, rest.data(), sizeof(bytes));
    rest.remove_prefix(sizeof(bytes));
    if (bytes > rest.size()) break;
    if (first) {
      content.ring = rest.substr(0, bytes);
    } else {
      content.names.emplace_back(rest.substr(0, bytes));
    }
    first = false;
    rest.remove_prefix(bytes);
  }
  return first ? damaged(path + ": no journal of a recording") : Status();
}

}  // namespace pagetape
