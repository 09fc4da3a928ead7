// SPDX-License-Identifier: Apache-2.0
#include "gui/app/what_if_run.h"

#include <algorithm>
#include <thread>
#include <utility>

namespace pagetape {
namespace {

// Bytes of K and V at a time: a viewer shares the machine.
constexpr std::uint64_t kMemory = std::uint64_t{256} << 20;

// What goes on from here. The result is to be asked, and told how far it is.
GoesOn begin(WhatIfRun& run, std::string doing) {
  run.tell([&](WhatIfTold& told) {
    told.doing = std::move(doing);
    told.done = 0;
  });
  return [&run](std::uint64_t done) {
    run.tell([done](WhatIfTold& told) { told.done = done; });
    return !run.stopped();
  };
}

// False where the run is to end.
bool failed(WhatIfRun& run, const Status& status) {
  if (status.ok()) return false;
  const std::string why = run.stopped() ? "stopped" : status.message();
  run.tell([&](WhatIfTold& told) { told.failed = why; });
  return true;
}

bool count(WhatIfRun& run, const std::string& path, const Variant& variant) {
  VariantReport report;
  const GoesOn goes_on = begin(run, "counting " + variant.name);
  if (failed(run, count_reads(path, variant, goes_on, report))) return false;
  run.tell([&](WhatIfTold& told) {
    told.lines.push_back({.words = what_if_row(report),
                          .first = report.first,
                          .clean = report.not_applicable.empty() && !report.first});
  });
  return true;
}

bool execute(WhatIfRun& run, const std::string& path, const Variant& variant, std::size_t line) {
  if (!run.told().lines[line].first) return true;
  ReplayOptions options;
  options.memory = kMemory;
  // One core is left for the frames.
  const unsigned cores = std::max(2U, std::thread::hardware_concurrency());
  const auto machine = make_cpu_machine(cores - 1);
  const GoesOn goes_on = begin(run, "executing " + variant.name);
  const WhatIfReport report = what_if(path, {variant}, options, *machine, goes_on);
  if (failed(run, report.status)) return false;
  run.tell([&](WhatIfTold& told) { told.lines[line].words = what_if_row(report.variants.at(0)); });
  return true;
}

void go_over(WhatIfRun& run, const std::string& path) {
  std::vector<Variant> variants;
  for (const auto& [name, means] : known_variants()) {
    (void)make_variant(std::string(name), variants.emplace_back());
  }
  bool goes_on = true;
  for (std::size_t v = 0; goes_on && v < variants.size(); ++v) {
    goes_on = count(run, path, variants[v]);
  }
  for (std::size_t v = 0; goes_on && v < variants.size(); ++v) {
    goes_on = execute(run, path, variants[v], v);
  }
  (void)begin(run, "");
}

}  // namespace

std::unique_ptr<WhatIfRun> run_what_if(const std::string& path) {
  return std::make_unique<WhatIfRun>([path](WhatIfRun& run) { go_over(run, path); });
}

}  // namespace pagetape
