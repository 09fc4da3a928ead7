// SPDX-License-Identifier: Apache-2.0
// The page allocators of SGLang's paged pools, as far as the ids they hand out go.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pagetape::sim {

using PageList = std::vector<std::int32_t>;
using SlotNumbers = std::vector<std::int64_t>;

// Ids 1 to pages - 1, ascending at first; what is freed is put before the rest, sorted, and goes
// out again first (PagedTokenToKVPoolAllocator with need_sort=False). Page 0 is never given out.
class PageAllocator {
 public:
  explicit PageAllocator(std::int32_t pages) : pages_(pages) {}

  std::int32_t available() const {
    return pages_ - next_ + static_cast<std::int32_t>(freed_.size());
  }
  // Appends n pages to `to`; takes nothing and returns false where there are fewer.
  bool alloc(std::int32_t n, PageList& to);
  void free(std::span<const std::int32_t> pages);

 private:
  std::int32_t pages_, next_ = 1;  // Never handed out yet: from next_ on.
  PageList freed_;                 // The next to go out is the last.
};

constexpr std::int64_t pages_for(std::int64_t tokens, int page_size) {
  return (tokens + page_size - 1) / page_size;
}

// Slots of tokens [begin, end) of a request with these pages: the last page is filled first, then
// the new ones (alloc_extend).
SlotNumbers extend_slots(std::span<const std::int32_t> pages, std::int64_t begin, std::int64_t end,
                         int page_size);

// The two pools of a hybrid model and the map between them: a token has a page of each, until its
// SWA page is taken back (SWATokenToKVPoolAllocator, kept by page).
class HybridAllocator {
 public:
  HybridAllocator(std::int32_t full_pages, std::int32_t swa_pages)
      : full_(full_pages), swa_(swa_pages), to_swa_(static_cast<std::size_t>(full_pages), 0) {}

  const PageAllocator& full() const { return full_; }
  const PageAllocator& swa() const { return swa_; }
  // Appends n pages of each pool and maps them. False, and nothing taken, where one is short.
  bool alloc(std::int32_t n, PageList& full, PageList& swa);
  // Frees both sides; where a page has no SWA page any more, the full one alone.
  void free(std::span<const std::int32_t> full);
  // Frees the SWA side only.
  void free_swa(std::int32_t full);
  // 0: none.
  std::int32_t swa_page(std::int32_t full) const { return to_swa_[static_cast<std::size_t>(full)]; }

 private:
  PageAllocator full_, swa_;
  PageList to_swa_;  // By full page.
};

}  // namespace pagetape::sim
