// SPDX-License-Identifier: Apache-2.0
#include "gui/app/what_if_run.h"

#include <algorithm>
#include <utility>

namespace pagetape {

// Bytes of K and V at a time: a viewer shares the machine.
static constexpr std::uint64_t kMemory = std::uint64_t{256} << 20;

WhatIfRun::WhatIfRun(std::string path) : path_(std::move(path)), thread_([this] { run(); }) {}

WhatIfRun::~WhatIfRun() {
  stop();
  wait();
}

void WhatIfRun::wait() {
  if (thread_.joinable()) thread_.join();
}

WhatIfRun::Told WhatIfRun::told() const {
  const std::lock_guard lock(mutex_);
  Told out = told_;
  out.done = done_;
  return out;
}

void WhatIfRun::run() {
  std::vector<Variant> variants;
  for (const auto& [name, means] : known_variants()) {
    (void)make_variant(std::string(name), variants.emplace_back());
  }
  bool goes_on = true;
  for (std::size_t v = 0; goes_on && v < variants.size(); ++v) goes_on = count(variants[v]);
  for (std::size_t v = 0; goes_on && v < variants.size(); ++v) goes_on = execute(variants[v], v);
  doing("");
  over_ = true;
}

void WhatIfRun::doing(const std::string& what) {
  const std::lock_guard lock(mutex_);
  told_.doing = what;
  done_ = 0;
}

// False where the run is to end.
bool WhatIfRun::failed(const Status& status) {
  if (status.ok()) return false;
  const std::lock_guard lock(mutex_);
  told_.failed = stopped_ ? "stopped" : status.message();
  return true;
}

bool WhatIfRun::count(const Variant& variant) {
  doing("counting " + variant.name);
  VariantReport report;
  const auto goes_on = [&](std::uint64_t done) {
    done_ = done;
    return !stopped_;
  };
  if (failed(count_reads(path_, variant, goes_on, report))) return false;
  const std::lock_guard lock(mutex_);
  told_.lines.push_back({.words = what_if_row(report),
                         .first = report.first,
                         .clean = report.not_applicable.empty() && !report.first});
  return true;
}

bool WhatIfRun::execute(const Variant& variant, std::size_t line) {
  {
    const std::lock_guard lock(mutex_);
    if (!told_.lines[line].first) return true;
  }
  doing("executing " + variant.name);
  ReplayOptions options;
  options.memory = kMemory;
  // One core is left for the frames.
  const unsigned cores = std::max(2U, std::thread::hardware_concurrency());
  const auto machine = make_cpu_machine(cores - 1);
  const WhatIfReport report = what_if(path_, {variant}, options, *machine, [&](std::uint64_t done) {
    done_ = done;
    return !stopped_;
  });
  if (failed(report.status)) return false;
  const std::lock_guard lock(mutex_);
  told_.lines[line].words = what_if_row(report.variants.at(0));
  return true;
}

}  // namespace pagetape
