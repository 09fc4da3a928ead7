# SPDX-License-Identifier: Apache-2.0
"""Continuous batching of Hugging Face transformers where batches of decodes alone go by block
table, the path for flash attention, of which a stand-in in PyTorch is here: it reads and writes the
cache as flash_attn_with_kvcache does, by the ids it is given. All else is generate_batch's own, for
a small model of random weights whose layers are all full (the path takes no others). On a GPU with
$PAGETAPE_GRAPH=1 both paths are CUDA graphs.

$PAGETAPE_PLANT=table: once, in the middle of the run, a block table that was just filled has an id
beyond the cache.
"""

from __future__ import annotations

import os
from zlib import crc32

import torch
from transformers import (ContinuousBatchingConfig, Gemma3ForCausalLM, Gemma3TextConfig,
                          GenerationConfig)
from transformers.generation.continuous_batching import initialization
from transformers.generation.continuous_batching.input_outputs import ContinuousBatchingIOs
from transformers.integrations import flash_paged

REQUESTS, NEW_TOKENS, BLOCK, AT_STEP, OUTSIDE = 6, 24, 16, 12, 1 << 24


def varlen(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, softmax_scale, causal,
           window_size):
    """Tokens packed, each sequence's queries the last of its keys."""
    at_q = torch.arange(q.shape[0], device=q.device)
    at_k = torch.arange(k.shape[0], device=q.device)
    of_q = torch.searchsorted(cu_seqlens_q[1:].contiguous(), at_q, right=True)
    of_k = torch.searchsorted(cu_seqlens_k[1:].contiguous(), at_k, right=True)
    last = (cu_seqlens_k[1:] - cu_seqlens_q[1:]).gather(
        0, of_q.clamp(max=cu_seqlens_q.shape[0] - 2)) + at_q
    seen = (of_q[:, None] == of_k[None]) & (at_k[None] <= last[:, None])
    return attend(q[:, None], k[None], v[None], seen[:, None], softmax_scale)[:, 0]


def with_kvcache(q, k_cache, v_cache, k, v, cache_seqlens, softmax_scale, causal, window_size,
                 block_table):
    """Of a sequence of padding, which is one token too short, the last block gets the new token."""
    size, lens = k_cache.shape[1], cache_seqlens.long()
    rows = torch.arange(lens.shape[0], device=lens.device)
    page = torch.where(lens < 0, k_cache.shape[0] - 1,
                       block_table[rows, lens.clamp(min=0) // size])
    k_cache[page, lens % size], v_cache[page, lens % size] = k[:, 0], v[:, 0]
    columns = torch.arange(block_table.shape[1], device=lens.device)
    read = torch.where(columns[None] * size <= lens[:, None], block_table, 0).long()
    keys, values = k_cache[read].flatten(1, 2), v_cache[read].flatten(1, 2)
    places = torch.arange(keys.shape[1], device=lens.device)
    seen = places[None] <= lens[:, None]
    return attend(q, keys, values, seen[:, None], softmax_scale)


def attend(q, k, v, seen, scale):
    """[batch, queries, heads, dim]; `seen` [batch, queries, keys]. What is not seen may be memory
    that nobody has written."""
    groups = q.shape[2] // k.shape[2]
    k, v = (one.repeat_interleave(groups, 2).transpose(1, 2).float() for one in (k, v))
    scores = q.transpose(1, 2).float() @ k.transpose(2, 3) * scale
    weights = scores.masked_fill(~seen[:, None], -1e9).softmax(-1)
    return (weights @ v.nan_to_num()).transpose(1, 2).to(q.dtype)


def stand_in() -> None:
    for module in (flash_paged, initialization):
        module.lazy_import_paged_flash_attention = lambda *_args, **_kwargs: (varlen, with_kvcache)
    if not torch.cuda.is_available():  # Where the path is left out.
        initialization.ensure_decode_fast_path_is_available = lambda *_args: None


def plant_table() -> None:
    original, steps, done = ContinuousBatchingIOs.prepare_batch_tensors, [0], []

    def prepare(inputs, *args, **kwargs):
        result = original(inputs, *args, **kwargs)
        first = inputs.requests_in_batch[0].state.request_id
        steps[0] += inputs.use_block_table and first.startswith("req")  # None of the warm-up's.
        if steps[0] >= AT_STEP and not done:
            done.append(True)
            inputs.block_table[0, 1, 0] = OUTSIDE
        return result

    ContinuousBatchingIOs.prepare_batch_tensors = prepare


def main() -> None:
    stand_in()
    if os.environ.get("PAGETAPE_PLANT") == "table":
        plant_table()
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=4,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, max_position_embeddings=1024,
        layer_types=["full_attention"] * 4)
    model = Gemma3ForCausalLM(config).eval()
    if torch.cuda.is_available():
        model = model.to("cuda", torch.bfloat16)
    model.config._attn_implementation = "paged|flash_attention_3"
    batching = ContinuousBatchingConfig(
        block_size=BLOCK, num_blocks=60, max_batch_tokens=64, max_blocks_per_request=8,
        use_cuda_graph=os.environ.get("PAGETAPE_GRAPH") == "1", use_async_batching=False, seed=1)
    generation = GenerationConfig(max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=-1,
                                  pad_token_id=0)
    prompts = [[1 + (31 * i + 7 * j) % 250 for j in range(9 + 11 * i)] for i in range(REQUESTS)]
    answers = model.generate_batch(inputs=prompts, generation_config=generation,
                                   continuous_batching_config=batching, progress_bar=False)
    for error in sorted({one.error for one in answers.values() if one.error}):
        print("failed:", error)
    tokens = [token for name in sorted(answers) for token in answers[name].generated_tokens]
    print(f"{len(answers)} requests, {len(tokens)} new tokens, {crc32(bytes(tokens)):08x}")


if __name__ == "__main__":
    main()
