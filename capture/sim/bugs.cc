// SPDX-License-Identifier: Apache-2.0
#include "capture/sim/bugs.h"

#include <algorithm>

namespace pagetape::sim {
namespace {

constexpr BugInfo kBugs[] = {
    {Bug::kNone, "none", "A healthy run.", "", ""},
    {Bug::kStaleSwa, "stale-swa",
     "The draft's pools are swapped and its SWA flag is not: the graph freezes the full table "
     "for a window layer.",
     "STALE_BINDING WRONG_SPACE", "OOB_PAGE WRONG_OWNER FREED_PAGE UNINIT_READ"},
    {Bug::kClamp, "clamp",
     "As stale-swa, with page ids clamped to the last page of the pool: no crash, wrong reads.",
     "STALE_BINDING WRONG_SPACE", "WRONG_OWNER FREED_PAGE UNINIT_READ ALIASED_WRITE"},
    {Bug::kPagePastPool, "page-past-pool",
     "An entry of the full table equals the pool's page count for one launch.", "OOB_PAGE", ""},
    {Bug::kFullTableForSwa, "full-table-for-swa",
     "One launch of the window layers is given the full table, whose ids are still the same.",
     "WRONG_SPACE", ""},
    {Bug::kReallocatedUnderBackend, "reallocated-under-backend",
     "A buffer is reallocated and the target uses its old pointer for one step.", "STALE_BINDING",
     ""},
    {Bug::kTableTooNarrow, "table-too-narrow",
     "One launch is given a table of too few columns for its longest lane.", "SHORT_TABLE", ""},
    {Bug::kPadLaneWrites, "pad-lane-writes",
     "A padding lane stores a token into a page that is not reserved.", "PAD_LANE", ""},
    {Bug::kInputNotRefreshed, "input-not-refreshed",
     "The draft's graph is launched with the lengths of the launch before.", "GRAPH_STALE", ""},
    {Bug::kFreedTooEarly, "freed-too-early",
     "A page is freed before the launch that reads it; then its request is aborted.", "FREED_PAGE",
     ""},
    {Bug::kNeighboursPage, "neighbours-page",
     "A lane's table holds a page of another request for one launch.", "WRONG_OWNER", ""},
    {Bug::kPageGivenTwice, "page-given-twice",
     "The allocator hands out a page that another request holds.", "ALIASED_WRITE", ""},
    {Bug::kUnorderedTransfer, "unordered-transfer",
     "A page is written while a copy to the host still reads it on another stream.",
     "INFLIGHT_HAZARD", ""},
    {Bug::kStoredTooLate, "stored-too-late",
     "A token's K and V are stored after the launch that reads them.", "UNINIT_READ", ""},
    {Bug::kHitAfterDrop, "hit-after-drop",
     "A page is reused through a prefix key that is no longer offered.", "STALE_CONTENT", ""},
    {Bug::kEvictedInWindow, "evicted-in-window",
     "A page is evicted while its tokens are in the window; then its request is aborted.",
     "WINDOW_EVICTED", ""},
    {Bug::kFreedByStranger, "freed-by-stranger", "A request frees a page of another.", "FREELIST",
     ""},
    {Bug::kOffsetPastInt32, "offset-past-int32",
     "A page is used whose last byte a 32-bit offset does not reach.", "OFFSET_OVERFLOW", ""},
    {Bug::kExtentsOverlap, "extents-overlap", "Two pools are laid over the same bytes.", "GEOMETRY",
     ""},
};

}  // namespace

std::span<const BugInfo> bugs() { return kBugs; }

const BugInfo* find_bug(std::string_view name) {
  const auto at = std::find_if(std::begin(kBugs), std::end(kBugs),
                               [&](const BugInfo& info) { return info.name == name; });
  return at == std::end(kBugs) ? nullptr : at;
}

}  // namespace pagetape::sim
