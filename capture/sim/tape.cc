// SPDX-License-Identifier: Apache-2.0
#include "capture/sim/tape.h"

#include <cstdarg>
#include <cstdio>

namespace pagetape::sim {

Tape::Tape(ptape_recorder* recorder, bool live) : recorder_(recorder), live_(live) {
  full = name("F");
  swa = name("S");
  set = name("W");
  map = name("F>S");
  target = name("target");
  draft = name("draft");
  radix = name("#radix");
  target_table = name("target.page_table");
  target_swa_table = name("target.swa_page_table");
  target_lens = name("target.cache_seqlens");
  draft_table = name("draft.page_table");
  draft_swa_table = name("draft.swa_page_table");
  draft_clamped_table = name("draft.clamped_page_table");
  draft_lens = name("draft.cache_seqlens");
  extend = name("extend");
  verify = name("verify");
  arrive = name("arrive");
  run = name("run");
  preempt = name("preempt");
  resume = name("resume");
  finish = name("finish");
  abort = name("abort");
}

void Tape::json(std::string line) {
  line.back() = ',';
  line += format(R"("t":%lld})", static_cast<long long>(at_.t));
  keep(ptape_json(recorder_, line.data(), line.size()));
}

void Tape::alloc(ptape_name pool, ptape_name req, Pages pages, std::int64_t first) {
  keep(ptape_alloc(recorder_, &at_, pool, req, pages.data(), pages.size(), first));
}

void Tape::share(ptape_name pool, ptape_name req, Pages pages) {
  keep(ptape_share(recorder_, &at_, pool, req, pages.data(), pages.size(), PTAPE_ABSENT));
}

void Tape::free(ptape_name pool, ptape_name req, Pages pages) {
  keep(ptape_free(recorder_, &at_, pool, req, pages.data(), pages.size()));
}

void Tape::table(ptape_name buffer, std::int64_t row, std::int64_t col, Pages pages, ptape_name req,
                 ptape_name space) {
  keep(ptape_table(recorder_, &at_, buffer, row, col, pages.data(), pages.size(), req, space, 0));
}

void Tape::lens(ptape_name buffer, std::int64_t row, std::span<const std::int64_t> values) {
  keep(ptape_lens(recorder_, &at_, buffer, row, values.data(), values.size()));
}

std::string format(const char* text, ...) {
  va_list arguments, again;
  va_start(arguments, text);
  va_copy(again, arguments);
  std::string to(static_cast<std::size_t>(std::vsnprintf(nullptr, 0, text, arguments)), '\0');
  std::vsnprintf(to.data(), to.size() + 1, text, again);
  va_end(again);
  va_end(arguments);
  return to;
}

}  // namespace pagetape::sim
