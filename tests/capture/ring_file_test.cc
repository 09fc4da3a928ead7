// SPDX-License-Identifier: Apache-2.0
#include "capture/ring_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/replay/replay_fixture.h"

namespace pagetape {
namespace {

// A process that has a ring open, until it is ended.
class Engine {
 public:
  explicit Engine(const std::string& folder) {
    int ready[2];
    if (pipe(ready) != 0) std::abort();
    pid_ = fork();
    if (pid_ == 0) {
      Status status;
      const auto ring = RingFile::create(folder, 1 << 12, 3, status);
      (void)!write(ready[1], ring != nullptr ? "y" : "n", 1);
      pause();
      _exit(0);
    }
    char answer = 0;
    (void)!read(ready[0], &answer, 1);
    EXPECT_EQ(answer, 'y');
    close(ready[0]);
    close(ready[1]);
  }
  ~Engine() { end(); }
  void end() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

std::string only_file(const std::string& folder) {
  std::string found;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) found = entry.path();
  return found;
}

TEST(RingFile, IsItsUsersAloneUnderANameNobodyCanGuess) {
  const ScratchFolder folder;
  Status status;
  const auto ring = RingFile::create(folder.file(""), 1 << 12, -1, status);
  ASSERT_NE(ring, nullptr) << status.message();
  struct stat file {};
  ASSERT_EQ(stat(ring->path().c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600u);
  EXPECT_EQ(std::filesystem::path(ring->path()).stem().string().size(), 32u);
  EXPECT_NE(random_name(), random_name());
}

TEST(RingFile, TellsWhetherItsProcessIsThere) {
  const ScratchFolder folder;
  Engine engine(folder.file(""));
  Status status;
  const auto ring = RingFile::open(only_file(folder.file("")), status);
  ASSERT_NE(ring, nullptr) << status.message();
  EXPECT_EQ(ring->header().pid, static_cast<std::uint32_t>(engine.pid()));
  EXPECT_EQ(ring->header().rank, 3);
  EXPECT_TRUE(ring->written());
  EXPECT_TRUE(ring->thread_lives(static_cast<std::uint32_t>(engine.pid())));
  EXPECT_FALSE(ring->thread_lives(1));
  engine.end();
  EXPECT_FALSE(ring->written());
}

TEST(RingFile, OneProcessReadsAtATime) {
  const ScratchFolder folder;
  const Engine engine(folder.file(""));
  const std::string path = only_file(folder.file(""));
  Status status;
  const auto ring = RingFile::open(path, status);
  ASSERT_NE(ring, nullptr);
  const pid_t other = fork();
  if (other == 0) {
    Status refused;
    _exit(RingFile::open(path, refused) == nullptr &&
                  refused.message().find("another process reads it") != std::string::npos
              ? 0
              : 1);
  }
  int result = 1;
  waitpid(other, &result, 0);
  EXPECT_EQ(result, 0);
}

TEST(RingFile, WhatOthersMayOpenOrIsNoneIsRefused) {
  const ScratchFolder folder;
  const Engine engine(folder.file(""));
  const std::string path = only_file(folder.file(""));
  Status status;
  chmod(path.c_str(), 0640);
  EXPECT_EQ(RingFile::open(path, status), nullptr);
  EXPECT_NE(status.message().find("others may open"), std::string::npos);
  chmod(path.c_str(), 0600);
  const std::string link = folder.file("link");
  ASSERT_EQ(symlink(path.c_str(), link.c_str()), 0);
  EXPECT_EQ(RingFile::open(link, status), nullptr);
  const std::string text = folder.write("text.ring", "hello");
  chmod(text.c_str(), 0600);
  EXPECT_EQ(RingFile::open(text, status), nullptr);
  EXPECT_NE(status.message().find("no ring of pagetape"), std::string::npos);
  EXPECT_EQ(RingFile::open(folder.file("nowhere"), status), nullptr);
}

TEST(RingFile, ARingOfAnotherUserIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  const ScratchFolder folder;
  const Engine engine(folder.file(""));
  const std::string path = only_file(folder.file(""));
  if (chown(path.c_str(), 1, 1) != 0) GTEST_SKIP() << "a sandbox keeps files from being given away";
  Status status;
  EXPECT_EQ(RingFile::open(path, status), nullptr);
  EXPECT_NE(status.message().find("a ring of another user"), std::string::npos);
}

TEST(RingFile, WhatIsDoneToACopyStaysThere) {
  const ScratchFolder folder;
  const Engine engine(folder.file(""));
  const std::string path = only_file(folder.file(""));
  Status status;
  {
    const auto copy = RingFile::open_copy(path, status);
    ASSERT_NE(copy, nullptr);
    std::memset(copy->memory(), 0, 64);
  }
  EXPECT_NE(RingFile::open(path, status), nullptr);
}

TEST(RingFile, AFolderThatIsNotThereIsSaid) {
  Status status;
  EXPECT_EQ(RingFile::create("/nowhere/at/all", 1 << 12, -1, status), nullptr);
  EXPECT_NE(status.message().find("/nowhere/at/all"), std::string::npos);
}

}  // namespace
}  // namespace pagetape
