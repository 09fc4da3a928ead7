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
  static constexpr std::int64_t kToTheEnd = INT32_MAX;

  std::uint32_t version() const { return version_; }

  // Elements [index, end) are not as they were.
  void touch(std::int64_t index, std::int64_t end = kToTheEnd) {
    ++version_;
    low_[version_ % kKept] = within(index);
    end_[version_ % kKept] = within(end);
  }

  // The least index touched after `version`; INT32_MAX where none was. To whoever looks at elements
  // from `from` on alone, touches of those before are none.
  std::int64_t low_since(std::uint32_t version, std::int64_t from = 0) const {
    if (version == version_) [[likely]]
      return INT32_MAX;
    if (version_ - version > kKept) return 0;
    std::int32_t low = INT32_MAX;
    for (std::uint32_t v = version_; v != version; --v) {
      if (end_[v % kKept] > from) low = std::min(low, low_[v % kKept]);
    }
    return low;
  }

  bool operator==(const ChangeLog& other) const {
    return version_ == other.version_ && low_ == other.low_;
  }

  template <class A>
  void visit(A& a) {
    a(version_);
    for (auto& low : low_) a(low);
  }

 private:
  static constexpr std::uint32_t kKept = 8;
  static std::int32_t within(std::int64_t index) {
    return static_cast<std::int32_t>(std::clamp<std::int64_t>(index, 0, INT32_MAX));
  }
  static constexpr std::array<std::int32_t, kKept> all_to_the_end() {
    std::array<std::int32_t, kKept> ends{};
    ends.fill(INT32_MAX);
    return ends;
  }

  std::uint32_t version_ = 0;
  std::array<std::int32_t, kKept> low_{};
  std::array<std::int32_t, kKept> end_ = all_to_the_end();  // Not in a keyframe: forgotten there.
};

}  // namespace pagetape
