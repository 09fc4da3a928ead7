// SPDX-License-Identifier: Apache-2.0
// Which of some numbered things were touched of late.
#pragma once

#include <array>
#include <cstdint>

namespace pagetape {

// For whoever knows something of many of them and asks again and again: what to look at again is
// as little as was touched. Derived for observers, no part of a keyframe.
class TouchLog {
 public:
  void touch(std::uint32_t index) {
    // One thing is touched many times in a row, with each page of a request: once will do.
    if (count_ > heard_ && recent_[(count_ - 1) % kKept] == index) return;
    recent_[count_++ % kKept] = index;
  }
  void touch_all() { count_ += kKept + 1; }
  // Touches so far, which is what to ask with the next time.
  std::uint64_t count() const { return heard_ = count_; }

  // Calls f(index) for each touch after the first `count`. False where some are forgotten, or all
  // were touched.
  template <class F>
  bool since(std::uint64_t count, F&& f) const {
    if (count > count_ || count_ - count > kKept) return false;
    for (; count < count_; ++count) f(recent_[count % kKept]);
    return true;
  }

 private:
  static constexpr std::uint64_t kKept = 256;
  std::array<std::uint32_t, kKept> recent_{};
  std::uint64_t count_ = 0;
  mutable std::uint64_t heard_ = 0;  // Touches that someone may have heard of.
};

}  // namespace pagetape
