// SPDX-License-Identifier: Apache-2.0
// If we patch it this way, what then? The same recording under several variants.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "replay/session.h"
#include "verify/variant.h"

namespace pagetape {

// Relative errors of outputs in a fixed amount of memory: quantiles to 1 part in 2,000.
class ErrorHistogram {
 public:
  void add(double relative);
  std::uint64_t count() const { return count_; }
  // The least value that a share `q` of those added does not exceed; 0 where there are none.
  double quantile(double q) const;
  double max() const { return max_; }

 private:
  std::vector<std::uint64_t> bins_;
  std::uint64_t count_ = 0;
  double max_ = 0;
};

struct VariantReport {
  std::string name;
  std::string not_applicable;     // Why; the figures then say nothing.
  std::uint64_t oob_reads = 0;    // Live entries outside the pool bound, a layer each.
  std::uint64_t wrong_reads = 0;  // In range, and another page than the request's own.
  std::uint64_t requests = 0;     // That had either.
  std::uint64_t queries = 0;      // Of a draft, a layer each; of all backends where none is one.
  std::uint64_t affected = 0;     // Of these, that read a page outside or a wrong one.
  std::optional<std::uint64_t> first;  // The first event that does.
  ErrorHistogram errors;               // Of the outputs of affected queries (of any backend).
  std::map<std::string, NotExecuted> not_executed;
};

struct WhatIfReport {
  std::string trace, machine;
  std::string measured;  // Of what errors are: seed, layers, heads.
  Status status;
  std::vector<std::string> warnings;
  std::vector<VariantReport> variants;
};

// Asked now and then with the events gone over so far; false: stop there.
using GoesOn = std::function<bool(std::uint64_t)>;

// Counts what a variant reads and executes nothing: errors stay unknown. `out` is written whole.
Status count_reads(const std::string& path, const Variant& variant, const GoesOn& goes_on,
                   VariantReport& out);

// Goes over the trace once a variant to count what is read, and again to execute the launches that
// read something wrong, with the pages given and with the right ones. An entry is wrong where the
// page that the request has for that column is known (alloc's `first`, maps) and is another. Of an
// output, pages outside the pool are left out. Never throws; what failed is in `status`.
WhatIfReport what_if(const std::string& path, const std::vector<Variant>& variants,
                     const ReplayOptions& options, Machine& machine, const GoesOn& goes_on = {});

// A line of the table of variants, and what stands above it. Where a variant does not apply, the
// second word says so and the others are empty.
using WhatIfRow = std::array<std::string, 8>;
WhatIfRow what_if_head();
WhatIfRow what_if_row(const VariantReport& variant);

std::string what_if_json(const WhatIfReport& report);
std::string what_if_text(const WhatIfReport& report);

}  // namespace pagetape
