// SPDX-License-Identifier: Apache-2.0
#include "replay/session.h"

#include <algorithm>

#include "replay/refusal.h"
#include "traces/source.h"

namespace pagetape {
namespace {

// Applies every event of the trace. False where reading or an event failed.
bool go_over(const std::string& path, Names& names, Observer& observer, ReplayReport& report) {
  std::unique_ptr<Source> source = open_trace(path, names, report.status);
  if (source == nullptr) return false;
  State state(names);
  Event event;
  std::uint64_t events = 0;
  while (source->next(event)) {
    const Outcome outcome = state.apply(event, &observer);
    if (!outcome.applied()) {
      report.status = refusal(*source, outcome, event, names);
      return false;
    }
    ++events;
  }
  report.events = events;
  report.status = source->status();
  report.warnings = source->warnings();
  return report.status.ok();
}

class Sums final : public Results {
 public:
  Sums(ReplayReport& report, bool lanes) : report_(report), lanes_(lanes) {}

  void on_step(std::int64_t step, const std::vector<LaneDigest>& digests,
               const std::vector<ReplayFinding>& findings) override {
    std::uint64_t sum = 0;
    for (const LaneDigest& d : digests) {
      const std::uint64_t launch = mix(d.event, static_cast<std::uint64_t>(d.launch + 1));
      sum += mix(mix(launch, static_cast<std::uint32_t>(d.layer.v)), d.lane) ^ d.digest;
    }
    steps_[step] += sum;
    if (lanes_) report_.lanes.insert(report_.lanes.end(), digests.begin(), digests.end());
    report_.findings.insert(report_.findings.end(), findings.begin(), findings.end());
  }

  // Steps in ascending order: their numbers are what they are called by.
  void end() {
    for (const auto& [step, digest] : steps_) {
      report_.steps.push_back({step, digest});
      report_.digest = mix(mix(report_.digest, static_cast<std::uint64_t>(step)), digest);
    }
    const auto by_place = [](const auto& x) { return std::tuple(x.event, x.launch, x.layer); };
    std::ranges::stable_sort(report_.lanes, {}, by_place);
    std::ranges::stable_sort(report_.findings, {}, by_place);
  }

 private:
  ReplayReport& report_;
  bool lanes_;
  std::map<std::int64_t, std::uint64_t> steps_;
};

// The layers of each pass: as many as fit, in order of pools and layers.
std::vector<Executor::PassLayers> passes_of(const Survey& survey, const ReplayOptions& options) {
  std::vector<Executor::PassLayers> passes;
  std::uint64_t used = 0;
  for (const auto& [ref, plan] : survey.pools) {
    if (!plan.refused.empty()) continue;
    for (Layer layer : plan.layers) {
      const bool wanted =
          options.layers.empty() ||
          (!layer.is_named() && std::ranges::find(options.layers, layer.v) != options.layers.end());
      if (!wanted) continue;
      if (passes.empty() || used + plan.layer_bytes() > options.memory) {
        passes.emplace_back();
        used = 0;
      }
      used += plan.layer_bytes();
      passes.back()[ref].push_back(layer);
    }
  }
  return passes;
}

std::string name_of(const ReplayOptions& options) {
  std::string name = "seed " + std::to_string(options.executor.seed);
  if (!options.layers.empty()) {
    name += ", layers";
    for (std::int32_t layer : options.layers) name += ' ' + std::to_string(layer);
  }
  if (options.heads > 0) name += ", " + std::to_string(options.heads) + " K/V heads";
  if (options.executor.on_oob == OnOob::kClamp) name += ", ids clamped";
  return name;
}

}  // namespace

ReplayReport replay_trace(const std::string& path, const ReplayOptions& options, Machine& machine) {
  ReplayReport report;
  report.trace = path;
  report.machine = machine.name();
  report.names = std::make_shared<Names>();
  report.digest_name = name_of(options);
  Surveyor surveyor(*report.names, options.heads);
  if (!go_over(path, *report.names, surveyor, report)) return report;
  const Survey survey = surveyor.survey();
  for (const auto& [ref, plan] : survey.pools) {
    if (plan.assumed && !plan.layers.empty()) {
      report.assumed.emplace_back(report.names->text(plan.name));
    }
  }
  Sums sums(report, options.lanes);
  std::vector<Executor::PassLayers> passes = passes_of(survey, options);
  if (passes.empty()) passes.emplace_back();  // To say what is not executed, and why.
  for (const Executor::PassLayers& pass : passes) {
    Executor executor(*report.names, survey, pass, machine, sums, options.executor);
    if (!executor.allocate()) {
      report.status =
          usage(std::string(machine.name()) + ": not enough memory for " +
                std::to_string(options.memory >> 20) + " MiB of K and V: give less with --memory");
      break;
    }
    if (!go_over(path, *report.names, executor, report)) break;
    report.status = executor.finish();
    report.launches += executor.launches();
    // What no pool or kernel can take is the same in every pass.
    for (const auto& [why, what] : executor.not_executed()) report.not_executed[why] = what;
    ++report.passes;
    if (!report.status.ok()) break;
  }
  sums.end();
  return report;
}

}  // namespace pagetape
