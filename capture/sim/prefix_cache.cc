// SPDX-License-Identifier: Apache-2.0
#include "capture/sim/prefix_cache.h"

#include <algorithm>

namespace pagetape::sim {
namespace {

std::string key_of(std::size_t system_prompt, std::size_t page) {
  return format("sys%d.%d", static_cast<int>(system_prompt), static_cast<int>(page));
}

}  // namespace

std::string joined(Tape::Pages pages) {
  std::string text;
  for (const std::int32_t page : pages) {
    if (!text.empty()) text += ',';
    text += std::to_string(page);
  }
  return text;
}

std::int32_t PrefixCache::pages_of(const Request& request) const {
  if (request.system_prompt < 0) return 0;
  const std::int64_t half = request.prompt / model_.page_size / 2;
  return static_cast<std::int32_t>(std::min<std::int64_t>(half, kSharedPagesMax));
}

std::string PrefixCache::key(const Request& request, std::int32_t page) {
  return key_of(static_cast<std::size_t>(request.system_prompt), static_cast<std::size_t>(page));
}

bool PrefixCache::hit(Request& request) {
  if (request.system_prompt < 0) return false;
  Entry& entry = entries_[static_cast<std::size_t>(request.system_prompt)];
  // No more than its own prompt has of it.
  const auto n = std::min(entry.full.size(), static_cast<std::size_t>(pages_of(request)));
  if (n == 0) return false;
  for (const bool swa : {false, true}) {
    const PageList& pages = swa ? entry.swa : entry.full;
    for (std::size_t i = 0; i < n; ++i) {
      tape_.json(
          format(R"({"ev":"prefix_hit","pool":"%s","req":"r%lld","page":%d,"key":"%s","first":%d})",
                 swa ? "S" : "F", static_cast<long long>(request.id), pages[i],
                 key(request, static_cast<std::int32_t>(i)).c_str(), static_cast<int>(i)));
    }
  }
  const auto end = static_cast<std::ptrdiff_t>(n);
  request.full.assign(entry.full.begin(), entry.full.begin() + end);
  request.swa.assign(entry.swa.begin(), entry.swa.begin() + end);
  request.shared_pages = static_cast<std::int32_t>(n);
  ++entry.users;
  return true;
}

void PrefixCache::publish(Request& request) {
  const auto n = static_cast<std::size_t>(pages_of(request));
  if (n == 0 || request.shared_pages > 0) return;
  Entry& entry = entries_[static_cast<std::size_t>(request.system_prompt)];
  if (!entry.full.empty()) return;
  entry.full.assign(request.full.begin(), request.full.begin() + static_cast<std::ptrdiff_t>(n));
  entry.swa.assign(request.swa.begin(), request.swa.begin() + static_cast<std::ptrdiff_t>(n));
  entry.users = 1;
  request.shared_pages = static_cast<std::int32_t>(n);
  for (const bool swa : {false, true}) {
    const PageList& pages = swa ? entry.swa : entry.full;
    tape_.share(swa ? tape_.swa : tape_.full, tape_.radix, pages);
    for (std::size_t i = 0; i < n; ++i) {
      tape_.json(format(R"({"ev":"prefix_key","pool":"%s","page":%d,"key":"%s"})", swa ? "S" : "F",
                        pages[i], key(request, static_cast<std::int32_t>(i)).c_str()));
    }
  }
}

void PrefixCache::leave(const Request& request) {
  if (request.shared_pages > 0) --entries_[static_cast<std::size_t>(request.system_prompt)].users;
}

bool PrefixCache::drop_unused(HybridAllocator& allocator) {
  for (Entry& entry : entries_) {
    if (entry.full.empty() || entry.users > 0) continue;
    drop(entry, allocator);
    return true;
  }
  return false;
}

void PrefixCache::drop(Entry& entry, HybridAllocator& allocator) {
  const auto which = static_cast<std::size_t>(&entry - entries_.data());
  for (const bool swa : {false, true}) {
    const PageList& pages = swa ? entry.swa : entry.full;
    for (std::size_t i = 0; i < pages.size(); ++i) {
      tape_.json(format(R"({"ev":"prefix_drop","pool":"%s","page":%d,"key":"%s"})", swa ? "S" : "F",
                        pages[i], key_of(which, i).c_str()));
    }
  }
  const std::vector<std::int64_t> from(entry.full.begin(), entry.full.end());
  tape_.free(tape_.swa, tape_.radix, entry.swa);
  tape_.keep(ptape_map_clear(tape_.recorder(), tape_.at(), tape_.map, from.data(), from.size()));
  tape_.free(tape_.full, tape_.radix, entry.full);
  allocator.free(entry.full);
  entry = {};
}

}  // namespace pagetape::sim
