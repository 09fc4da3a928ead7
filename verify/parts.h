// SPDX-License-Identifier: Apache-2.0
// Judges a trace on several threads, each a stretch between two of its keyframes.
#pragma once

#include <memory>
#include <string>

#include "traces/names.h"
#include "verify/suspects.h"
#include "verify/verify.h"

namespace pagetape {

// What one judge that went through the whole trace would have, to the byte.
struct Judged {
  std::shared_ptr<Names> names;
  std::unique_ptr<Judge> judge;  // Not finished.
  Suspects suspects;
  std::uint64_t events = 0;
};

// Null where only one judge from the beginning to the end can tell: the trace has no keyframes, is
// damaged, in error, newer than this program, or its keyframes are not the states that its events
// lead to. `jobs` threads, 0: one a core. Memory: a state, a segment and a judge for each thread.
std::unique_ptr<Judged> judge_in_parts(const std::string& path, const VerifyOptions& options,
                                       unsigned jobs);

}  // namespace pagetape
