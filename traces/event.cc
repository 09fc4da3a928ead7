// SPDX-License-Identifier: Apache-2.0
#include "traces/event.h"

#include <mutex>

namespace pagetape {

// By whichever of the threads that share it asks first.
void ev::Rows::make_list(Shared& shared) {
  static std::mutex making;
  const std::lock_guard<std::mutex> lock(making);
  if (shared.listed.load(std::memory_order_relaxed)) return;
  const SlotLanes& lanes = shared.lanes;
  shared.list.clear();
  shared.list.resize(lanes.reqs.size());
  for (std::size_t i = 0; i < lanes.reqs.size(); ++i) {
    shared.list[i].req = lanes.reqs[i];
    lanes.list(i, shared.list[i].slots.emplace());
  }
  shared.listed.store(true, std::memory_order_release);
}

ev::Rows::ByRow ev::Rows::ask_by_row() const {
  bool yes = true;
  for (const Row& row : list()) {
    yes = yes && row.row.has_value() && !row.len.has_value() && !row.pages.has_value() &&
          !row.spaces.has_value() && !row.logical.has_value() && !row.slots.has_value() &&
          !row.n.has_value();
  }
  const ByRow answer = yes ? ByRow::kYes : ByRow::kNo;
  shared_->by_row.store(answer, std::memory_order_relaxed);
  return answer;
}

EventBody::EventBody() = default;
EventBody::EventBody(const EventBody&) = default;
EventBody::EventBody(EventBody&&) noexcept = default;
EventBody& EventBody::operator=(const EventBody&) = default;
EventBody& EventBody::operator=(EventBody&&) noexcept = default;
EventBody::~EventBody() = default;

bool EventBody::operator==(const EventBody& other) const {
  return static_cast<const variant&>(*this) == static_cast<const variant&>(other);
}

}  // namespace pagetape
