// SPDX-License-Identifier: Apache-2.0
#include "verify/suspects.h"

#include <algorithm>

namespace pagetape {

void Suspects::see(const Event& event, EventIndex index) {
  const std::int64_t rank = event.rank.value_or(INT64_MIN);
  switch (event.kind()) {
    case kKindOf<ev::Attention>:
    case kKindOf<ev::Store>:
    case kKindOf<ev::Copy>:
    case kKindOf<ev::GraphLaunch>:
    case kKindOf<ev::GraphStep>: {
      Stream& stream = streams_[{rank, event.stream}];
      if (stream.begun.size() == 2 * kKept) {
        stream.begun.erase(stream.begun.begin(), stream.begun.begin() + kKept);
      }
      stream.begun.push_back(index);
      ++stream.count;
      return;
    }
    case kKindOf<ev::LaunchDone>:
      break;
    default:
      return;
  }
  known_ = true;
  const auto done = static_cast<EventIndex>(std::get<ev::LaunchDone>(event.body).event);
  for (auto& [key, stream] : streams_) {
    const auto at = std::ranges::lower_bound(stream.begun, done);
    if (key.first != rank || at == stream.begun.end() || *at != done) continue;
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
