// SPDX-License-Identifier: Apache-2.0
// A version number that remembers, for its last few moves, the least index each one touched.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace pagetape {

// Whoever judged the elements below some index at a version can ask from which index on to judge
// again. Touches beyond kKept versions ago are forgotten: then the answer is 0.
class ChangeLog {
 public:
  std::uint32_t version() const { return version_; }

  void touch(std::int64_t index) {
    ++version_;
    low_[version_ % kKept] =
        static_cast<std::int32_t>(std::clamp<std::int64_t>(index, 0, INT32_MAX));
  }

  // The least index touched after `version`; INT32_MAX where none was.
  std::int64_t low_since(std::uint32_t version) const {
    if (version == version_) [[likely]]
      return INT32_MAX;
    std::int32_t low = low_[version_ % kKept];
    if (version_ - version > kKept) return 0;
    for (std::uint32_t v = version + 1; v != version_; ++v) {
      low = std::min(low, low_[v % kKept]);
    }
    return low;
  }

  bool operator==(const ChangeLog&) const = default;

  template <class A>
  void visit(A& a) {
    a(version_);
    for (auto& low : low_) a(low);
  }

 private:
  static constexpr std::uint32_t kKept = 8;
  std::uint32_t version_ = 0;
  std::array<std::int32_t, kKept> low_{};
};

}  // namespace pagetape
