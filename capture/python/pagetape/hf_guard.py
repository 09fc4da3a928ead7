# SPDX-License-Identifier: Apache-2.0
"""The guard of Transformers' launches that PagedAttentionCache.update alone does not reach.

Replayed CUDA graphs: the checks are captured with the launches, and where each lane's part of a
list begins is put before the graph. Decoding by block table: the table that
flash_attn_with_kvcache reads, and writes the new token through, is checked before it; so is it in a
graph. Such launches are not recorded: their findings are notes, and exceptions.
"""

from __future__ import annotations

import sys
from typing import Dict, List, Optional

from .devices import mode_asked
from .guarding import LaunchGuard, Read
from .hf_blocks import Cache
from .importhook import PostImportHooks, after, expect, wrap

MARK = "_pagetape_guard"


class HfGuard:
    def __init__(self, adapter) -> None:
        self.mode = mode_asked()
        self._blocks, self._buffers = adapter.blocks, adapter.buffers
        self._recorder = adapter.recorder
        self._guards: Dict[int, LaunchGuard] = {}  # by id of what is known of a cache
        self._requests: Dict[int, List[str]] = {}  # of each cache's batch
        self._failed = False  # the last step
        self._filled: Dict[object, object] = {}  # by GPU: an event behind what a batch brings

    # input_outputs.py
    def inputs(self, module) -> None:
        ios, overlapped = module.ContinuousBatchingIOs, module.ContinuousBatchingAsyncIOs
        expect(ios.get_model_kwargs, "use_padding")

        def prepared(inputs, _result, *_args, **_kwargs):
            known = self._blocks.of(inputs.cache)
            if known is not None:
                self._requests[id(known)] = [one.state.request_id
                                             for one in inputs.requests_in_batch]

        def given(inputs, _result, use_padding=False):
            # Of those that take turns, the pair that has the stream comes by below.
            stream = inputs.compute_stream
            if stream is None and inputs.write_index_storage.is_cuda:
                return
            # On the stream on which the engine filled its tensors, while no launch runs: after a
            # step that failed, some may.
            if self._failed and stream is not None:
                sys.modules["torch"].cuda.current_stream(stream.device).wait_stream(stream)
                self._failed = False
            if self._ready(inputs, use_padding) and stream is not None:
                filled = self._filled.get(stream.device)
                if filled is None:
                    filled = self._filled[stream.device] = sys.modules["torch"].cuda.Event()
                filled.record()
                stream.wait_event(filled)

        def given_in_turn(turns, _result, use_padding=False):
            stream = turns.compute_stream
            cuda = sys.modules["torch"].cuda
            stream.wait_stream(cuda.current_stream(stream.device))
            with cuda.stream(stream):
                self._ready(turns.io_pairs[turns.current_pair].device_io, use_padding)

        after(ios, "prepare_batch_tensors", prepared, MARK)
        after(ios, "get_model_kwargs", given, MARK)
        after(overlapped, "get_model_kwargs", given_in_turn, MARK)

    def _ready(self, inputs, padded: bool) -> bool:
        known = self._blocks.of(inputs.cache)
        if known is None or inputs.use_block_table:
            return False
        self._buffers.ready(known, inputs, padded)
        return True

    # integrations/flash_paged.py
    def decode(self, module) -> None:
        expect(module._paged_decode_forward, "module", "k", "cache", "cu_seq_lens_k",
               "sliding_window", "block_table")

        def make(original):
            def forward(module, q, k, v, cache, cu_seq_lens_k, sliding_window, flash, block_table,
                        **kwargs):
                known = self._blocks.of(cache)
                if known is not None:
                    index = cache.layer_index_to_group_indices[module.layer_idx][0]
                    # Of all groups' tables the forward takes this layer's.
                    block_table = {index: self._given(known, cache, module.layer_idx,
                                                      block_table[index], cu_seq_lens_k,
                                                      int(k.shape[2]), sliding_window)}
                return original(module, q, k, v, cache, cu_seq_lens_k, sliding_window, flash,
                                block_table, **kwargs)

            return sys.modules["torch"].compiler.disable(forward)

        wrap(module, "_paged_decode_forward", make, MARK)

    def _given(self, known: Cache, cache, layer: int, table, cumulative, lanes: int, window):
        self._blocks.flush()  # What is found is noted behind what is kept.
        guard = self._guards.get(id(known))
        if guard is None:
            guard = self._guards[id(known)] = LaunchGuard(
                self._recorder, self._request, known.write_trash // known.block_size)
        guard.batch = known
        place = cache.layer_index_to_group_indices[layer][1]
        return guard.given(table, Read(
            layer=layer, bound=int(cache.key_cache[place].shape[0]) // known.block_size,
            page_size=known.block_size, window=window[0] + 1 if window[0] >= 0 else 0,
            lens=cumulative[1:lanes + 1] - cumulative[:lanes], batch=known,
            what="a read or a write"))

    def _request(self, known: Cache, row: int) -> Optional[str]:
        requests = self._requests.get(id(known), [])
        return requests[row] if row < len(requests) else None

    # continuous_api.py
    def steps(self, module) -> None:
        def make(original):
            def step(processor, *args, **kwargs):
                try:
                    result = original(processor, *args, **kwargs)
                except Exception:
                    self._failed = True
                    for guard in self._guards.values():
                        guard.note()
                    raise
                for guard in self._guards.values():
                    guard.report()
                return result

            return step

        wrap(module.ContinuousBatchProcessor, "_generation_step", make, MARK)

    def close(self) -> None:
        for guard in self._guards.values():
            guard.close()
        self._guards.clear()


def install(hooks: PostImportHooks, adapter) -> HfGuard:
    guard = HfGuard(adapter)
    if guard.mode is None:
        return guard
    place = "transformers.generation.continuous_batching."
    hooks.on(place + "input_outputs", guard.inputs)
    hooks.on(place + "continuous_api", guard.steps)
    hooks.on("transformers.integrations.flash_paged", guard.decode)
    return guard
