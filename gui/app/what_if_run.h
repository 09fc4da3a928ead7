// SPDX-License-Identifier: Apache-2.0
// What if the engine had been patched: the variants of a trace, gone over in a thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "verify/what_if.h"

namespace pagetape {

// A variant as it is shown.
struct VariantLine {
  WhatIfRow words;
  std::optional<std::uint64_t> first;  // The first event that reads a page that is not right.
  bool clean = false;                  // It applies, and there is none.
};

// First counts what every variant reads, a pass each; then executes, on a CPU, the launches of
// those that read something wrong, which tells how wrong their outputs are and can take long.
class WhatIfRun {
 public:
  explicit WhatIfRun(std::string path);
  ~WhatIfRun();  // Stops it.
  WhatIfRun(const WhatIfRun&) = delete;
  WhatIfRun& operator=(const WhatIfRun&) = delete;

  struct Told {
    std::vector<VariantLine> lines;
    std::string doing;       // "counting clamp"; empty: over.
    std::string failed;      // Why it is over too early.
    std::uint64_t done = 0;  // Events of the pass at hand.
  };
  Told told() const;  // From any thread.
  bool over() const { return over_; }
  void stop() { stopped_ = true; }
  void wait();

 private:
  void run();
  bool count(const Variant& variant);
  bool execute(const Variant& variant, std::size_t line);
  void doing(const std::string& what);
  bool failed(const Status& status);

  const std::string path_;
  std::atomic<bool> stopped_ = false, over_ = false;
  std::atomic<std::uint64_t> done_ = 0;
  mutable std::mutex mutex_;  // Of what is told.
  Told told_;
  std::thread thread_;
};

}  // namespace pagetape
