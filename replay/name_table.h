// SPDX-License-Identifier: Apache-2.0
// Objects by name: one array look-up from the interned name to the object.
#pragma once

#include <cstdint>
#include <vector>

#include "traces/ids.h"

namespace pagetape {

// Indices are stable until erase(); pointers only until the next add(). Copyable. T needs visit().
template <class T>
class NameTable {
 public:
  static constexpr std::uint32_t kMissing = UINT32_MAX;

  std::uint32_t index(Name name) const {
    return raw(name) < index_.size() ? index_.data()[raw(name)] - 1 : kMissing;
  }
  T* find(Name name) {
    const std::uint32_t i = index(name);
    return i == kMissing ? nullptr : items_.data() + i;
  }
  const T* find(Name name) const { return const_cast<NameTable*>(this)->find(name); }
  T& operator[](std::uint32_t i) { return items_[i]; }
  const T& operator[](std::uint32_t i) const { return items_[i]; }

  // The object of that name, made if need be.
  std::uint32_t add(Name name) {
    if (raw(name) >= index_.size()) index_.resize(raw(name) + 1);
    if (index_[raw(name)] != 0) return index_[raw(name)] - 1;
    if (unused_.empty()) {
      unused_.push_back(static_cast<std::uint32_t>(items_.size()));
      items_.emplace_back();
      keys_.push_back(kNone);
    }
    const std::uint32_t i = unused_.back();
    unused_.pop_back();
    items_[i] = T();
    keys_[i] = name;
    index_[raw(name)] = i + 1;
    return i;
  }
  void erase(Name name) {
    const std::uint32_t i = index(name);
    if (i == kMissing) return;
    items_[i] = T();
    keys_[i] = kNone;
    index_[raw(name)] = 0;
    unused_.push_back(i);
  }

  const T* data() const { return items_.data(); }
  Name key(std::uint32_t i) const { return keys_[i]; }  // kNone: erased.
  // Number of indices in use or once used.
  std::uint32_t size() const { return static_cast<std::uint32_t>(items_.size()); }

  template <class A>
  void visit(A& a) {
    a(keys_, items_, unused_);
    if constexpr (A::kLoading) {
      index_.clear();
      // A hostile keyframe: nothing to index, and consistent() will find what is missing.
      if (keys_.size() != items_.size()) {
        keys_.clear();
        items_.clear();
      }
      std::erase_if(unused_, [this](std::uint32_t i) { return i >= items_.size(); });
      for (std::uint32_t i = 0; i < keys_.size(); ++i) {
        if (keys_[i] == kNone) continue;
        if (raw(keys_[i]) >= index_.size()) index_.resize(raw(keys_[i]) + 1);
        index_[raw(keys_[i])] = i + 1;
      }
    }
  }

 private:
  std::vector<std::uint32_t> index_;  // By raw name: 1 + index of the item; 0: none.
  std::vector<T> items_;
  std::vector<Name> keys_;
  std::vector<std::uint32_t> unused_;
};

}  // namespace pagetape
