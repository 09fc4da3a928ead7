// SPDX-License-Identifier: Apache-2.0
// Work in a thread that tells how far it is, and can be stopped.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace pagetape {

// `Told`: a value, what the work tells those who look on.
template <class Told>
class Background {
 public:
  using Work = std::function<void(Background&)>;

  explicit Background(Work work, Told begin = {})
      : told_(std::move(begin)), thread_([this, work = std::move(work)] {
          work(*this);
          over_ = true;
        }) {}
  ~Background() {  // Stops it.
    stop();
    wait();
  }
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  // For those who look on: `told` and `over` from any thread.
  Told told() const {
    const std::lock_guard lock(mutex_);
    return told_;
  }
  bool over() const { return over_; }
  void stop() { stopped_ = true; }
  void wait() {
    if (thread_.joinable()) thread_.join();
  }

  // For the work. `change` (Told&) changes what is told.
  bool stopped() const { return stopped_; }
  template <class Change>
  void tell(Change&& change) {
    const std::lock_guard lock(mutex_);
    change(told_);
  }

 private:
  std::atomic<bool> stopped_ = false, over_ = false;
  mutable std::mutex mutex_;  // Of what is told.
  Told told_;
  std::thread thread_;
};

}  // namespace pagetape
