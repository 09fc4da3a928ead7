# SPDX-License-Identifier: Apache-2.0
"""vLLM's v1 engine: EngineCore itself, with its scheduler, KV cache manager, worker, model runner
and rejection sampler, for a small Gemma-3-style model of random weights (five sliding layers, one
full) and more requests than there are blocks for at once. On a CPU the attention is vLLM's own for
CPUs and nothing is replaced; with $PAGETAPE_ON_GPU, on a GPU, it is the Triton backend's, and other
layers run as torch has them: kernels that vLLM built for CPUs lacks are not called (standins.py).
Every fourth prompt repeats the one before it, one request is aborted. Drafts are the drive's own,
by vLLM's interface for such; some of them are accepted.

With $PAGETAPE_RUNNER 2 the worker's runner is V2, which takes no drafts of others: they are vLLM's
own, of what stood in the text before. On a CPU its Triton kernels are interpreted. With
$PAGETAPE_GRAPH steps that just decode are CUDA graphs; on a CPU, what stands for them
(vllm_graphs_on_cpu.py). A cell or a slot is then planted in such a step. With $PAGETAPE_COMPARED a
CPU's tables, lengths and slots are compared by the library where they are, as a GPU's.

$PAGETAPE_PLANT says what else is done:
  async   no drafts; the scheduler is a step ahead of the worker
  plain   no drafts
  draft   drafts are made by a draft model of one full layer. vLLM 0.32.0's runner gives such a
          drafter the first group's block table, here that of a sliding group; as the groups share
          tensors, the drafter writes over what a layer of that group stored
  group   the same, and the runner is made to give the drafter the table of its own group
  cell    a request's block table of the full group names another request's block
  slot    a new token's K and V go to another request's block
  pad     in a CUDA graph, padding's K and V go to a request's block
  moved   the full group's block table is moved away from where CUDA graphs read it
  freed   a request's block goes back to the pool while the request goes on using it
  twice   a block that a request holds stands among the free ones
  table   a sliding layer gets another group's block table
  outside a request's first cell names no block at all, in each group's table
The last eight perturb the engine's own objects from outside, once, in the middle of the run.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import nullcontext
from typing import Dict, List, NamedTuple, Optional

os.environ.update(VLLM_NO_USAGE_STATS="1", HF_HUB_OFFLINE="1", VLLM_LOGGING_LEVEL="ERROR",
                  VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_KVCACHE_SPACE="1")
ON_GPU = bool(os.environ.get("PAGETAPE_ON_GPU"))
V2 = os.environ.get("PAGETAPE_RUNNER") == "2"
os.environ["VLLM_USE_V2_MODEL_RUNNER"] = str(int(V2))
if ON_GPU or V2:
    import standins

    if ON_GPU:
        os.environ["VLLM_USE_FLASHINFER_SAMPLER"] = "0"
        standins.install_vllm_kernels()
    else:
        standins.interpret_triton()
if os.environ.get("PAGETAPE_COMPARED"):
    from pagetape.tensors import Tensors

    Tensors.takes = lambda tensors, _tensor: tensors.recorder.native() is not None
GRAPH = bool(os.environ.get("PAGETAPE_GRAPH"))
if GRAPH and not ON_GPU:
    import vllm_graphs_on_cpu

    vllm_graphs_on_cpu.install()

from vllm.engine.arg_utils import EngineArgs  # noqa: E402
from vllm.sampling_params import SamplingParams  # noqa: E402
from vllm.v1.engine import EngineCoreRequest  # noqa: E402
from vllm.v1.engine.core import EngineCore  # noqa: E402
from vllm.v1.executor.uniproc_executor import UniProcExecutor  # noqa: E402
from vllm.v1.worker import gpu_model_runner  # noqa: E402

if ON_GPU:
    from vllm.model_executor.models import registry  # noqa: E402

    # It looks at a model's class in a process of its own, which would lack the stand-ins.
    registry._run_in_subprocess = lambda inspected: inspected()
    if V2:  # The host's memory is not seen from the GPU without an operator for that.
        from vllm.v1.worker.gpu import buffer_utils

        buffer_utils.is_uva_available = lambda: False

PROMPTS, NEW_TOKENS, ABORT_AT, PLANT_AT = 20, 40, 20, 24
AFTER_PLANT = 20 if os.environ.get("PAGETAPE_GRAPH") else 4
WINDOW, BLOCK, BLOCKS = 40, 32, 60  # no multiple: a window begins within a block
DRAFTS = 3
OUTSIDE = 1 << 24
MODEL = dict(
    architectures=["Gemma3ForCausalLM"], model_type="gemma3_text", vocab_size=256, hidden_size=64,
    intermediate_size=64, num_hidden_layers=6, num_attention_heads=2, num_key_value_heads=1,
    head_dim=32, sliding_window=WINDOW, max_position_embeddings=512, query_pre_attn_scalar=32,
    layer_types=["sliding_attention"] * 5 + ["full_attention"], torch_dtype="bfloat16",
    hidden_activation="gelu_pytorch_tanh")
ON_A_GPU = dict(compilation_config={"custom_ops": ["none"], "mode": 0},
                ir_op_priority={"rms_norm": ["native"], "fused_add_rms_norm": ["native"]},
                attention_config={"backend": "TRITON_ATTN"}, gpu_memory_utilization=0.3,
                kv_cache_memory_bytes=1 << 28)
if GRAPH:
    ON_A_GPU["compilation_config"].update(cudagraph_mode="FULL_DECODE_ONLY",
                                          cudagraph_capture_sizes=[2, 4, 8, 32])
DRAFT_MODEL = dict(MODEL, num_hidden_layers=1, layer_types=["full_attention"])


class Proposer:
    """Proposes the last token again, which is what a model of random weights likes to say, and at
    times another one, which it does not."""

    def __init__(self, vllm_config) -> None:
        self.count = vllm_config.speculative_config.num_speculative_tokens

    def load_model(self, *args, **kwargs) -> None:
        """There is none."""

    def propose(self, sampled_token_ids, num_tokens, token_ids, slot_mappings=None):
        return [self._drafts(token_ids[row, :num_tokens[row]].tolist()) if sampled else []
                for row, sampled in enumerate(sampled_token_ids)]

    def _drafts(self, tokens: List[int]) -> List[int]:
        return [tokens[-1] if (len(tokens) + i) % 4 else (tokens[-1] + 1) % MODEL["vocab_size"]
                for i in range(self.count)]


def engine(plant: str) -> EngineCore:
    with tempfile.TemporaryDirectory() as folder:
        target, draft = os.path.join(folder, "target"), os.path.join(folder, "draft")
        for path, config in ((target, MODEL), (draft, DRAFT_MODEL)):
            os.mkdir(path)
            with open(os.path.join(path, "config.json"), "w", encoding="utf-8") as file:
                json.dump(config, file)
        drafts = {"method": "custom_class", "model": "vllm_v1.Proposer"}
        if plant in ("draft", "group"):
            drafts = {"method": "draft_model", "model": draft}
        elif V2:
            drafts = {"method": "ngram", "prompt_lookup_min": 1, "prompt_lookup_max": 3}
        drafts["num_speculative_tokens"] = DRAFTS
        arguments = EngineArgs(
            model=target, load_format="dummy", skip_tokenizer_init=True,
            enforce_eager=not (GRAPH and ON_GPU),
            max_model_len=256, max_num_seqs=8, max_num_batched_tokens=64, block_size=BLOCK,
            num_gpu_blocks_override=BLOCKS, enable_prefix_caching=True,
            async_scheduling=plant == "async", **(ON_A_GPU if ON_GPU else {}),
            speculative_config=None if plant in ("async", "plain") else drafts)
        config = arguments.create_engine_config()
        if GRAPH and not ON_GPU:
            vllm_graphs_on_cpu.configure(config)
        core = EngineCore(config, UniProcExecutor, log_stats=False)
    worker = core.model_executor.driver_worker.worker
    if V2 and not ON_GPU:  # As workers for GPUs do it: requests and blocks of no scheduler's.
        from vllm.v1.worker.gpu.warmup import warmup_kernels

        # Triton's interpreter does not take all of its sampling kernels.
        SamplingParams.for_sampler_warmup = lambda: SamplingParams(temperature=0.0)
        warmup_kernels(worker.model_runner, worker.execute_model, worker.sample_tokens)
    if GRAPH and not ON_GPU:
        capture = vllm_graphs_on_cpu.capture_second if V2 else vllm_graphs_on_cpu.capture_first
        capture(worker.model_runner)
    return core


def prompts() -> List[List[int]]:
    """Of very different lengths, so that prefills are cut into chunks between others' decodes."""
    lengths = [5 + (37 * i) % 120 for i in range(PROMPTS)]
    seeds = [i - (i % 4 == 3) for i in range(PROMPTS)]
    return [[3 + (seeds[i] * 31 + j * 7) % 250 for j in range(lengths[seeds[i]])]
            for i in range(PROMPTS)]


def request(number: int, tokens: List[int]) -> EngineCoreRequest:
    sampling = SamplingParams(max_tokens=NEW_TOKENS, temperature=0.0, ignore_eos=True)
    return EngineCoreRequest(
        request_id=f"r{number}", prompt_token_ids=tokens, mm_features=None,
        sampling_params=sampling, pooling_params=None, arrival_time=float(number),
        lora_request=None, cache_salt=None, data_parallel_rank=None)


# --- faults


class Victims:
    """Two running requests that both hold blocks of the full group, and where they stand."""

    def __init__(self, core: EngineCore) -> None:
        manager = core.scheduler.kv_cache_manager
        self.managers = manager.coordinator.single_type_managers
        self.pool = manager.block_pool
        self.runner = core.model_executor.driver_worker.worker.model_runner
        self.full = next(i for i, one in enumerate(self.managers)
                         if getattr(one.kv_cache_spec, "sliding_window", None) is None)
        held: Dict[str, list] = self.managers[self.full].req_to_blocks
        running = [one.request_id for one in core.scheduler.running if one.num_computed_tokens > 0]
        self.names = [name for name in running if len(held.get(name, [])) > 1]
        self.blocks = [held[name] for name in self.names]

    def __bool__(self) -> bool:
        return len(self.names) > 1


class Step(NamedTuple):
    """What a step's launches are about to be given."""

    row: int  # of the first victim,
    begin: int  # whose new tokens begin here
    tokens: int  # of the batch; what stands behind them is padding
    padded: int  # with that
    tables: list  # of each group
    slots: list
    metadata: dict  # of each layer


def first_runners(result, name: str, runner, num_tokens, num_reqs, *_args,
                  num_tokens_padded=None, **_kwargs) -> Optional[Step]:
    row = runner.input_batch.req_id_to_index.get(name)
    if row is None or GRAPH and num_tokens_padded is None:
        return None
    tables = runner.input_batch.block_table.block_tables
    return Step(row, int(runner.query_start_loc.np[row]), num_tokens,
                num_tokens_padded or num_tokens,
                [one.get_device_tensor(row + 1) for one in tables],
                [one.slot_mapping.gpu for one in tables], result[0])


def second_runners(result, name: str, _state, batch, mode, tables, slots, *_args,
                   **_kwargs) -> Optional[Step]:
    if name not in batch.req_ids or GRAPH and mode.name != "FULL":
        return None
    row = batch.req_ids.index(name)
    return Step(row, int(batch.query_start_loc_np[row]), batch.num_tokens,
                batch.num_tokens_after_padding, tables, list(slots), result)


def plant_in_step(victims: Victims, change, fits=lambda _step: True) -> None:
    """Runs `change(Step)` as soon as the metadata of the next step that fits stand."""
    cls, name, found = gpu_model_runner.GPUModelRunner, "_build_attention_metadata", first_runners
    if V2:
        from vllm.v1.worker.gpu.model_states.default import DefaultModelState

        cls, name, found = DefaultModelState, "prepare_attn", second_runners
    original = getattr(cls, name)

    def build(*args, **kwargs):
        result = original(*args, **kwargs)
        step = found(result, victims.names[0], *args, **kwargs)
        if step is not None and fits(step):
            setattr(cls, name, original)
            change(step)
        return result

    setattr(cls, name, build)


def plant_cell(victims: Victims) -> None:
    def change(step):
        step.tables[victims.full][step.row, 0] = victims.blocks[1][-1].block_id

    plant_in_step(victims, change)


def plant_slot(victims: Victims) -> None:
    def change(step):
        step.slots[victims.full][step.begin] = victims.blocks[1][-1].block_id * BLOCK

    plant_in_step(victims, change)


def plant_pad(victims: Victims) -> None:
    """The batch is no end of a CUDA graph's stores."""

    def change(step):
        step.slots[victims.full][step.tokens] = victims.blocks[1][-1].block_id * BLOCK

    plant_in_step(victims, change, lambda step: step.padded > step.tokens)


def plant_moved(victims: Victims) -> None:
    """The runner goes on with another tensor than the graphs read."""
    tables = victims.runner.block_tables if V2 else victims.runner.input_batch.block_table
    if V2:
        tables.input_block_tables[victims.full] = tables.input_block_tables[victims.full].clone()
        tables.init_block_table_layout_tensors()
    else:
        table = tables.block_tables[victims.full].block_table
        table.gpu = table.gpu.clone()


def plant_table(victims: Victims) -> None:
    """The layers of a group share their metadata: layer 0 has a group of its own here."""

    def change(step):
        by_layer = {name.split(".")[2]: one for name, one in step.metadata.items()}
        by_layer["0"].block_table = by_layer["1"].block_table

    plant_in_step(victims, change)


def plant_outside(victims: Victims) -> None:
    """A cell that names no block at all, of each table with which the step's layers are called."""

    def change(step):
        for one in {id(one): one for one in step.metadata.values()}.values():
            one.block_table[step.row, 0] = OUTSIDE

    plant_in_step(victims, change)


def plant_freed(victims: Victims) -> None:
    """Once the step is scheduled: the block is nobody's when the attention reads it."""
    block = victims.blocks[0][-1]
    plant_in_step(victims, lambda _step: victims.pool.free_blocks([block]))


def plant_twice(victims: Victims) -> None:
    """The queue gets the block, but nobody let go of it."""
    block = victims.blocks[0][-1]
    block.ref_cnt = 0
    victims.pool.free_block_queue.prepend_n([block])


PLANTS = {"cell": plant_cell, "slot": plant_slot, "pad": plant_pad, "moved": plant_moved,
          "table": plant_table, "freed": plant_freed, "twice": plant_twice,
          "outside": plant_outside}


def route_drafter() -> None:
    """Counts draft models among the drafters for which the runner looks up their own group."""
    from vllm.v1.spec_decode.draft_model import DraftModelProposer

    gpu_model_runner.EagleProposer = gpu_model_runner.EagleProposer | DraftModelProposer


def run(core: EngineCore, plant) -> str:
    """With a fault the run ends some steps after it: the engine's own checks may end it sooner."""
    new, steps, left = 0, 0, None
    while core.scheduler.has_requests() and left != 0:
        steps += 1
        if steps == ABORT_AT:
            core.abort_requests([core.scheduler.running[-1].request_id])
        if plant is not None and left is None and steps >= PLANT_AT:
            victims = Victims(core)
            if victims:
                plant(victims)
                left = AFTER_PLANT
        elif left is not None:
            left -= 1
        outputs, executed = core.step_fn()
        core.post_step(executed)
        new += sum(len(one.new_token_ids)
                   for each in (outputs or {}).values() for one in each.outputs)
    launched = f", {vllm_graphs_on_cpu.Graph.launches} in a graph" if GRAPH and not ON_GPU else ""
    return f"{PROMPTS} requests, {new} new tokens, {steps} steps{launched}"


def main() -> None:
    plant = os.environ.get("PAGETAPE_PLANT", "")
    if plant == "group":
        route_drafter()
    core = engine(plant)
    for number, tokens in enumerate(prompts()):
        core.add_request(*core.preprocess_add_request(request(number, tokens)))
    waits = nullcontext()
    if ON_GPU:
        from waits import Waits

        waits = Waits()
    try:
        with waits:
            print(run(core, PLANTS.get(plant)))
    except Exception as error:
        if plant not in PLANTS:
            raise
        print(f"the engine gave up: {type(error).__name__}: {error}")
    if ON_GPU:
        print(waits)


if __name__ == "__main__":
    main()
