// SPDX-License-Identifier: Apache-2.0
#include "verify/suspects.h"

#include <algorithm>

namespace pagetape {

std::optional<LaunchMark> launch_mark(const Event& event, EventIndex index) {
  LaunchMark mark{.event = index,
                  .rank = event.rank.value_or(INT64_MIN),
                  .stream = event.stream,
                  .mark = Mark::kBegun};
  switch (event.kind()) {
    case kKindOf<ev::Attention>:
    case kKindOf<ev::Store>:
    case kKindOf<ev::Copy>:
    case kKindOf<ev::GraphLaunch>:
    case kKindOf<ev::GraphStep>:
      return mark;
    case kKindOf<ev::LaunchDone>:
      mark.event = static_cast<EventIndex>(std::get<ev::LaunchDone>(event.body).event);
      mark.mark = Mark::kCompleted;
      return mark;
    case kKindOf<ev::CudaError>:
      mark.mark = Mark::kError;
      return mark;
    default:
      return std::nullopt;
  }
}

void Suspects::see(const LaunchMark& mark) {
  if (mark.mark == Mark::kError) {
    ++error_count_;
    if (errors_.size() < kKept) errors_.push_back(mark.event);
    return;
  }
  if (mark.mark == Mark::kBegun) {
    Stream& stream = streams_[{mark.rank, mark.stream}];
    if (stream.begun.size() == 2 * kKept) {
      stream.begun.erase(stream.begun.begin(), stream.begun.begin() + kKept);
    }
    stream.begun.push_back(mark.event);
    ++stream.count;
    return;
  }
  known_ = true;
  for (auto& [key, stream] : streams_) {
    const auto at = std::ranges::lower_bound(stream.begun, mark.event);
    if (key.first != mark.rank || at == stream.begun.end() || *at != mark.event) continue;
    stream.begun.erase(stream.begun.begin(), at + 1);
    stream.count = stream.begun.size();
  }
}

std::vector<EventIndex> Suspects::list() const {
  std::vector<EventIndex> all;
  if (!known_) return all;
  for (const auto& [key, stream] : streams_) {
    const std::size_t n = std::min(stream.begun.size(), kKept);
    all.insert(all.end(), stream.begun.end() - static_cast<std::ptrdiff_t>(n), stream.begun.end());
  }
  std::ranges::sort(all);
  return all;
}

std::uint64_t Suspects::count() const {
  std::uint64_t n = 0;
  for (const auto& [key, stream] : streams_) n += known_ ? stream.count : 0;
  return n;
}

}  // namespace pagetape
