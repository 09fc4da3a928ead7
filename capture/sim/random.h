// SPDX-License-Identifier: Apache-2.0
// The simulated engine's random numbers: the same on every machine and library.
#pragma once

#include <cstdint>

namespace pagetape::sim {

// splitmix64 (Steele, Lea, Flood 2014).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // Uniform in [0, n); n >= 1 and small beside 2^32, so that the bias does not matter.
  std::uint64_t below(std::uint64_t n) { return (next() >> 32) * n >> 32; }
  bool percent(int chance) { return below(100) < static_cast<std::uint64_t>(chance); }

 private:
  std::uint64_t state_;
};

}  // namespace pagetape::sim
