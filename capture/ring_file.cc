// SPDX-License-Identifier: Apache-2.0
#include "capture/ring_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "capture/journal.h"

namespace pagetape {
namespace {

constexpr std::size_t kLeastTried = 1u << 20;

// Who writes holds a lock on the first byte, who reads one on the second.
constexpr off_t kWriterByte = 0, kReaderByte = 1;

struct flock lock_of(off_t byte) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return lock;
}

bool try_lock(int fd, off_t byte) {
  struct flock lock = lock_of(byte);
  return fcntl(fd, F_SETLK, &lock) == 0;
}

Status failure(const std::string& path, const char* what, int error) {
  return system_error(path + ": " + what + ": " + std::strerror(error));
}

void* map(int fd, std::size_t bytes, int sharing) {
  return mmap(nullptr, bytes, PROT_READ | PROT_WRITE, sharing | MAP_POPULATE, fd, 0);
}

// A file that was not announced.
class Unfinished {
 public:
  Unfinished(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  ~Unfinished() {
    if (fd_ < 0) return;
    ::close(fd_);
    ::unlink(path_.c_str());
  }
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;
  int release() { return std::exchange(fd_, -1); }

 private:
  std::string path_;
  int fd_;
};

// A plain file of this user's that nobody else may open.
Status check_file(const std::string& path, const struct stat& file) {
  if (!S_ISREG(file.st_mode)) return usage(path + ": no file");
  if (file.st_uid != geteuid()) return usage(path + ": a ring of another user");
  if ((file.st_mode & 077) != 0) return usage(path + ": a ring that others may open");
  return {};
}

}  // namespace

std::string random_name() {
  unsigned char bytes[16];
  std::size_t done = 0;
  while (done < sizeof(bytes)) {
    const ssize_t n = getrandom(bytes + done, sizeof(bytes) - done, 0);
    if (n > 0) done += static_cast<std::size_t>(n);
  }
  std::string name;
  for (const unsigned char byte : bytes) {
    name += "0123456789abcdef"[byte >> 4];
    name += "0123456789abcdef"[byte & 15];
  }
  return name;
}

std::string free_trace(const std::string& folder, std::uint32_t pid, std::int32_t rank) {
  char host[256] = "host";
  (void)gethostname(host, sizeof(host) - 1);
  std::string stem = folder + '/' + host + '-' + std::to_string(pid);
  if (rank >= 0) stem += "-rank" + std::to_string(rank);
  // A process id comes back, and a process may record twice. A flight recorder's trace comes last.
  const auto taken = [](const std::string& name) {
    return ::access(name.c_str(), F_OK) == 0 ||
           ::access((name + kJournalSuffix).c_str(), F_OK) == 0;
  };
  std::string name = stem + ".ptape";
  for (int n = 2; taken(name); ++n) name = stem + '-' + std::to_string(n) + ".ptape";
  return name;
}

std::unique_ptr<RingFile> RingFile::create(const std::string& folder, std::size_t data_bytes,
                                           std::int32_t rank, Status& status) {
  const std::string path = folder + '/' + random_name() + kRingSuffix, hidden = path + ".new";
  const int fd =
      ::open(hidden.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
  if (fd < 0) {
    status = failure(folder, "no ring can be made", errno);
    return nullptr;
  }
  Unfinished file(hidden, fd);
  // All of its memory now: a page that is missing later would be a SIGBUS of the engine's.
  int error = posix_fallocate(fd, 0, static_cast<off_t>(ring_bytes(data_bytes)));
  while (error == ENOSPC && data_bytes / 2 >= kLeastTried) {
    if (::ftruncate(fd, 0) != 0) break;
    data_bytes /= 2;
    error = posix_fallocate(fd, 0, static_cast<off_t>(ring_bytes(data_bytes)));
  }
  const std::size_t bytes = ring_bytes(data_bytes);
  void* memory = error == 0 ? map(fd, bytes, MAP_SHARED) : MAP_FAILED;
  if (memory == MAP_FAILED) {
    status = failure(folder, "no room for a ring", error != 0 ? error : errno);
    return nullptr;
  }
  format_ring(memory, data_bytes, rank);
  if (!try_lock(fd, kWriterByte) || std::rename(hidden.c_str(), path.c_str()) != 0) {
    status = failure(path, "the ring cannot be announced", errno);
    munmap(memory, bytes);
    return nullptr;
  }
  status = {};
  return std::unique_ptr<RingFile>(new RingFile(path, file.release(), memory, bytes));
}

std::unique_ptr<RingFile> RingFile::open(const std::string& path, Status& status) {
  return open_as(path, MAP_SHARED, status);
}

std::unique_ptr<RingFile> RingFile::open_copy(const std::string& path, Status& status) {
  return open_as(path, MAP_PRIVATE, status);
}

std::unique_ptr<RingFile> RingFile::open_as(const std::string& path, int sharing, Status& status) {
  status = {};
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) {
    status = failure(path, "cannot be opened", errno);
    return nullptr;
  }
  struct stat file {};
  if (fstat(fd, &file) != 0) {
    status = failure(path, "cannot be looked at", errno);
  } else if (status = check_file(path, file); !status.ok()) {
  } else if (!try_lock(fd, kReaderByte)) {
    status = usage(path + ": another process reads it");
  } else if (static_cast<std::size_t>(file.st_size) < kRingHeaderPage) {
    status = usage(path + ": no ring of pagetape");
  }
  const auto bytes = static_cast<std::size_t>(file.st_size);
  void* memory = status.ok() ? map(fd, bytes, sharing) : MAP_FAILED;
  if (status.ok() && memory == MAP_FAILED) status = failure(path, "cannot be mapped", errno);
  if (status.ok()) {
    status = check_ring(memory, bytes, geteuid());
    if (!status.ok()) {
      status = Status(status.code(), path + ": " + status.message());
      munmap(memory, bytes);
    }
  }
  if (!status.ok()) {
    ::close(fd);
    return nullptr;
  }
  return std::unique_ptr<RingFile>(new RingFile(path, fd, memory, bytes));
}

RingFile::~RingFile() {
  munmap(memory_, bytes_);
  ::close(fd_);
}

bool RingFile::written() const {
  struct flock lock = lock_of(kWriterByte);
  return fcntl(fd_, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool RingFile::thread_lives(std::uint32_t thread) const {
  struct flock lock = lock_of(kWriterByte);
  if (fcntl(fd_, F_GETLK, &lock) != 0) return true;
  if (lock.l_type == F_UNLCK) return false;
  // Of a process in another namespace the kernel gives our number, the ring its own.
  if (static_cast<std::uint32_t>(lock.l_pid) != header().pid) return true;
  const std::string task =
      "/proc/" + std::to_string(lock.l_pid) + "/task/" + std::to_string(thread);
  return access(task.c_str(), F_OK) == 0;
}

}  // namespace pagetape
