// SPDX-License-Identifier: Apache-2.0
// The sixteen rules: names, sentences, and the events without which each is not checked.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace pagetape {

enum class Rule : std::uint8_t {
  kOobPage,
  kWrongSpace,
  kStaleBinding,
  kShortTable,
  kPadLane,
  kGraphStale,
  kFreedPage,
  kWrongOwner,
  kAliasedWrite,
  kInflightHazard,
  kUninitRead,
  kStaleContent,
  kWindowEvicted,
  kFreelist,
  kOffsetOverflow,
  kGeometry,
};
inline constexpr std::size_t kRuleCount = 16;

// What a rule is judged of, object by object.
enum class Scope : std::uint8_t { kBackend, kPool, kGraph, kTrace };

struct RuleInfo {
  Rule rule;
  std::string_view name;
  std::string_view sentence;  // Holds when …
  Scope scope;
  std::string_view needs;  // Alternatives by "|": event kinds, or fields of them.
};

inline constexpr std::array<RuleInfo, kRuleCount> kRules{{
    {Rule::kOobPage, "OOB_PAGE",
     "Every page id used by a launch, alloc or transfer lies in [0, pages) of the pool bound.",
     Scope::kBackend, "pool_swap|attention.bound"},
    {Rule::kWrongSpace, "WRONG_SPACE",
     "A table's ids are of the bound pool's space and unit, even where the number is in range.",
     Scope::kBackend, "attention.space|table.space"},
    {Rule::kStaleBinding, "STALE_BINDING",
     "A cached fact is used only while the pool bound is the one it was derived from.",
     Scope::kBackend, "swa_state|cached|attention.bound"},
    {Rule::kShortTable, "SHORT_TABLE",
     "The live pages lie within the row, the row within the table, the lanes within its rows.",
     Scope::kBackend, "attention.rows|buffer.cols|access"},
    {Rule::kPadLane, "PAD_LANE",
     "Padding lanes write reserved pages only; reserved pages are not given out, null ones not "
     "written.",
     Scope::kPool, "pool.reserved|store"},
    {Rule::kGraphStale, "GRAPH_STALE",
     "At a graph's launch, what it froze is as it was at capture, and its inputs were rewritten.",
     Scope::kGraph, "graph_capture"},
    {Rule::kFreedPage, "FREED_PAGE", "No live entry, write, share, copy or hit names a free page.",
     Scope::kPool, "alloc"},
    {Rule::kWrongOwner, "WRONG_OWNER",
     "A request's live entries and stores name pages that it owns or shares.", Scope::kPool,
     "alloc"},
    {Rule::kAliasedWrite, "ALIASED_WRITE",
     "A written page has one owner, alloc gives out no owned page, no row lists a page twice.",
     Scope::kPool, "alloc"},
    {Rule::kInflightHazard, "INFLIGHT_HAZARD",
     "No page is given away, written or read under an unordered operation of another stream.",
     Scope::kPool, "async_begin"},
    {Rule::kUninitRead, "UNINIT_READ",
     "Every live position was written, in the layer that reads it, since its page was given out.",
     Scope::kPool, "fill|store|copy|async_begin"},
    {Rule::kStaleContent, "STALE_CONTENT",
     "A prefix key is used only while it is offered and equals the page's digest.", Scope::kPool,
     "fill.digest"},
    {Rule::kWindowEvicted, "WINDOW_EVICTED", "No live entry is a page that left the window.",
     Scope::kPool, "evict"},
    {Rule::kFreelist, "FREELIST",
     "Who frees a page owns it, the sentinel is never freed, the free count is possible.",
     Scope::kPool, "free|evict|map_free|map_set|free_count"},
    {Rule::kOffsetOverflow, "OFFSET_OVERFLOW",
     "The last byte of every page used fits the offset that the kernel computes with.",
     Scope::kPool, "pool.page_bytes"},
    {Rule::kGeometry, "GEOMETRY",
     "Extents stay in their arena and do not overlap; two parties' figures agree.", Scope::kTrace,
     "extent|view"},
}};

constexpr const RuleInfo& info(Rule rule) { return kRules[static_cast<std::size_t>(rule)]; }

// kRuleCount where there is no rule of that name.
constexpr std::size_t rule_named(std::string_view name) {
  for (std::size_t i = 0; i < kRuleCount; ++i) {
    if (kRules[i].name == name) return i;
  }
  return kRuleCount;
}

}  // namespace pagetape
