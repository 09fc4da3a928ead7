# SPDX-License-Identifier: Apache-2.0
"""vLLM's v1 engine on a CPU: EngineCore itself, with its scheduler, KV cache manager, worker and
model runner, for a small Gemma-3-style model of random weights (five sliding layers, one full) and
more requests than there are blocks for at once. The attention is vLLM's own for CPUs; nothing is
replaced. Every fourth prompt repeats the one before it, one request is aborted. Drafts are those
of n-grams, which a model of random weights seldom accepts.

$PAGETAPE_PLANT perturbs the engine's own objects from outside, once, in the middle of the run, and
ends the run with that step:
  cell    a request's block table of the full group names another request's block
  slot    a new token's K and V go to another request's block
  freed   a request's block goes back to the pool while the request goes on using it
  twice   a block that a request holds is put into the queue of free blocks
  table   a sliding layer gets another group's block table
"""

from __future__ import annotations

import json
import os
import tempfile
from typing import List

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.update(VLLM_NO_USAGE_STATS="1", HF_HUB_OFFLINE="1", VLLM_LOGGING_LEVEL="ERROR",
                  VLLM_ENABLE_V1_MULTIPROCESSING="0")

from vllm.engine.arg_utils import EngineArgs  # noqa: E402
from vllm.sampling_params import SamplingParams  # noqa: E402
from vllm.v1.engine import EngineCoreRequest  # noqa: E402
from vllm.v1.engine.core import EngineCore  # noqa: E402
from vllm.v1.executor.uniproc_executor import UniProcExecutor  # noqa: E402

PROMPTS, NEW_TOKENS, AT_STEP = 20, 40, 40
WINDOW, BLOCK, BLOCKS = 40, 32, 60  # no multiple: a window begins within a block
MODEL = dict(
    architectures=["Gemma3ForCausalLM"], model_type="gemma3_text", vocab_size=256, hidden_size=64,
    intermediate_size=64, num_hidden_layers=6, num_attention_heads=2, num_key_value_heads=1,
    head_dim=32, sliding_window=WINDOW, max_position_embeddings=512, query_pre_attn_scalar=32,
    layer_types=["sliding_attention"] * 5 + ["full_attention"], torch_dtype="bfloat16",
    hidden_activation="gelu_pytorch_tanh")


def engine(folder: str) -> EngineCore:
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(MODEL, file)
    drafts = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 2,
              "prompt_lookup_min": 1}
    arguments = EngineArgs(
        model=folder, load_format="dummy", skip_tokenizer_init=True, enforce_eager=True,
        max_model_len=256, max_num_seqs=8, max_num_batched_tokens=64, block_size=BLOCK,
        num_gpu_blocks_override=BLOCKS, enable_prefix_caching=True, async_scheduling=False,
        speculative_config=None if os.environ.get("DRIVE_NOSPEC") else drafts)
    return EngineCore(arguments.create_engine_config(), UniProcExecutor, log_stats=False)


def prompts() -> List[List[int]]:
    """Of very different lengths, so that prefills are cut into chunks between others' decodes,
    and with repetitions, so that there are n-grams to find."""
    lengths = [5 + (37 * i) % 120 for i in range(PROMPTS)]
    seeds = [i - (i % 4 == 3) for i in range(PROMPTS)]
    return [[3 + (seeds[i] * 31 + j % 11 * 7) % 250 for j in range(lengths[seeds[i]])]
            for i in range(PROMPTS)]


def request(number: int, tokens: List[int]) -> EngineCoreRequest:
    sampling = SamplingParams(max_tokens=NEW_TOKENS, temperature=0.0, ignore_eos=True)
    return EngineCoreRequest(
        request_id=f"r{number}", prompt_token_ids=tokens, mm_features=None,
        sampling_params=sampling, pooling_params=None, arrival_time=float(number),
        lora_request=None, cache_salt=None, data_parallel_rank=None)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        core = engine(folder)
    new = 0
    for number, tokens in enumerate(prompts()):
        core.add_request(*core.preprocess_add_request(request(number, tokens)))
    steps = 0
    while core.scheduler.has_requests():
        steps += 1
        if steps == AT_STEP:
            core.abort_requests([core.scheduler.running[-1].request_id])
        outputs, executed = core.step_fn()
        core.post_step(executed)
        new += sum(len(one.new_token_ids) for each in outputs.values() for one in each.outputs)
    print(f"{PROMPTS} requests, {new} new tokens, {steps} steps")


if __name__ == "__main__":
    main()
