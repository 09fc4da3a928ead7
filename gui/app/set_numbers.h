// SPDX-License-Identifier: Apache-2.0
// Sets that come again and again, kept once each.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "traces/ids.h"

namespace pagetape {

// Sorted vectors by number. Number 0 is of those that found no room: what is in them is not known.
template <class T>
using Sets = std::vector<std::vector<T>>;

// Numbers sets, and puts them into a table of somebody else's.
template <class T>
class SetNumbers {
 public:
  // So many members in all find room.
  SetNumbers(Sets<T>& sets, std::size_t most) : sets_(sets), most_(most) { sets_.assign(1, {}); }

  std::uint32_t of(std::vector<T>&& set) {
    const std::uint64_t hash = hash_of(set);
    const auto [begin, end] = numbers_.equal_range(hash);
    for (auto it = begin; it != end; ++it) {
      if (sets_[it->second] == set) return it->second;
    }
    if (members_ + set.size() > most_) return 0;
    members_ += set.size();
    const auto number = static_cast<std::uint32_t>(sets_.size());
    sets_.push_back(std::move(set));
    numbers_.emplace(hash, number);
    return number;
  }

 private:
  static std::uint64_t word(Name name) { return raw(name); }
  static std::uint64_t word(Layer layer) { return static_cast<std::uint32_t>(layer.v); }
  static std::uint64_t hash_of(const std::vector<T>& set) {
    std::uint64_t hash = set.size();
    for (const T& member : set) {
      hash = (hash ^ word(member)) * 0x9e3779b97f4a7c15U;
      hash ^= hash >> 32;
    }
    return hash;
  }

  Sets<T>& sets_;
  const std::size_t most_;
  std::size_t members_ = 0;
  std::unordered_multimap<std::uint64_t, std::uint32_t> numbers_;  // By hash.
};

}  // namespace pagetape
