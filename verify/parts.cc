// SPDX-License-Identifier: Apache-2.0
#include "verify/parts.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "replay/team.h"
#include "traces/codec.h"

namespace pagetape {
namespace {

// More parts than threads, as some take longer; each costs the loading of a keyframe, and nothing
// judged before it can be reused.
constexpr std::size_t kPartsAThread = 3;
// Passes over what is left, before one judge is quicker.
constexpr int kMostRounds = 4;

struct Part {
  std::optional<KeyframeInfo> from;  // None: the beginning.
  EventIndex end = kNever;           // kNever: where the trace ends.
  // Behind a run:
  bool good = false;
  std::uint64_t digest_before = 0, digest_behind = 0;  // Of the state.
  std::shared_ptr<Names> names;
  std::unique_ptr<Judge> judge;
  std::vector<LaunchMark> marks;
  std::uint64_t events = 0;
};

// From the beginning to the first keyframe, and then `most` parts of about the same number of
// events, so that threads end together; fewer where keyframes are few.
std::vector<Part> parts_of(const std::vector<KeyframeInfo>& keyframes, EventIndex events,
                           std::size_t most) {
  std::vector<Part> parts(1);
  if (keyframes.empty()) return parts;
  const EventIndex first = std::min(keyframes.front().event, events);
  for (std::size_t i = 0; i < most; ++i) {
    const EventIndex due = first + (events - first) * i / most;
    const KeyframeInfo& nearest = *std::ranges::min_element(
        keyframes, {},
        [due](const KeyframeInfo& k) { return std::max(k.event, due) - std::min(k.event, due); });
    const EventIndex begin = parts.back().from ? parts.back().from->event : 0;
    if (nearest.event <= begin || nearest.event >= events) continue;
    parts.back().end = nearest.event;
    parts.emplace_back().from = nearest;
  }
  return parts;
}

bool enter(Source& source, State& state, Names& names, Part& part) {
  std::string bytes;
  if (!source.keyframe_state(*part.from, bytes).ok() || !state.load(bytes, names).ok()) {
    return false;
  }
  // Where these are the bytes of the state before, that is what was loaded.
  part.digest_before = State::digest_of(bytes);
  return state.next_event() == part.from->event && source.seek(part.from->event).ok();
}

bool apply_all(Source& source, State& state, Part& part) {
  Event event;
  while (source.position() < part.end && source.next(event)) {
    const EventIndex index = source.position() - 1;
    if (state.next_event() != index || !state.apply(event, part.judge.get()).applied()) {
      return false;
    }
    ++part.events;
    if (const auto mark = launch_mark(event, index)) part.marks.push_back(*mark);
  }
  return source.status().ok() && (part.end == kNever || source.position() == part.end);
}

void run(const std::string& path, const VerifyOptions& options, const Coverage& known,
         const Names& known_names, Part& part) {
  part.good = false;
  part.names = std::make_shared<Names>();
  part.marks.clear();
  part.events = 0;
  Status status;
  const std::unique_ptr<Source> source = open_trace(path, *part.names, status);
  if (source == nullptr) return;
  State state(*part.names);
  if (part.from && !enter(*source, state, *part.names, part)) return;
  Renaming renamed(known_names, *part.names);
  part.judge =
      std::make_unique<Judge>(*part.names, options.judge, options.rules, known.seen_only(renamed));
  part.good =
      apply_all(*source, state, part) && source->warnings().empty() && !source->skipped_unknown();
  part.judge->restart();  // Gives back what was kept for reuse.
  if (part.end != kNever) part.digest_behind = state.digest();
}

// False where the part cannot follow on what was judged before.
bool append(Judged& all, std::uint64_t& digest, Part& part) {
  if (!part.good || part.digest_before != digest) return false;
  Renaming renamed(*part.names, *all.names);
  const Coverage before = all.judge->coverage();
  const bool held_before = all.judge->holds();
  all.judge->append(std::move(*part.judge), renamed);
  // What was held back before would now be let go.
  if (held_before && !all.judge->coverage().judges_like(before)) return false;
  for (const LaunchMark& mark : part.marks) all.suspects.see(mark);
  all.events += part.events;
  digest = part.digest_behind;
  part = Part();
  return true;
}

}  // namespace

std::unique_ptr<Judged> judge_in_parts(const std::string& path, const VerifyOptions& options,
                                       unsigned jobs) {
  Team team(jobs);
  if (team.size() == 1) return nullptr;
  auto all = std::make_unique<Judged>();
  all->names = std::make_shared<Names>();
  std::vector<Part> parts;
  {
    Status status;
    const std::unique_ptr<Source> source = open_trace(path, *all->names, status);
    if (source == nullptr || source->keyframes().empty()) return nullptr;
    parts = parts_of(source->keyframes(), source->events(), kPartsAThread * team.size());
  }
  all->judge = std::make_unique<Judge>(*all->names, options.judge, options.rules);
  std::uint64_t digest = 0;
  // The first part is to see all that later ones are judged by; where another sees more, those
  // behind it are judged again.
  std::size_t done = 0;
  for (int round = 0; round < kMostRounds; ++round) {
    const Coverage known = all->judge->coverage();
    const std::size_t n = round == 0 ? 1 : parts.size() - done;
    team.run(n, [&](std::size_t i, unsigned) {
      run(path, options, known, *all->names, parts[done + i]);
    });
    for (const std::size_t end = done + n; done < end;) {
      if (!append(*all, digest, parts[done])) return nullptr;
      ++done;
      if (!all->judge->coverage().judges_like(known)) break;
    }
    if (done == parts.size()) return all;
  }
  return nullptr;
}

}  // namespace pagetape
