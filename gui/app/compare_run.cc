// SPDX-License-Identifier: Apache-2.0
#include "gui/app/compare_run.h"

#include <utility>

namespace pagetape {

CompareRun::CompareRun(std::string first, std::string second)
    : first_(std::move(first)),
      second_(std::move(second)),
      told_{.doing = "comparing", .at = 0, .comparison = nullptr},
      thread_([this] { run(); }) {}

CompareRun::~CompareRun() {
  stop();
  wait();
}

void CompareRun::wait() {
  if (thread_.joinable()) thread_.join();
}

CompareRun::Told CompareRun::told() const {
  const std::lock_guard lock(mutex_);
  return told_;
}

void CompareRun::run() {
  auto made = compare(first_, second_, [this](const std::string& doing, EventIndex at) {
    const std::lock_guard lock(mutex_);
    told_.doing = doing;
    told_.at = at;
    return !stopped_;
  });
  {
    const std::lock_guard lock(mutex_);
    told_ = {.doing = "", .at = 0, .comparison = std::move(made)};
  }
  over_ = true;
}

}  // namespace pagetape
