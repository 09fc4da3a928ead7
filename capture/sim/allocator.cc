// SPDX-License-Identifier: Apache-2.0
#include "capture/sim/allocator.h"

#include <algorithm>
#include <functional>

namespace pagetape::sim {

bool PageAllocator::alloc(std::int32_t n, PageList& to) {
  if (n > available()) return false;
  for (; n > 0 && !freed_.empty(); --n) {
    to.push_back(freed_.back());
    freed_.pop_back();
  }
  for (; n > 0; --n) to.push_back(next_++);
  return true;
}

void PageAllocator::free(std::span<const std::int32_t> pages) {
  const auto first = freed_.insert(freed_.end(), pages.begin(), pages.end());
  std::sort(first, freed_.end(), std::greater<>());
}

SlotNumbers extend_slots(std::span<const std::int32_t> pages, std::int64_t begin, std::int64_t end,
                         int page_size) {
  SlotNumbers slots;
  slots.reserve(static_cast<std::size_t>(end - begin));
  for (std::int64_t at = begin; at < end; ++at) {
    const std::int64_t page = pages[static_cast<std::size_t>(at / page_size)];
    slots.push_back(page * page_size + at % page_size);
  }
  return slots;
}

bool HybridAllocator::alloc(std::int32_t n, PageList& full, PageList& swa) {
  if (n > full_.available() || n > swa_.available()) return false;
  full_.alloc(n, full);
  swa_.alloc(n, swa);
  for (auto i = full.size() - static_cast<std::size_t>(n),
            j = swa.size() - static_cast<std::size_t>(n);
       i < full.size(); ++i, ++j) {
    to_swa_[static_cast<std::size_t>(full[i])] = swa[j];
  }
  return true;
}

void HybridAllocator::free(std::span<const std::int32_t> full) {
  PageList swa;
  for (const std::int32_t page : full) {
    std::int32_t& mapped = to_swa_[static_cast<std::size_t>(page)];
    if (mapped != 0) swa.push_back(mapped);
    mapped = 0;
  }
  full_.free(full);
  swa_.free(swa);
}

void HybridAllocator::free_swa(std::int32_t full) {
  std::int32_t& mapped = to_swa_[static_cast<std::size_t>(full)];
  if (mapped == 0) return;
  swa_.free({&mapped, 1});
  mapped = 0;
}

}  // namespace pagetape::sim
