// SPDX-License-Identifier: Apache-2.0
// No false alarm: healthy runs of drawn engines, none of which may have a finding. How many
// launches are judged: PAGETAPE_CLEAN_LAUNCHES (the first draw: PAGETAPE_CLEAN_SEED).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "capture/sim/synth.h"
#include "tests/verify/verify_fixture.h"

namespace pagetape {
namespace {

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* given = std::getenv(variable);
  return given == nullptr ? otherwise : std::strtoull(given, nullptr, 10);
}

template <class T>
T one_of(Dice& dice, std::initializer_list<T> list) {
  return list.begin()[dice.below(static_cast<std::int64_t>(list.size()))];
}

// Layers, windows, page sizes and pools from roomy to so small that requests are preempted.
sim::Model drawn_model(Dice& dice) {
  sim::Model m = *sim::find_model("tiny");
  m.name = "drawn";
  m.full_every = static_cast<int>(2 + dice.below(5));
  m.layers = m.full_every * static_cast<int>(1 + dice.below(5)) + static_cast<int>(dice.below(2));
  int full = m.layers - 1, window = m.layers - 1;
  while (!m.is_full(full)) --full;
  while (m.is_full(window)) --window;
  m.draft_full_layer = full;
  m.draft_swa_layer = window;
  m.page_size = one_of(dice, {1, 4, 16, 32, 64, 128});
  m.window = static_cast<int>(1 + dice.below(6 * m.page_size));
  m.context_pages = static_cast<int>(8 + dice.below(40));
  m.full_pages = static_cast<std::int32_t>(m.context_pages + 2 + dice.below(3 * m.context_pages));
  m.swa_pages = static_cast<std::int32_t>(m.context_pages + 2 + dice.below(2 * m.context_pages));
  m.chunk_tokens = static_cast<int>(m.page_size * (1 + dice.below(8)));
  m.odd_prompts_shorter = static_cast<int>(dice.below(m.page_size));
  return m;
}

sim::Config drawn_config(Dice& dice, const sim::Model& drawn) {
  sim::Config c;
  const bool small = !dice.one_in(3);
  c.model = small ? &drawn : sim::find_model(one_of(dice, {"gemma4-e4b", "gemma4-26b", "tiny"}));
  c.seed = dice.next() >> 1;
  const std::int64_t tokens =
      std::int64_t{c.model->page_size} *
      std::min({c.model->context_pages, c.model->full_pages - 1, c.model->swa_pages - 1});
  const std::int64_t room = tokens - sim::kDraftTokens - c.model->odd_prompts_shorter - 2;
  c.prompt_tokens =
      c.model->odd_prompts_shorter + 1 + dice.below(std::max<std::int64_t>(room / 2, 1));
  c.output_tokens = 1 + dice.below(std::max<std::int64_t>(room / 2, 1));
  c.concurrency = 1 + dice.below(small ? 6 : 64);
  c.requests = c.concurrency + dice.below(3 * c.concurrency + 1);
  c.steps = 400;
  c.lean = dice.one_in(2);
  return c;
}

std::string in_words(const sim::Config& c) {
  const sim::Model& m = *c.model;
  std::string out = std::string(m.name);
  for (const std::int64_t n :
       {std::int64_t{m.layers}, std::int64_t{m.full_every}, std::int64_t{m.page_size},
        std::int64_t{m.window}, std::int64_t{m.full_pages}, std::int64_t{m.swa_pages},
        std::int64_t{m.context_pages}, c.requests, c.concurrency, c.prompt_tokens,
        c.output_tokens}) {
    out += ' ' + std::to_string(n);
  }
  return out;
}

TEST(CleanLaunches, OfDrawnEnginesHaveNoFinding) {
  const ScratchFolder folder;
  const std::uint64_t wanted = number_from("PAGETAPE_CLEAN_LAUNCHES", 200'000);
  std::uint64_t seed = number_from("PAGETAPE_CLEAN_SEED", 1);
  std::uint64_t launches = 0, traces = 0;
  std::int64_t preemptions = 0;
  for (; launches < wanted; ++seed) {
    Dice dice(seed);
    const sim::Model model = drawn_model(dice);
    const sim::Config config = drawn_config(dice, model);
    const std::string path = folder.file("clean.ptape");
    const sim::SynthResult made = sim::synthesize(config, path);
    ASSERT_EQ(made.error, "") << "PAGETAPE_CLEAN_SEED=" << seed << ": " << in_words(config);
    const Report report = verify_trace(path, {});
    ASSERT_TRUE(report.status.ok()) << report.status.message();
    ASSERT_EQ(report.total, 0u) << "PAGETAPE_CLEAN_SEED=" << seed << ": " << in_words(config)
                                << '\n'
                                << report_text(report);
    ASSERT_GT(report.launches, 0u) << "PAGETAPE_CLEAN_SEED=" << seed;
    launches += report.launches;
    preemptions += made.preemptions;
    ++traces;
  }
  std::printf("%llu launches of %llu drawn engines, %lld preemptions\n",
              static_cast<unsigned long long>(launches), static_cast<unsigned long long>(traces),
              static_cast<long long>(preemptions));
}

}  // namespace
}  // namespace pagetape
