// SPDX-License-Identifier: Apache-2.0
#include "verify/turns.h"

namespace pagetape {

Turns::Turns(const std::string& path, const Aliases& aliases, GoesOn goes_on, OnDeed on_deed)
    : path_(path),
      aliases_(aliases),
      goes_on_(std::move(goes_on)),
      on_deed_(std::move(on_deed)),
      source_(open_trace(path, names_, status_)) {}

Turns::Rank& Turns::rank_of(std::int64_t rank) {
  return ranks_.try_emplace(rank, names_, aliases_).first->second;
}

void Turns::tell(std::int64_t number, Rank& rank, const Deed& deed) {
  const EventIndex event = source_->position() - 1;
  std::size_t at = rank.turns.size();
  // Each event of the engine is a turn of its own.
  if (deed.req != kNone) at = rank.of.try_emplace(raw(deed.req), at).first->second;
  if (at == rank.turns.size()) {
    rank.turns.push_back({{number, std::string(names_.text(deed.req))},
                          {.said = {}, .event = event, .step = rank.step}});
  }
  auto& [doer, turn] = rank.turns[at];
  std::uint64_t& said = turn.said[static_cast<std::size_t>(deed.aspect)];
  said = (said * 0x9e3779b97f4a7c15u) ^ (std::hash<std::string>()(deed.text) + 1);
  ++deeds_;
  if (on_deed_) on_deed_(doer, turn.event, deed, {event, rank.step, deed.text});
}

// The turns of the rank's step are over.
static void move_to(std::vector<std::pair<Doer, Turn>>& turns,
                    std::vector<std::pair<Doer, Turn>>& out) {
  out.insert(out.end(), std::make_move_iterator(turns.begin()),
             std::make_move_iterator(turns.end()));
  turns.clear();
}

// The next event. False at the end, and where it is to stop.
bool Turns::read() {
  constexpr EventIndex kAsk = 1024;
  if (source_ == nullptr || !source_->next(event_)) return false;
  if (!goes_on_ || source_->position() % kAsk != 0 || goes_on_(source_->position())) return true;
  source_ = nullptr;
  status_ = usage(path_ + ": comparing it was stopped");
  return false;
}

bool Turns::next(std::vector<std::pair<Doer, Turn>>& out) {
  const std::size_t before = out.size();
  while (read()) {
    const std::int64_t number = event_.rank.value_or(INT64_MIN);
    Rank& rank = rank_of(number);
    if (const auto* header = std::get_if<ev::Header>(&event_.body)) {
      engine_ = names_.text(header->engine);
      version_ = names_.text(header->engine_version);
    }
    if (const auto* step = std::get_if<ev::Step>(&event_.body)) {
      rank.step = step->step;
      rank.of.clear();
      ++steps_;
      move_to(rank.turns, out);
      if (out.size() > before) return true;
    }
    rank.meaning.see(event_, [&](const Deed& deed) { tell(number, rank, deed); });
  }
  for (auto& [number, rank] : ranks_) move_to(rank.turns, out);
  return out.size() > before;
}

}  // namespace pagetape
