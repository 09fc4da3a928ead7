// SPDX-License-Identifier: Apache-2.0
// The geometry of the models that the simulated engine serves.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace pagetape::sim {

// Pools hold K and V of every layer, those that share another layer's included, as SGLang's do.
struct Model {
  std::string_view name, sentence;
  int layers;
  int full_every;           // Layers full_every - 1, 2 * full_every - 1, … attend to all tokens.
  int draft_swa_layer;      // Where the draft's window layers a0, a1, a2 read.
  int draft_full_layer;     // Where its full layer a3 reads.
  int page_size;            // Tokens.
  int window;               // Tokens, the query's own included.
  std::int32_t full_pages;  // Of the buffer: page 0 is reserved.
  std::int32_t swa_pages;
  int kv_heads_swa, head_dim_swa, kv_heads_full, head_dim_full;
  int context_pages;  // Columns of a page table.
  int chunk_tokens;   // Most tokens of one prefill step.
  // Where the command line says nothing:
  int requests, concurrency, prompt_tokens, output_tokens;
  int odd_prompts_shorter;  // Tokens: so that small runs do not meet every boundary at once.

  bool is_full(int layer) const { return layer % full_every == full_every - 1; }
};

std::span<const Model> models();
// Null where there is none of that name.
const Model* find_model(std::string_view name);

}  // namespace pagetape::sim
