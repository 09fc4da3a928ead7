// SPDX-License-Identifier: Apache-2.0
#include "verify/parts.h"

#include <vector>

#include "replay/team.h"
#include "verify/trace_parts.h"

namespace pagetape {
namespace {

// More parts than threads, as some take longer; each costs the loading of a keyframe, and nothing
// judged before it can be reused.
constexpr std::size_t kPartsAThread = 3;
// Passes over what is left, before one judge is quicker.
constexpr int kMostRounds = 4;

struct Part {
  TracePart bounds;
  // Behind a run:
  Passage passage;
  std::uint64_t digest_behind = 0;  // Of the state.
  std::shared_ptr<Names> names;
  std::unique_ptr<Judge> judge;
  std::vector<LaunchMark> marks;
};

void run(const std::string& path, const VerifyOptions& options, const Coverage& known,
         const Names& known_names, Part& part) {
  part.names = std::make_shared<Names>();
  part.marks.clear();
  State state(*part.names);
  Renaming renamed(known_names, *part.names);
  part.judge =
      std::make_unique<Judge>(*part.names, options.judge, options.rules, known.seen_only(renamed));
  part.passage = go_through(
      path, part.bounds, *part.names, state,
      [&](const Event& event, EventIndex index) {
        const Outcome outcome = state.apply(event, part.judge.get());
        if (const auto mark = launch_mark(event, index)) part.marks.push_back(*mark);
        return outcome;
      },
      [&](const Briefs& briefs) {
        part.judge->note(briefs);
        return state.apply(briefs);
      });
  part.judge->restart();  // Gives back what was kept for reuse.
  if (part.bounds.end != kNever) part.digest_behind = state.digest();
}

// False where the part cannot follow on what was judged before.
bool append(Judged& all, std::uint64_t& digest, Part& part) {
  const Passage& passage = part.passage;
  if (!passage.good || passage.skipped || passage.digest_before != digest) return false;
  Renaming renamed(*part.names, *all.names);
  const Coverage before = all.judge->coverage();
  const bool held_before = all.judge->holds();
  all.judge->append(std::move(*part.judge), renamed);
  // What was held back before would now be let go.
  if (held_before && !all.judge->coverage().judges_like(before)) return false;
  for (const LaunchMark& mark : part.marks) all.suspects.see(mark);
  all.events += passage.events;
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
    for (const TracePart& bounds :
         trace_parts(source->keyframes(), source->events(), kPartsAThread * team.size())) {
      parts.emplace_back().bounds = bounds;
    }
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
