// SPDX-License-Identifier: Apache-2.0
// The simulated engine: requests come and go, prompts are prefilled in chunks, all lanes decode
// speculatively, pages are allocated, evicted, shared and freed. No model runs: what is random is
// how many drafted tokens are accepted. A virtual clock; the same configuration gives the same
// events.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "capture/sim/allocator.h"
#include "capture/sim/config.h"
#include "capture/sim/draft_runner.h"
#include "capture/sim/planter.h"
#include "capture/sim/prefix_cache.h"
#include "capture/sim/random.h"
#include "capture/sim/request.h"
#include "capture/sim/tables.h"
#include "capture/sim/tape.h"
#include "capture/sim/target_runner.h"

namespace pagetape::sim {

// Sets what is 0 to the model's figures. Returns "", or what is wrong with the configuration.
std::string complete(Config& config);

class Engine {
 public:
  // The configuration is complete; the recorder outlives the engine.
  Engine(const Config& config, ptape_recorder* recorder);

  // Runs to the end. False where the trace could not be written.
  bool run();

  std::int64_t steps() const { return step_; }
  std::int64_t preemptions() const { return preemptions_; }

 private:
  using RequestPtr = std::unique_ptr<Request>;

  // Scheduling.
  void arrive();
  bool admit();
  void prefill();
  void decode();
  RequestPtr take(Request* request);
  void leave(Request* request, ptape_name state);
  void preempt_last();
  void free_pages(Request& request);
  void free_group();

  // Pages.
  bool room_for(std::int32_t pages, std::int32_t spare);
  bool grow(Request& request, std::int64_t tokens);
  bool take_back(std::int32_t pages);
  bool take_back_one(Request& request, std::int64_t limit);
  std::int64_t out_of_window(const Request& request) const;
  void evict(Request& request, std::int32_t logical);
  void evict_outputs(Request& request);

  // Steps.
  void complete_step();
  void begin_step(ptape_name mode, std::size_t batch, std::int64_t ns);
  void fill(const Request& request, std::int64_t begin, std::int64_t end);
  void fill(const Request& request, bool swa, std::size_t first, std::size_t end,
            std::int64_t tokens, bool digest);
  void draw_accepted();
  void allocate_decode();
  void accept(Request& request);
  void shrink(Request& request, std::int64_t tokens);

  const Config config_;
  const Model& model_;
  Tape tape_;
  Random random_;
  HybridAllocator allocator_;
  Tables tables_;
  DraftRunner draft_;
  TargetRunner target_;
  PrefixCache cache_;
  Planter planter_;

  std::deque<RequestPtr> waiting_;  // Preempted ones first.
  Running running_;
  Request* prefilling_ = nullptr;  // One of running_.
  PageList freed_;                 // Waits for free_group().
  PageList cells_;
  std::int64_t next_id_ = 0, step_ = 0, decodes_ = 0, preemptions_ = 0;
};

}  // namespace pagetape::sim
