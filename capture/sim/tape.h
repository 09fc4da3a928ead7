// SPDX-License-Identifier: Apache-2.0
// What the simulated engine writes with: the recorder's C interface and the names it uses.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "capture/pagetape_capture.h"

namespace pagetape::sim {

class Tape {
 public:
  // The recorder outlives the tape. An engine that is `live` goes on whatever becomes of it.
  Tape(ptape_recorder* recorder, bool live);

  ptape_recorder* recorder() const { return recorder_; }
  const ptape_at* at() const { return &at_; }
  // The virtual clock: the same run has the same times.
  void advance(std::int64_t ns) { at_.t += ns; }
  bool failed() const { return failed_; }

  ptape_name name(std::string_view text) {
    return ptape_intern(recorder_, std::string(text).c_str());
  }
  // A line of the text form, an object; the time is added.
  void json(std::string line);

  using Pages = std::span<const std::int32_t>;
  void alloc(ptape_name pool, ptape_name req, Pages pages, std::int64_t first = PTAPE_ABSENT);
  void share(ptape_name pool, ptape_name req, Pages pages);
  void free(ptape_name pool, ptape_name req, Pages pages);
  void table(ptape_name buffer, std::int64_t row, std::int64_t col, Pages pages, ptape_name req,
             ptape_name space);
  void lens(ptape_name buffer, std::int64_t row, std::span<const std::int64_t> values);
  void keep(int error) { failed_ = failed_ || (error != PTAPE_OK && !live_); }

  // Pools, the set of both, the map, backends, owners.
  ptape_name full, swa, set, map, target, draft, radix;
  // Buffers of the target and of the draft: page tables, SWA page tables, lengths.
  ptape_name target_table, target_swa_table, target_lens;
  ptape_name draft_table, draft_swa_table, draft_clamped_table, draft_lens;
  // Modes and states.
  ptape_name extend, verify, arrive, run, preempt, resume, finish, abort;

 private:
  ptape_recorder* recorder_;
  const bool live_;
  ptape_at at_{0, 0, -1, 0};
  bool failed_ = false;
};

// printf into a string.
[[gnu::format(printf, 1, 2)]] std::string format(const char* text, ...);

}  // namespace pagetape::sim
