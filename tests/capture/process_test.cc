// SPDX-License-Identifier: Apache-2.0
#include "capture/process.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace pagetape {
namespace {

ptape_recorder* opened(const std::string& name) {
  const std::string path = testing::TempDir() + "/" + name + ".jsonl";
  ptape_options options{};
  options.size = sizeof(options);
  options.path = path.c_str();
  options.rank = -1;
  return ptape_open(&options);
}

TEST(Process, TheRecorderOpenedLastAndNotClosedIsBorrowed) {
  std::uint32_t number = 7;
  EXPECT_EQ(ptape_borrow(&number), nullptr);
  EXPECT_EQ(number, 0u);
  ptape_recorder* first = opened("process_first");
  ptape_recorder* second = opened("process_second");
  std::uint32_t of_second = 0;
  EXPECT_EQ(ptape_borrow(&of_second), second);
  ptape_give_back(second);
  EXPECT_EQ(ptape_close(second), PTAPE_OK);
  EXPECT_EQ(ptape_borrow(&number), first);
  ptape_give_back(first);
  EXPECT_EQ(number + 1, of_second);
  EXPECT_EQ(ptape_close(first), PTAPE_OK);
  EXPECT_EQ(ptape_borrow(nullptr), nullptr);
}

TEST(Process, CloseWaitsForWhoBorrowed) {
  for (int round = 0; round < 10; ++round) {
    ptape_recorder* recorder = opened("process_close");
    std::atomic<bool> borrowed{false}, end{false};
    std::thread other([&] {
      while (!end) {
        ptape_recorder* mine = ptape_borrow(nullptr);
        if (mine == nullptr) continue;
        EXPECT_EQ(ptape_stream_wait(mine, nullptr, 2), PTAPE_OK);  // Of freed memory otherwise.
        ptape_give_back(mine);
        borrowed = true;
      }
    });
    while (!borrowed) std::this_thread::yield();
    EXPECT_EQ(ptape_close(recorder), PTAPE_OK);
    end = true;
    other.join();
  }
}

TEST(Process, AForkedChildHasNoRecorder) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer's run time cannot start a thread in a forked child";
#endif
  ptape_recorder* recorder = opened("process_fork");
  ASSERT_EQ(ptape_borrow(nullptr), recorder);  // A borrower that the child does not have.
  const pid_t child = fork();
  if (child == 0) {
    if (ptape_borrow(nullptr) != nullptr) _exit(1);
    ptape_recorder* own = opened("process_child");
    if (ptape_borrow(nullptr) != own) _exit(2);
    ptape_give_back(own);
    _exit(ptape_close(own) == PTAPE_OK ? 0 : 3);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  ptape_give_back(recorder);
  EXPECT_EQ(ptape_close(recorder), PTAPE_OK);
}

TEST(Process, AStreamKeepsItsNumberInEveryThread) {
  const auto stream = [](std::uint64_t handle) {
    return ptape_stream(reinterpret_cast<const void*>(handle));
  };
  constexpr std::uint64_t kHandle = 0x5500'0000'1000;
  EXPECT_GE(stream(0), 2);
  EXPECT_EQ(stream(0), stream(1));  // CU_STREAM_LEGACY
  std::vector<std::int32_t> found(4);
  std::vector<std::thread> threads;
  for (std::int32_t& number : found) threads.emplace_back([&] { number = stream(kHandle); });
  for (std::thread& thread : threads) thread.join();
  for (const std::int32_t number : found) EXPECT_EQ(number, stream(kHandle));
  EXPECT_NE(stream(kHandle), stream(0));
  EXPECT_NE(stream(kHandle), stream(kHandle + 64));
  std::int32_t others = 0;
  std::thread([&] { others = stream(2); }).join();  // CU_STREAM_PER_THREAD
  EXPECT_NE(others, stream(2));
}

TEST(Process, ATableIsFoundByAnyOfItsBytesUntilItIsRemoved) {
  ptape_recorder* recorder = opened("process_tables");
  const int owner = 0;
  add_table_range({&owner, recorder, 5, 1000, 1064});
  const auto found = [&](std::uint64_t begin, std::uint64_t end) {
    ptape_name name = 0;
    for_each_table(
        recorder, begin, end,
        [](void* to, ptape_name buffer) { *static_cast<ptape_name*>(to) = buffer; }, &name);
    return name;
  };
  EXPECT_EQ(found(1063, 2000), 5u);
  EXPECT_EQ(found(900, 1001), 5u);
  EXPECT_EQ(found(1064, 2000), 0u);
  EXPECT_EQ(found(900, 1000), 0u);
  remove_table_range(&owner);
  EXPECT_EQ(found(1000, 1064), 0u);
  EXPECT_EQ(ptape_close(recorder), PTAPE_OK);
}

}  // namespace
}  // namespace pagetape
