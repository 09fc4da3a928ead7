// SPDX-License-Identifier: Apache-2.0
// A comparison that is made in a thread.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "gui/app/comparison.h"

namespace pagetape {

class CompareRun {
 public:
  CompareRun(std::string first, std::string second);
  ~CompareRun();  // Stops it.
  CompareRun(const CompareRun&) = delete;
  CompareRun& operator=(const CompareRun&) = delete;

  struct Told {
    std::string doing;  // "comparing"; empty: over.
    EventIndex at = 0;
    std::shared_ptr<const Comparison> comparison;  // Null until it is over.
  };
  Told told() const;  // From any thread.
  bool over() const { return over_; }
  void stop() { stopped_ = true; }
  void wait();

 private:
  void run();

  const std::string first_, second_;
  std::atomic<bool> stopped_ = false, over_ = false;
  mutable std::mutex mutex_;  // Of what is told.
  Told told_;
  std::thread thread_;
};

}  // namespace pagetape
