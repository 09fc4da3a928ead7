// SPDX-License-Identifier: Apache-2.0
#include "verify/crosscheck.h"

#include <map>
#include <tuple>

#include "verify/verify.h"

namespace pagetape {
namespace {

constexpr std::size_t kDifferencesTold = 10;

// One entry of one launch; layers that share it are counted.
struct Use {
  EventIndex event = 0;
  std::int64_t launch = -1, row = 0, column = 0, id = 0;
  auto operator<=>(const Use&) const = default;
};

// How often the verifier says it of a use, once a layer.
struct Said {
  std::uint64_t outside = 0;  // OOB_PAGE
  std::uint64_t owner = 0;    // FREED_PAGE, WRONG_OWNER
  std::uint64_t beside = 0;   // What comes before these: evicted, reserved, another group's page.
};

bool executed(const ReplayReport& replay, const Finding& f) {
  const auto& out = replay.left_out;
  return !out.contains({.pool = f.pool}) && !out.contains({f.event, f.launch, f.pool});
}

// The verifier's word on every use that the machine looked at, too.
std::map<Use, Said> judged(const ReplayReport& replay, const ReplayOptions& options) {
  VerifyOptions verify;
  verify.judge.max_findings = 0;
  const Report report = verify_trace(replay.trace, verify);
  std::map<Use, Said> uses;
  for (const Finding& f : report.findings) {
    if (f.slot != INT64_MIN || f.row < 0 || f.column < 0 || !f.has_layer || !options.wants(f.layer))
      continue;
    const std::string pool(report.names->text(f.pool));
    Finding here = f;
    here.pool = replay.names->find(pool);
    if (!executed(replay, here)) continue;
    const bool owners = replay.owners_checked.contains(here.pool);
    Said& said = uses[{f.event, f.launch, f.row, f.column, f.page}];
    switch (f.rule) {
      case Rule::kOobPage:
        ++said.outside;
        break;
      case Rule::kFreedPage:
      case Rule::kWrongOwner:
        if (owners) ++said.owner;
        break;
      case Rule::kWindowEvicted:
      case Rule::kUninitRead:
      case Rule::kWrongSpace:
        ++said.beside;
        break;
      default:
        break;
    }
  }
  return uses;
}

std::string words(const Use& use, const std::string& what) {
  std::string out = "event " + std::to_string(use.event);
  if (use.launch >= 0) out += ", launch " + std::to_string(use.launch) + " of the graph";
  return out + ", row " + std::to_string(use.row) + ", column " + std::to_string(use.column) +
         ", id " + std::to_string(use.id) + ": " + what;
}

}  // namespace

CrossCheck crosscheck(const ReplayReport& replay, const ReplayOptions& options) {
  std::map<Use, Said> uses = judged(replay, options);
  std::map<Use, std::pair<std::uint64_t, std::uint64_t>> found;  // Outside, of another owner.
  for (const ReplayFinding& f : replay.findings) {
    auto& counts = found[{f.event, f.launch, f.row, f.column, f.id}];
    (f.outside ? counts.first : counts.second) += f.layers;
  }
  for (const auto& [use, said] : uses) found.try_emplace(use);
  CrossCheck out;
  for (const auto& [use, counts] : found) {
    const Said& said = uses[use];
    const auto& [outside, owner] = counts;
    const bool same =
        outside == said.outside && owner >= said.owner && owner <= said.owner + said.beside;
    if (same) {
      out.agreed += outside + owner > 0;
      continue;
    }
    ++out.differing;
    if (out.differences.size() >= kDifferencesTold) continue;
    const auto times = [](std::uint64_t o, std::uint64_t w) {
      return std::to_string(o) + " outside, " + std::to_string(w) + " of another owner";
    };
    out.differences.push_back(words(use, "the machine found " + times(outside, owner) +
                                             "; the verifier " + times(said.outside, said.owner)));
  }
  return out;
}

}  // namespace pagetape
