// SPDX-License-Identifier: Apache-2.0
// An array over a huge index range that costs memory only where it was written.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace pagetape {

// Indices come from trace files, so a large one must not cost a large allocation: the directory of
// chunks is dense up to kDense chunks and a tree beyond. Copyable; equal elements start as T().
template <class T, std::size_t kChunk = 256>
class SparseArray {
 public:
  using value_type = T;

  SparseArray() = default;
  SparseArray(SparseArray&&) noexcept = default;
  SparseArray& operator=(SparseArray&&) noexcept = default;
  SparseArray(const SparseArray& other) { *this = other; }
  SparseArray& operator=(const SparseArray& other) {
    if (this == &other) return *this;
    clear();
    other.for_each_chunk([&](std::uint64_t c, const Chunk& chunk) {
      directory_slot(c) = std::make_unique<Chunk>(chunk);
    });
    return *this;
  }

  // Null where nothing in the element's neighbourhood was ever written.
  const T* find(std::uint64_t index) const {
    const std::uint64_t c = index / kChunk;
    if (c < dense_.size()) [[likely]] {
      return dense_.data()[c] ? &(*dense_.data()[c])[index % kChunk] : nullptr;
    }
    if (far_.empty()) return nullptr;
    auto it = far_.find(c);
    return it == far_.end() ? nullptr : &(*it->second)[index % kChunk];
  }
  T* find(std::uint64_t index) { return const_cast<T*>(std::as_const(*this).find(index)); }

  // What a loop keeps at hand to find elements by: good until the next at() or clear(). Null is
  // also what it finds where an index is beyond all measure.
  class Near {
   public:
    explicit Near(const SparseArray& of) : chunks_(of.dense_.data()), size_(of.dense_.size()) {}
    const T* find(std::uint64_t index) const {
      const std::uint64_t c = index / kChunk;
      return c < size_ && chunks_[c] ? &(*chunks_[c])[index % kChunk] : nullptr;
    }

   private:
    const std::unique_ptr<std::array<T, kChunk>>* chunks_;
    std::uint64_t size_;
  };

  // Makes the element if need be.
  [[gnu::always_inline]] T& at(std::uint64_t index) {
    const std::uint64_t c = index / kChunk;
    if (c < dense_.size() && dense_.data()[c]) [[likely]]
      return (*dense_.data()[c])[index % kChunk];
    return make(index);
  }

  // The elements from `index` on that lie side by side, at most `most`, made if need be.
  std::span<T> some_at(std::uint64_t index, std::size_t most) {
    return {&at(index), std::min<std::size_t>(most, kChunk - index % kChunk)};
  }

  void clear() {
    dense_.clear();
    far_.clear();
  }

  // f(index, element) for each element of each chunk made, in ascending order.
  template <class F>
  void for_each(F&& f) const {
    for_each_chunk([&](std::uint64_t c, const Chunk& chunk) {
      for (std::size_t i = 0; i < kChunk; ++i) f(c * kChunk + i, chunk[i]);
    });
  }
  static constexpr std::uint64_t kChunkSize = kChunk;

 private:
  using Chunk = std::array<T, kChunk>;
  static constexpr std::uint64_t kDense = 1u << 16;

  [[gnu::noinline]] T& make(std::uint64_t index) {
    std::unique_ptr<Chunk>& chunk = directory_slot(index / kChunk);
    if (!chunk) chunk = std::make_unique<Chunk>();
    return (*chunk)[index % kChunk];
  }
  std::unique_ptr<Chunk>& directory_slot(std::uint64_t c) {
    if (c >= kDense) return far_[c];
    if (c >= dense_.size()) dense_.resize(c + 1);
    return dense_[c];
  }
  template <class F>
  void for_each_chunk(F&& f) const {
    for (std::size_t c = 0; c < dense_.size(); ++c) {
      if (dense_[c]) f(c, *dense_[c]);
    }
    for (const auto& [c, chunk] : far_) f(c, *chunk);
  }

  std::vector<std::unique_ptr<Chunk>> dense_;
  std::map<std::uint64_t, std::unique_ptr<Chunk>> far_;
};

}  // namespace pagetape
