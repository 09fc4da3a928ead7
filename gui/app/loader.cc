// SPDX-License-Identifier: Apache-2.0
#include "gui/app/loader.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <utility>

namespace pagetape {

using Clock = std::chrono::steady_clock;

static double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

static std::uintmax_t size_of(const std::string& path) {
  std::error_code error;
  const std::uintmax_t bytes = std::filesystem::file_size(path, error);
  return error ? 0 : bytes;
}

Loader::Loader(std::string path, bool follow) : path_(std::move(path)) {
  loading_.tell = [this](std::unique_ptr<OpenTrace> trace) { put(std::move(trace)); };
  thread_ = std::thread([this, follow] { run(follow); });
}

Loader::~Loader() {
  loading_.cancel = true;
  thread_.join();
}

void Loader::put(std::unique_ptr<OpenTrace> trace) {
  const std::lock_guard lock(mutex_);
  // Just the first has a place: whoever takes a later one needs it.
  if (newest_ != nullptr && trace->place == nullptr) trace->place = std::move(newest_->place);
  newest_ = std::move(trace);
}

std::unique_ptr<OpenTrace> Loader::take() {
  const std::lock_guard lock(mutex_);
  return std::move(newest_);
}

Status Loader::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

double Loader::share() const {
  const auto events = static_cast<double>(std::max<std::uint64_t>(loading_.events, 1));
  return std::min(1.0, static_cast<double>(loading_.done) / events);
}

void Loader::run(bool follow) {
  for (;;) {
    const Clock::time_point begin = Clock::now();
    const std::uintmax_t bytes = size_of(path_);
    Status status;
    std::unique_ptr<OpenTrace> trace = load_trace(path_, loading_, status);
    const bool opened = trace != nullptr, ended = opened && trace->index.ended;
    {
      const std::lock_guard lock(mutex_);
      status_ = status;
      if (opened) newest_ = std::move(trace);
    }
    // A file of which nothing can be read yet may just have begun.
    if (!follow || ended || !wait_for_growth(bytes, 3 * seconds_since(begin))) break;
    loading_.tell = nullptr;  // What is shown already is more than half of a file is.
  }
  over_ = true;
}

// At least so long, so that reading again takes a quarter of a core at the most. False: stop.
bool Loader::wait_for_growth(std::uintmax_t bytes, double seconds) const {
  constexpr std::chrono::milliseconds kLook{100};
  const Clock::time_point begin = Clock::now();
  while (!loading_.cancel) {
    if (seconds_since(begin) >= std::max(seconds, 0.5) && size_of(path_) > bytes) return true;
    std::this_thread::sleep_for(kLook);
  }
  return false;
}

}  // namespace pagetape
