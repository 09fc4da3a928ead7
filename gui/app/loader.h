// SPDX-License-Identifier: Apache-2.0
// A trace that is opened, read and, where told so, followed while it grows, in a thread.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "gui/app/trace_index.h"

namespace pagetape {

class Loader {
 public:
  // `follow`: as long as the file grows, and no `end` was read, it is read again.
  Loader(std::string path, bool follow);
  ~Loader();  // Stops it.
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // What is known by now; null where it was taken before. The first comes before anything but the
  // file's index was read (TraceIndex::read_to), for a trace with one within milliseconds.
  std::unique_ptr<OpenTrace> take();
  // Of the reading at hand: from 0 to 1.
  double share() const;
  bool over() const { return over_; }
  Status status() const;  // Why nothing could be opened.

 private:
  void run(bool follow);
  bool wait_for_growth(std::uintmax_t bytes, double seconds) const;
  void put(std::unique_ptr<OpenTrace> trace);

  const std::string path_;
  Loading loading_;
  std::atomic<bool> over_ = false;
  mutable std::mutex mutex_;  // Of what follows.
  std::unique_ptr<OpenTrace> newest_;
  Status status_;
  std::thread thread_;
};

}  // namespace pagetape
