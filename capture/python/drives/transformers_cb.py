# SPDX-License-Identifier: Apache-2.0
"""Continuous batching of Hugging Face transformers, on a GPU where torch sees
one: generate_batch itself, with a small Gemma-3-style model of random weights (five sliding layers,
one full) and more requests than there are blocks for at once: some lose their blocks and begin
again. Each prompt is answered twice, by a fork of its cache. The attention is SDPA; nothing is
replaced. With $PAGETAPE_GRAPH=1 on a GPU it is CUDA graphs, with $PAGETAPE_ASYNC=1 batches take
turns: one is prepared while the one before it runs.

$PAGETAPE_PLANT perturbs the engine's own objects from outside, once, in the middle of the run:
  cell   a request's block table of the full group names another request's block
  freed  a request's blocks are freed while it goes on using them; the engine, which then frees
         some of them twice, gives up in the end
  table  a sliding layer gets the indices of another group's table
  read   an index of the full group's that the batch is about to read is beyond the pool
  write  likewise, that it is about to write
"""

from __future__ import annotations

import os
from typing import List
from zlib import crc32

import torch
from transformers import (ContinuousBatchingConfig, Gemma3ForCausalLM, Gemma3TextConfig,
                          GenerationConfig)
from transformers.generation.continuous_batching.cache import PagedAttentionCache
from transformers.generation.continuous_batching.input_outputs import ContinuousBatchingIOs

PROMPTS, NEW_TOKENS, AT_STEP = 24, 24, 30
OUTSIDE = 1 << 40  # no slot of any pool's, and no address that is mapped
WINDOW, BLOCK = 40, 16  # no multiple: the rolling buffer begins anew within a block


def model() -> Gemma3ForCausalLM:
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=6,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, sliding_window=WINDOW,
        max_position_embeddings=1024, layer_types=["sliding_attention"] * 5 + ["full_attention"])
    built = Gemma3ForCausalLM(config).eval()
    built.set_attn_implementation("paged|sdpa")
    return built.to("cuda", torch.bfloat16) if torch.cuda.is_available() else built


def prompts() -> List[List[int]]:
    """Of very different lengths, so that prefills are cut into chunks between others' decodes.
    Every fourth repeats the one before it: complete full blocks are shared."""
    lengths = [5 + (37 * i) % 120 for i in range(PROMPTS)]
    seeds = [i - (i % 4 == 3) for i in range(PROMPTS)]
    return [[1 + (seeds[i] * 31 + j * 7) % 250 for j in range(lengths[seeds[i]])]
            for i in range(PROMPTS)]


def plant_cell(cache, requests) -> None:
    tables = next(one for one in cache.group_cache_managers
                  if not hasattr(one, "sliding_window")).block_table
    tables[requests[0]][0] = tables[requests[1]][-1]


def plant_freed(cache, requests) -> None:
    sliding = next(one for one in cache.group_cache_managers if hasattr(one, "sliding_window"))
    blocks = list(sliding.block_table[requests[0]])
    sliding.free_blocks(requests[0], cache._block_manager)
    sliding.block_table[requests[0]] = blocks


def plant_in_batch(plant) -> None:
    """Once a batch is scheduled in which two requests go on from tokens in the cache."""
    original, steps, done = ContinuousBatchingIOs.prepare_batch_tensors, [0], []

    def prepare(inputs, requests_in_batch, *args, **kwargs):
        steps[0] += 1
        requests = [one.state.request_id for one in requests_in_batch
                    if one.state.position_offset > 0]
        if steps[0] >= AT_STEP and not done and len(requests) > 1:
            done.append(True)
            plant(inputs.cache, requests)
        return original(inputs, requests_in_batch, *args, **kwargs)

    ContinuousBatchingIOs.prepare_batch_tensors = prepare


def plant_index(storage: str) -> None:
    """In the tensors that the kernels get, once there is a batch that reads the cache."""
    original, steps, done = ContinuousBatchingIOs.prepare_batch_tensors, [0], []

    def prepare(inputs, *args, **kwargs):
        result = original(inputs, *args, **kwargs)
        steps[0] += 1
        cache = inputs.cache
        full = next(i for i, one in enumerate(cache.group_cache_managers)
                    if not hasattr(one, "sliding_window"))
        if steps[0] >= AT_STEP and not done and inputs.max_kv_read > 0:
            done.append(True)
            getattr(inputs, storage)[full, 0] = OUTSIDE
        return result

    ContinuousBatchingIOs.prepare_batch_tensors = prepare


def plant_table() -> None:
    original, calls, done = PagedAttentionCache.update, [0], []

    def update(cache, key_states, value_states, layer_idx, read_index, write_index):
        calls[0] += 1
        a, b = (cache.layer_index_to_group_indices[layer][0] for layer in (0, 1))
        if layer_idx == 0 and calls[0] >= AT_STEP * 6 and not done and read_index[a].numel():
            done.append(True)
            read_index = list(read_index)
            read_index[a] = read_index[b]
        return original(cache, key_states, value_states, layer_idx, read_index, write_index)

    PagedAttentionCache.update = update


def main() -> None:
    fault = os.environ.get("PAGETAPE_PLANT", "")
    if fault == "table":
        plant_table()
    elif fault in ("read", "write"):
        plant_index(fault + "_index_storage")
    elif fault:
        plant_in_batch({"cell": plant_cell, "freed": plant_freed}[fault])
    batching = ContinuousBatchingConfig(block_size=BLOCK, num_blocks=60, max_batch_tokens=64,
                                        use_cuda_graph=os.environ.get("PAGETAPE_GRAPH") == "1",
                                        use_async_batching=os.environ.get("PAGETAPE_ASYNC") == "1",
                                        seed=1)
    generation = GenerationConfig(max_new_tokens=NEW_TOKENS, do_sample=True, eos_token_id=-1,
                                  pad_token_id=0, num_return_sequences=2)
    answers = model().generate_batch(inputs=prompts(), generation_config=generation,
                                     continuous_batching_config=batching, progress_bar=False)
    for error in sorted({one.error for one in answers.values() if one.error}):
        print("failed:", error)
    tokens = {name: answer.generated_tokens for name, answer in answers.items()}
    print(f"{len(answers)} requests, {sum(map(len, tokens.values()))} new tokens")
    if os.environ.get("PAGETAPE_GRAPH") == "1":  # To be compared with another run's.
        print(f"{crc32(bytes(t for name in sorted(answers) for t in tokens[name])):08x}")


if __name__ == "__main__":
    main()
