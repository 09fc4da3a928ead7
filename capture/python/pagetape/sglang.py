# SPDX-License-Identifier: Apache-2.0
"""The SGLang adapter: which hook stands on which module.

Driven with SGLang 0.5.19 and 0.5.20 on a CPU (aiter, triton, trtllm_mha, fa3 and flashinfer
backends, EAGLE, graph runners, prefix caches), with 0.5.17 and 0.5.20 as servers on a GPU; the
hooks for releases to 0.5.13 and what those of flashinfer and EAGLE do on a GPU were written from
sources and have not run. Modules that moved are named at their old and new place; a class that is
reached through both is patched once (importhook.wrap).
"""

from __future__ import annotations

import os
from importlib import metadata

from . import sglang_guard
from .importhook import NotHere, PostImportHooks, shield, wrap
from .sglang_backends import Backends
from .sglang_drafts import Drafts
from .sglang_flash import FlashKernels
from .sglang_hooks import PoolHooks
from .sglang_kernels import Kernels
from .sglang_pools import Pools
from .sglang_scheduler import SchedulerHooks
from .sglang_transfers import Transfers

DRIVEN = ("0.5.19", "0.5.20")  # Releases that it was run with.

# Backends whose bindings, facts and tables are recorded: hook, module, class.
WATCHED = (("trtllm_mha", "trtllm_mha_backend", "TRTLLMHAAttnBackend"),
           ("aiter", "aiter_backend", "AiterAttnBackend"),
           ("triton", "triton_backend", "TritonAttnBackend"),
           ("fa3", "flashattention_backend", "FlashAttentionBackend"),
           ("flashinfer", "flashinfer_backend", "FlashInferAttnBackend"))

# What this adapter writes. CUDA graphs, keys of prefix caches and operations under way are not
# recorded: the rules that need them are not checked.
RECORDS = ["pool", "pool_layer", "pool_set", "map", "backend", "pool_swap", "swa_state",
           "layer_remap", "request", "alloc", "share", "free", "evict", "fill", "map_set",
           "map_clear", "buffer", "table", "attention", "store", "launch_done", "accept", "rewind",
           "step", "note", "gap", "end"]


class Adapter:
    """State of one process's recording. A server's scheduler tells steps and what was accepted
    (sglang_scheduler.py); who drives the classes himself calls `step` and `accepted`."""

    def __init__(self, recorder) -> None:
        addresses = os.environ.get("PAGETAPE_ADDRESSES", "1") not in ("", "0")
        self.recorder = recorder
        self.pools = Pools(recorder, addresses)
        self.backends = Backends(recorder, self.pools)
        self.guard = None
        shield.tell(lambda why: recorder.emit("gap", why=why))

    def header(self, version: str) -> None:
        self.recorder.emit("header", format=1, engine="sglang", engine_version=version,
                           records=RECORDS, clock="monotonic")

    def step(self, number: int, mode: str, batch: int) -> None:
        self.pools.settle()
        self.recorder.emit("step", step=number, mode=mode, batch=batch)

    def accepted(self, request: str, drafted: int, accepted: int, length: int) -> None:
        """One verify step's outcome: of what was written, the first `length` tokens count."""
        self.pools.settle()
        self.recorder.emit("accept", req=request, drafted=drafted, accepted=accepted)
        for pages in self.pools.pages.values():
            for pool in (pages.pool, *self.pools.alike.get(pages.pool, ())):
                self.recorder.emit("rewind", pool=pool, req=request, len=length)

    def finish(self) -> None:
        self.pools.settle()
        self.pools.there.close()
        if self.guard is not None:
            self.guard.close()


def _version(module) -> str:
    known = getattr(module, "__version__", None)
    if known:
        return str(known)
    try:
        return metadata.version("sglang")
    except metadata.PackageNotFoundError:
        return "unknown"


def _where_defined(cls: str, hook):
    def only_there(module):
        found = vars(module).get(cls)
        if getattr(found, "__module__", None) != module.__name__:
            raise NotHere
        hook(module)

    only_there.__name__ = hook.__name__
    return only_there


def _of_a_server(pools: PoolHooks, scheduler: SchedulerHooks, transfers: Transfers) -> tuple:
    """What a server's own loop calls: who drives the classes himself may do without."""
    managers, drafts = "sglang.srt.managers.", "sglang.srt.speculative."
    return (
        (managers + "schedule_batch", pools.batches, ()),
        (drafts + "eagle_utils", pools.drafts, ()),
        (drafts + "dflash_info_v2", pools.drafts, ()),
        (drafts + "uno_info", pools.drafts, ()),
        ("sglang.srt.disaggregation.decode", pools.decode_server, ()),
        ("sglang.srt.disaggregation.decode", transfers.arrivals, ("fill",)),
        (managers + "schedule_batch", transfers.restored, ()),
        ("sglang.srt.mem_cache.unified_radix_cache", transfers.restored_by_cache, ()),
        *transfers.receivers(),
        (managers + "scheduler", scheduler.rank, ()),
        (managers + "scheduler", scheduler.scheduler, ("step", "accept", "launch_done")),
    )


def _watching(backends: Backends, name: str, cls: str):
    def watch(module):
        backends.watch(getattr(module, cls))

    watch.__name__ = name
    return watch


def install(hooks: PostImportHooks, recorder) -> Adapter:
    adapter = Adapter(recorder)
    adapter.guard = sglang_guard.install(hooks, adapter.backends)
    pools = PoolHooks(adapter.pools)
    kernels = Kernels(adapter.backends)
    flash = FlashKernels(adapter.backends)
    drafts = Drafts(adapter.backends)
    backends = adapter.backends

    def header(module):
        adapter.header(_version(module))

    def radix_attention(module):
        def make(original):
            def assign(layer, attribute, value):
                if attribute == "layer_id":
                    backends.layer_id_set(layer, value)
                original(layer, attribute, value)

            return assign

        wrap(module.RadixAttention, "__setattr__", make)

    cache, attention = "sglang.srt.mem_cache.", "sglang.srt.layers.attention."
    store, reads = ("store",), ("attention", "attention.rows", "attention.bound")
    pages = ("alloc", "free")
    mapped = ("map", "map_set", "map_clear", "evict")
    bound = ("backend", "pool_swap", "swa_state", "buffer", "table", "table.space")
    places = (
        ("sglang", header, ("header",)),
        (cache + "memory_pool", pools.memory_pool,
         ("pool", "pool.reserved", "pool.page_bytes", "pool_layer", "request", "share")),
        (cache + "memory_pool", kernels.pool_store, store),
        (cache + "memory_pool", drafts.moves, ()),
        ("sglang.srt.speculative.eagle_worker_common", drafts.preparation, ()),
        (cache + "swa_memory_pool", pools.swa_memory_pool, ("pool_set",)),
        (cache + "swa_memory_pool", kernels.set_store, store),
        ("sglang.srt.models.utils", kernels.fused_store, ()),
        (cache + "allocator.paged", pools.paged_allocator, pages),
        (cache + "allocator.token", pools.token_allocator, pages),
        (cache + "allocator.swa", pools.swa_allocator, mapped),
        ("sglang.srt.layers.radix_attention", radix_attention, ("layer_remap",)),
        (attention + "aiter_backend", kernels.aiter_unified, reads),
        (attention + "aiter_backend", kernels.aiter_prefill, reads),
        (attention + "aiter_backend", kernels.aiter_ragged, reads),
        (attention + "aiter_backend", kernels.aiter_store, store),
        (attention + "flashattention_backend", flash.flash_attention, reads),
        (attention + "flashinfer_backend", flash.flashinfer_lists, ()),
        (attention + "flashinfer_backend", flash.flashinfer_wrappers, reads),
        ("sglang.kernels.ops.attention.decode_attention", kernels.triton_decode, reads),
        ("sglang.kernels.ops.attention.extend_attention", kernels.triton_extend, reads),
        ("sglang.srt.model_executor.model_runner", backends.replays.passes, ()),
        ("sglang.srt.model_executor.runner_backend.full_cuda_graph_backend",
         backends.replays.graph_runners, ()),
        ("flashinfer.decode", kernels.flashinfer_decode, reads),
        ("flashinfer.prefill", kernels.flashinfer_prefill, reads),
        ("flashinfer.prefill", kernels.flashinfer_fmha_v2, reads),
    )
    for name, module, cls in WATCHED:
        hooks.on(attention + module, _watching(backends, name, cls), bound)
    for module, hook, gives in places + _of_a_server(
            pools, SchedulerHooks(adapter), Transfers(adapter.pools)):
        hooks.on(module, hook, gives)
    # Where the classes stood to 0.5.12; later releases keep the modules without them.
    for module, cls, hook, gives in (
            (cache + "allocator", "PagedTokenToKVPoolAllocator", pools.paged_allocator, pages),
            (cache + "allocator", "TokenToKVPoolAllocator", pools.token_allocator, pages),
            (cache + "swa_memory_pool", "SWATokenToKVPoolAllocator", pools.swa_allocator, mapped)):
        hooks.on(module, _where_defined(cls, hook), gives)
    return adapter
