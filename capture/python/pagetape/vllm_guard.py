# SPDX-License-Identifier: Apache-2.0
"""The guard before vLLM's attention: the block table that the backend's implementation gets with
its metadata, which the layers of a group share. For a layer's call the metadata have the copy in
the table's place. Slots of stores are not guarded: a slot below zero there is none, by intent.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

from .guarding import LaunchGuard, Read
from .importhook import PostImportHooks, after, expect, wrap

MARK = "_pagetape_guard"


class VllmGuard(LaunchGuard):
    def __init__(self, recorder) -> None:
        super().__init__(recorder, self._request)
        self._block_sizes: Dict[str, int] = {}  # of layers, of the runner below
        self._runner: Any = None  # whose they are
        self._prepared: Any = None  # the batch of V2's last step

    def _request(self, runner, row: int) -> Optional[str]:
        batch = self._prepared if hasattr(runner, "prepare_inputs") else runner.input_batch
        requests = batch.req_ids if batch is not None else []
        return str(requests[row]) if row < len(requests) else None

    # worker/gpu_model_runner.py, and worker/gpu/model_runner.py: V1 and V2
    def runner(self, module) -> None:
        cls = module.GPUModelRunner

        def make(original):
            def run(runner, *args, **kwargs):
                self.batch = runner
                result = original(runner, *args, **kwargs)
                self.report()
                return result

            return run

        def prepared(_runner, batch, *_args, **_kwargs):
            self._prepared = batch

        for name in ("execute_model", "_dummy_run", "capture_model"):
            if hasattr(cls, name):
                wrap(cls, name, make, MARK)
        if hasattr(cls, "prepare_inputs"):
            after(cls, "prepare_inputs", prepared, MARK)

    # model_executor/layers/attention/attention.py; attention/layer.py in releases before 2026
    def layers(self, module) -> None:
        def make(original):
            def init(layer, *args, **kwargs):
                original(layer, *args, **kwargs)
                expect(type(layer.impl).forward, "layer", "kv_cache", "attn_metadata")
                wrap(type(layer.impl), "forward", self._make_forward, MARK)

            return init

        wrap(module.Attention, "__init__", make, MARK)

    def _make_forward(self, original):
        def forward(impl, layer, query, key, value, kv_cache, attn_metadata, *args, **kwargs):
            table = getattr(attn_metadata, "block_table", None)
            given = self._given(layer, kv_cache, attn_metadata, table)
            if given is table:
                return original(impl, layer, query, key, value, kv_cache, attn_metadata, *args,
                                **kwargs)
            attn_metadata.block_table = given
            try:
                return original(impl, layer, query, key, value, kv_cache, attn_metadata, *args,
                                **kwargs)
            finally:
                attn_metadata.block_table = table

        return forward

    def _given(self, layer, kv_cache, metadata, table):
        size = self._size_of(layer.layer_name, kv_cache)
        lens = getattr(metadata, "seq_lens", None)
        if table is None or lens is None or size is None:
            return table
        pages, tokens = size
        window = getattr(layer, "sliding_window", None)
        return self.given(table, Read(
            layer=layer.layer_name, bound=pages, page_size=tokens, window=int(window or 0),
            lens=lens, q_len=int(getattr(metadata, "max_query_len", 1)), batch=self.batch))

    def _size_of(self, name: str, kv_cache) -> Optional[Tuple[int, int]]:
        """Pages of the view that the kernel gets, which may cut the manager's blocks into smaller
        ones, and a page's tokens."""
        config = getattr(self.batch, "kv_cache_config", None)
        if config is None:
            return None
        if self._runner is not self.batch:
            self._runner = self.batch
            self._block_sizes = {layer: int(group.kv_cache_spec.block_size)
                                 for group in config.kv_cache_groups
                                 for layer in group.layer_names}
            shared = getattr(self.batch, "shared_kv_cache_layers", {})
            self._block_sizes.update({layer: self._block_sizes[own]
                                      for layer, own in shared.items()})
        blocks, size = int(config.num_blocks), self._block_sizes.get(name)
        pages = next((int(n) for n in kv_cache.shape if n and int(n) % blocks == 0), None)
        return None if size is None or pages is None else (pages, size * blocks // pages)


def install(hooks: PostImportHooks, recorder) -> VllmGuard:
    """Before the recorder's hooks of the same calls."""
    guard = VllmGuard(recorder)
    if guard.mode is None:
        return guard
    for module in ("vllm.v1.worker.gpu_model_runner", "vllm.v1.worker.gpu.model_runner"):
        hooks.on(module, guard.runner)
    for module in ("vllm.model_executor.layers.attention.attention", "vllm.attention.layer"):
        hooks.on(module, guard.layers)
    return guard
