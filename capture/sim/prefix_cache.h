// SPDX-License-Identifier: Apache-2.0
// The simulated engine's prefix cache: pages of the system prompts that many prompts begin with.
#pragma once

#include <array>
#include <string>

#include "capture/sim/allocator.h"
#include "capture/sim/config.h"
#include "capture/sim/request.h"
#include "capture/sim/tape.h"

namespace pagetape::sim {

// Owns what it publishes, under the name #radix, beside the requests that use it. Its pages keep
// their SWA side while any request uses them: a prompt in the cache is protected.
class PrefixCache {
 public:
  PrefixCache(Tape& tape, const Model& model) : tape_(tape), model_(model) {}

  // Pages of the system prompt that this request's prompt begins with.
  std::int32_t pages_of(const Request& request) const;
  static std::string key(const Request& request, std::int32_t page);

  // Makes the request an owner of the published pages; false where there are none.
  bool hit(Request& request);
  // After the prompt was stored: offers its first pages to others.
  void publish(Request& request);
  void leave(const Request& request);
  // Gives up one system prompt that no request uses; false where there is none.
  bool drop_unused(HybridAllocator& allocator);

 private:
  struct Entry {
    PageList full, swa;  // Empty: not published.
    int users = 0;
  };
  void drop(Entry& entry, HybridAllocator& allocator);

  Tape& tape_;
  const Model& model_;
  std::array<Entry, kSystemPrompts> entries_;
};

// "1,2,3"
std::string joined(Tape::Pages pages);

}  // namespace pagetape::sim
