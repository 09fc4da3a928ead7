// SPDX-License-Identifier: Apache-2.0
#include "capture/sim/synth.h"

#include "capture/pagetape_capture.h"
#include "capture/sim/engine.h"

namespace pagetape::sim {

SynthResult synthesize(Config config, const std::string& path) {
  SynthResult result;
  result.error = complete(config);
  if (!result.error.empty()) return result;
  ptape_options options{};
  options.size = sizeof(options);
  options.path = path.c_str();
  options.rank = -1;
  options.block = !config.live;  // A simulation can wait; an engine could not.
  ptape_recorder* recorder = ptape_open(&options);
  if (recorder == nullptr) {
    result.error = ptape_last_error(nullptr);
    return result;
  }
  {
    Engine engine(config, recorder);
    engine.run();
    result.steps = engine.steps();
    result.preemptions = engine.preemptions();
  }
  ptape_flush(recorder);
  const ptape_counts counts = ptape_stats(recorder);
  result.events = counts.events + 1;  // `end`
  result.dropped = counts.dropped;
  result.bytes = counts.bytes;
  // Of an engine that runs, it is for the collector to say what failed.
  if (ptape_close(recorder) != PTAPE_OK && !config.live) result.error = ptape_last_error(nullptr);
  return result;
}

}  // namespace pagetape::sim
