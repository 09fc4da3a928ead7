// SPDX-License-Identifier: Apache-2.0
// Threads that share the items of one piece of work after another.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace pagetape {

// Owns its threads. One piece of work at a time; run() is called by one thread.
class Team {
 public:
  // `threads` counts the caller, who works too; 0: as many as the machine has.
  explicit Team(unsigned threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  unsigned size() const { return static_cast<unsigned>(threads_.size()) + 1; }

  // Calls work(item, member) for each item below `items`, in any order, on any member (below
  // size()), and returns when all are done. `work` must not throw.
  using Work = std::function<void(std::size_t item, unsigned member)>;
  void run(std::size_t items, const Work& work);

 private:
  void serve(unsigned member);
  void work_on(unsigned member);

  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable begin_, done_;
  const Work* work_ = nullptr;
  std::size_t items_ = 0;
  std::atomic<std::size_t> next_{0};
  unsigned busy_ = 0;
  std::uint64_t round_ = 0;
  bool stop_ = false;
};

}  // namespace pagetape
