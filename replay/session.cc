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

}  // namespace

bool ReplayOptions::wants(Layer layer) const {
  return layers.empty() ||
         (!layer.is_named() && std::ranges::find(layers, layer.v) != layers.end());
}

std::string ReplayOptions::name() const {
  std::string out = "seed " + std::to_string(executor.seed);
  if (!layers.empty()) {
    out += ", layers";
    for (std::int32_t layer : layers) out += ' ' + std::to_string(layer);
  }
  if (heads > 0) out += ", " + std::to_string(heads) + " K/V heads";
  if (executor.on_oob == OnOob::kClamp) out += ", ids clamped";
  return out;
}

std::vector<Executor::PassLayers> passes_of(
    const Survey& survey, std::uint64_t memory,
    const std::function<bool(const PoolRef&, Layer)>& wanted) {
  std::vector<Executor::PassLayers> passes(1);
  std::uint64_t used = 0;
  for (const auto& [ref, plan] : survey.pools) {
    if (!plan.refused.empty()) continue;
    for (Layer layer : plan.layers) {
      if (!wanted(ref, layer)) continue;
      if (used > 0 && used + plan.layer_bytes() > memory) {
        passes.emplace_back();
        used = 0;
      }
      used += plan.layer_bytes();
      passes.back()[ref].push_back(layer);
    }
  }
  return passes;
}

Status no_room(const Machine& machine, std::uint64_t memory) {
  return system_error(std::string(machine.name()) + ": not enough memory for " +
                      std::to_string(memory >> 20) +
                      " MiB of K and V, or for one layer's: give less with --memory");
}

ReplayReport replay_trace(const std::string& path, const ReplayOptions& options, Machine& machine) {
  ReplayReport report;
  report.trace = path;
  report.machine = machine.name();
  report.names = std::make_shared<Names>();
  report.digest_name = options.name();
  Surveyor surveyor(*report.names, options.heads);
  if (!go_over(path, *report.names, surveyor, report)) return report;
  const Survey survey = surveyor.survey();
  for (const auto& [ref, plan] : survey.pools) {
    if (plan.owners_known) report.owners_checked.insert(plan.name);
    if (plan.assumed && !plan.layers.empty()) {
      report.assumed.emplace_back(report.names->text(plan.name));
    }
  }
  Sums sums(report, options.lanes);
  const auto wanted = [&](const PoolRef&, Layer layer) { return options.wants(layer); };
  const std::uint64_t memory = options.memory_of(machine);
  for (const Executor::PassLayers& pass : passes_of(survey, memory, wanted)) {
    Executor executor(*report.names, survey, pass, machine, sums, options.executor);
    if (!executor.allocate()) {
      report.status = no_room(machine, memory);
      break;
    }
    if (!go_over(path, *report.names, executor, report)) break;
    report.status = executor.finish();
    report.launches += executor.launches();
    // What no pool or kernel can take is the same in every pass.
    for (const auto& [why, what] : executor.not_executed()) report.not_executed[why] = what;
    report.left_out.insert(executor.left_out().begin(), executor.left_out().end());
    ++report.passes;
    if (!report.status.ok()) break;
  }
  sums.end();
  return report;
}

}  // namespace pagetape
