# SPDX-License-Identifier: Apache-2.0
"""The SGLang adapter: which hook stands on which module.

Driven with SGLang 0.5.19 and 0.5.20 on a CPU (aiter, triton and trtllm_mha backends); the hooks
for releases to 0.5.13 were written from their sources and have not run. Modules that moved are
named at their old and new place; a class that is reached through both is patched once
(importhook.wrap).
"""

from __future__ import annotations

import os
from importlib import metadata

from .importhook import PostImportHooks, wrap
from .sglang_backends import Backends
from .sglang_hooks import PoolHooks
from .sglang_kernels import Kernels
from .sglang_pools import Pools

# What this adapter writes. CUDA graphs, prefix caches, transfers and host copies are not recorded:
# the rules that need them are not checked.
RECORDS = ["pool", "pool_layer", "pool_set", "map", "backend", "pool_swap", "swa_state",
           "layer_remap", "request", "alloc", "free", "evict", "map_set", "map_clear", "buffer",
           "table", "attention", "store", "accept", "rewind", "step", "note", "end"]


class Adapter:
    """State of one process's recording. The engine's scheduler tells what no class method shows:
    `step`, `accepted`."""

    def __init__(self, recorder) -> None:
        addresses = os.environ.get("PAGETAPE_ADDRESSES", "1") not in ("", "0")
        self.recorder = recorder
        self.pools = Pools(recorder, addresses)
        self.backends = Backends(recorder, self.pools)

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
            self.recorder.emit("rewind", pool=pages.pool, req=request, len=length)

    def finish(self) -> None:
        self.pools.settle()


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
        if cls in vars(module) and vars(module)[cls].__module__ == module.__name__:
            hook(module)

    return only_there


def install(hooks: PostImportHooks, recorder) -> Adapter:
    adapter = Adapter(recorder)
    pools = PoolHooks(adapter.pools)
    kernels = Kernels(adapter.backends)
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

    def trtllm_mha(module):
        backends.watch(module.TRTLLMHAAttnBackend)

    def aiter(module):
        backends.watch(module.AiterAttnBackend)

    def triton(module):
        backends.watch(module.TritonAttnBackend)

    cache, attention = "sglang.srt.mem_cache.", "sglang.srt.layers.attention."
    places = (
        ("sglang", header),
        (cache + "memory_pool", pools.memory_pool),
        (cache + "memory_pool", kernels.pool_store),
        (cache + "swa_memory_pool", pools.swa_memory_pool),
        (cache + "swa_memory_pool", kernels.set_store),
        (cache + "allocator.paged", pools.paged_allocator),
        (cache + "allocator.swa", pools.swa_allocator),
        ("sglang.srt.layers.radix_attention", radix_attention),
        (attention + "trtllm_mha_backend", trtllm_mha),
        (attention + "aiter_backend", aiter),
        (attention + "aiter_backend", kernels.aiter_unified),
        (attention + "aiter_backend", kernels.aiter_prefill),
        (attention + "aiter_backend", kernels.aiter_ragged),
        (attention + "aiter_backend", kernels.aiter_store),
        (attention + "triton_backend", triton),
        ("sglang.kernels.ops.attention.decode_attention", kernels.triton_decode),
        ("sglang.kernels.ops.attention.extend_attention", kernels.triton_extend),
        ("flashinfer.decode", kernels.flashinfer_decode),
        ("flashinfer.prefill", kernels.flashinfer_prefill),
    )
    for module, hook in places:
        hooks.on(module, hook)
    # Where the classes stood to 0.5.12; later releases keep the modules without them.
    for module, cls, hook in (
            (cache + "allocator", "PagedTokenToKVPoolAllocator", pools.paged_allocator),
            (cache + "swa_memory_pool", "SWATokenToKVPoolAllocator", pools.swa_allocator)):
        hooks.on(module, _where_defined(cls, hook))
    return adapter
