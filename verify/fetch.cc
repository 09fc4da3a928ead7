// SPDX-License-Identifier: Apache-2.0
#include "verify/fetch.h"

#include <algorithm>
#include <map>

#include "replay/state.h"
#include "traces/reader.h"
#include "traces/source.h"

namespace pagetape {
namespace {

// The step of each rank.
class Steps {
 public:
  void note(const Event& event) {
    const auto* step = std::get_if<ev::Step>(&event.body);
    if (step != nullptr) steps_[event.rank.value_or(State::kNoRank)] = step->step;
  }
  // False where no step of the rank came.
  bool find(const Event& event, std::int64_t& step) const {
    const auto at = steps_.find(event.rank.value_or(State::kNoRank));
    if (at != steps_.end()) step = at->second;
    return at != steps_.end();
  }
  void clear() { steps_.clear(); }

 private:
  std::map<std::int64_t, std::int64_t> steps_;
};

std::vector<Fetched> fetch_from_text(Source& source, const std::vector<EventIndex>& wanted) {
  std::vector<Fetched> out;
  Steps steps;
  Event event;
  while (out.size() < wanted.size() && source.next(event)) {
    const EventIndex index = source.position() - 1;
    if (std::ranges::binary_search(wanted, index)) {
      Fetched& f = out.emplace_back(Fetched{.index = index, .event = event});
      (void)steps.find(event, f.step);
    }
    steps.note(event);
  }
  return out;
}

class Fetcher {
 public:
  explicit Fetcher(Reader& reader) : reader_(reader), segments_(reader.segments()) {}

  bool fetch(EventIndex index, Fetched& out) {
    const auto after = std::upper_bound(
        segments_.begin(), segments_.end(), index,
        [](EventIndex e, const SegmentInfo& segment) { return e < segment.first_event; });
    if (after == segments_.begin()) return false;
    const auto segment = static_cast<std::size_t>(after - segments_.begin()) - 1;
    if (segment != open_ && !open(segment)) return false;
    out.index = index;
    while (reader_.next(out.event)) {
      if (reader_.position() > index + 1) break;  // It was of an unknown kind.
      if (reader_.position() == index + 1) {
        if (!steps_.find(out.event, out.step)) find_before(segment, out);
        steps_.note(out.event);
        return true;
      }
      steps_.note(out.event);
    }
    open_ = SIZE_MAX;
    return false;
  }

 private:
  bool open(std::size_t segment) {
    steps_.clear();
    open_ = reader_.seek(segments_[segment].first_event).ok() ? segment : SIZE_MAX;
    return open_ != SIZE_MAX;
  }
  // The last step of the event's rank in the segments before.
  void find_before(std::size_t segment, Fetched& out) {
    while (segment-- > 0) {
      if (segments_[segment].summary.counts[kKindOf<ev::Step>] == 0) continue;
      if (!open(segment)) break;
      Event event;
      const EventIndex end = segments_[segment].first_event + segments_[segment].events;
      while (reader_.position() < end && reader_.next(event)) steps_.note(event);
      if (steps_.find(out.event, out.step)) break;
    }
    open_ = SIZE_MAX;
  }

  Reader& reader_;
  const std::vector<SegmentInfo>& segments_;
  Steps steps_;  // Since the beginning of the open segment.
  std::size_t open_ = SIZE_MAX;
};

}  // namespace

std::vector<Fetched> fetch_events(const std::string& path, Names& names,
                                  const std::vector<EventIndex>& wanted) {
  Status status;
  const std::unique_ptr<Source> source = open_trace(path, names, status);
  if (source == nullptr) return {};
  auto* reader = dynamic_cast<Reader*>(source.get());
  if (reader == nullptr) return fetch_from_text(*source, wanted);
  std::vector<Fetched> out;
  Fetcher fetcher(*reader);
  for (EventIndex index : wanted) {
    Fetched f;
    if (fetcher.fetch(index, f)) out.push_back(std::move(f));
  }
  return out;
}

}  // namespace pagetape
