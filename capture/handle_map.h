// SPDX-License-Identifier: Apache-2.0
// A map from handles to values, which any thread may read and add to without a lock or memory of
// the heap: it is used inside CUDA's calls.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace pagetape {

// At most about kSlots handles; none is ever taken out, as handles are addresses that come back.
// A value begins as `Value{}` and is for its users to share.
template <class Value, std::size_t kSlots>
class HandleMap {
  static_assert((kSlots & (kSlots - 1)) == 0);

 public:
  // Null where it is not there. No handle is 0.
  Value* find(std::uint64_t handle) { return at(handle, false); }
  // Null where there is no room.
  Value* find_or_add(std::uint64_t handle) { return at(handle, true); }

 private:
  struct Slot {
    std::atomic<std::uint64_t> handle{0};
    Value value{};
  };
  // So many slots are looked at.
  static constexpr std::size_t kReach = 64 < kSlots ? 64 : kSlots;

  Value* at(std::uint64_t handle, bool add) {
    const std::size_t home = (handle * 0x9e3779b97f4a7c15u) >> 32;
    for (std::size_t i = 0; i < kReach; ++i) {
      Slot& slot = slots_[(home + i) & (kSlots - 1)];
      std::uint64_t there = slot.handle.load(std::memory_order_acquire);
      if (there == 0) {
        if (!add) return nullptr;
        if (slot.handle.compare_exchange_strong(there, handle)) return &slot.value;
      }
      if (there == handle) return &slot.value;
    }
    return nullptr;
  }

  std::array<Slot, kSlots> slots_;
};

}  // namespace pagetape
