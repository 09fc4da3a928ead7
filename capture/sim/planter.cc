// SPDX-License-Identifier: Apache-2.0
#include "capture/sim/planter.h"

#include <algorithm>

namespace pagetape::sim {
namespace {

constexpr std::int64_t kDecodesBefore = 2;  // Steps that are healthy first.

}  // namespace

void Planter::begin_step(const Running& running, std::int64_t decodes) {
  now_ = false;
  if (done_ || config_.bug == Bug::kNone || draft_is_stale(config_.bug) ||
      config_.bug == Bug::kExtentsOverlap || decodes <= kDecodesBefore || !suitable(running)) {
    return;
  }
  victim_ = running[0].get();
  other_ = running[1].get();
  done_ = now_ = true;
}

// Two requests, each with a full page of its own behind what the prefix cache shares, not the one
// that is being written. The wrong table must hold the right numbers, or it breaks more rules.
bool Planter::suitable(const Running& running) const {
  if (running.size() < 2) return false;
  if (config_.bug == Bug::kFullTableForSwa &&
      !std::all_of(running.begin(), running.end(), [&](const auto& request) {
        const std::int64_t begin = std::max<std::int64_t>(request->len - config_.model->window, 0);
        return request->same_ids(begin / config_.model->page_size);
      })) {
    return false;
  }
  return std::all_of(running.begin(), running.begin() + 2, [&](const auto& request) {
    return request->len / config_.model->page_size > request->shared_pages;
  });
}

// Frees a page that the next launch reads.
void Planter::free_in_window() {
  const Model& model = *config_.model;
  if (config_.bug == Bug::kFreedTooEarly) {
    const std::int32_t page = victim_->full[static_cast<std::size_t>(victim_->shared_pages)];
    tape_.free(tape_.full, victim_->name, {&page, 1});
    victim_->freed_early = page;
    return;
  }
  const std::int64_t first =
      std::max<std::int64_t>(victim_->len + 1 - model.window, 0) / model.page_size;
  const std::int64_t logical = std::max<std::int64_t>(first, victim_->shared_pages);
  const auto i = static_cast<std::size_t>(logical);
  const std::int64_t from = victim_->full[i];
  tape_.keep(ptape_evict(tape_.recorder(), tape_.at(), tape_.swa, victim_->name, logical,
                         victim_->swa[i]));
  tape_.keep(ptape_map_clear(tape_.recorder(), tape_.at(), tape_.map, &from, 1));
  victim_->swa[i] = 0;
}

void Planter::wrong_entry(std::int32_t page) const {
  tape_.table(tape_.target_table, victim_->lane, victim_->shared_pages, {&page, 1}, victim_->name,
              tape_.full);
}

void Planter::hit_after_drop(std::int32_t page) const {
  tape_.json(format(R"({"ev":"prefix_key","pool":"F","page":%d,"key":"dropped"})", page));
  tape_.json(format(R"({"ev":"prefix_drop","pool":"F","page":%d,"key":"dropped"})", page));
  tape_.json(format(R"({"ev":"prefix_hit","pool":"F","req":"r%lld","page":%d,"key":"dropped"})",
                    static_cast<long long>(other_->id), page));
  tape_.free(tape_.full, other_->name, {&page, 1});
}

// Page 20,000 of 128 KiB ends past 2^31; the page before the first that does is 16,383.
void Planter::use_far_page() const {
  tape_.json(R"({"ev":"pool","pool":"X","pages":40000,"page_size":64,"kind":"index",)"
             R"("page_bytes":131072,"offset_bits":32})");
  const std::int32_t page = 20'000;
  const ptape_name far = tape_.name("X");
  tape_.alloc(far, victim_->name, {&page, 1});
  tape_.json(format(R"({"ev":"fill","pool":"X","req":"r%lld","pages":[%d]})",
                    static_cast<long long>(victim_->id), page));
  tape_.free(far, victim_->name, {&page, 1});
}

Tweaks Planter::before_verify() {
  Tweaks tweaks;
  if (!now_) return tweaks;
  const auto own = static_cast<std::size_t>(victim_->shared_pages);
  const std::int32_t page = victim_->full[own], last = victim_->full.back();
  switch (config_.bug) {
    case Bug::kPagePastPool:
      wrong_entry(config_.model->full_pages);
      break;
    case Bug::kNeighboursPage:
      wrong_entry(other_->full[static_cast<std::size_t>(other_->shared_pages)]);
      break;
    case Bug::kReallocatedUnderBackend:
      tape_.json(format(R"({"ev":"buffer","buffer":"req_to_token","rows":%lld,"cols":%d})",
                        static_cast<long long>(config_.concurrency) + 1,
                        config_.model->context_pages * config_.model->page_size));
      break;
    case Bug::kFreedTooEarly:
    case Bug::kEvictedInWindow:
      free_in_window();
      break;
    case Bug::kPageGivenTwice:
      tape_.alloc(tape_.full, other_->name, {&page, 1});
      tape_.free(tape_.full, other_->name, {&page, 1});
      break;
    case Bug::kFreedByStranger:
      tape_.free(tape_.full, other_->name, {&page, 1});
      break;
    case Bug::kUnorderedTransfer:
      tape_.json(format(R"({"ev":"async_begin","op":"offload","kind":"read","pool":"F",)"
                        R"("pages":[%d],"by":"#host","stream":1})",
                        last));
      break;
    case Bug::kHitAfterDrop:
      hit_after_drop(page);
      break;
    case Bug::kOffsetPastInt32:
      use_far_page();
      break;
    default:
      break;
  }
  tweaks.full_table_for_swa = config_.bug == Bug::kFullTableForSwa;
  tweaks.narrow_table = config_.bug == Bug::kTableTooNarrow;
  tweaks.pad_lane_writes = config_.bug == Bug::kPadLaneWrites;
  if (config_.bug == Bug::kStoredTooLate) tweaks.stored_too_late = victim_;
  return tweaks;
}

Request* Planter::after_verify(TargetRunner& target) {
  if (!now_) return nullptr;
  now_ = false;
  switch (config_.bug) {
    case Bug::kPagePastPool:
    case Bug::kNeighboursPage:
      wrong_entry(victim_->full[static_cast<std::size_t>(victim_->shared_pages)]);
      return nullptr;
    case Bug::kReallocatedUnderBackend:
      tape_.json(R"({"ev":"cached","backend":"target","attr":"req_to_token",)"
                 R"("derived_from":"req_to_token"})");
      return nullptr;
    case Bug::kUnorderedTransfer:
      tape_.json(R"({"ev":"async_end","op":"offload"})");
      return nullptr;
    case Bug::kStoredTooLate:
      target.store_full(*victim_, victim_->len);
      return nullptr;
    case Bug::kFreedTooEarly:
    case Bug::kEvictedInWindow:
      return victim_;
    default:
      return nullptr;
  }
}

}  // namespace pagetape::sim
