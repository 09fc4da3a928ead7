# SPDX-License-Identifier: Apache-2.0
"""vLLM's CUDA graphs that hold attention: FULL ones, of model runner V1 (CUDAGraphWrapper) and of
V2 (CudaGraphManager), and what stores of a piecewise one are in its graphs.

While a graph is captured the layers' calls come by, with the tensors from which its kernels will
read tables, lengths and slots. The runner writes these before each launch, and the graph does not:
they are told ahead of it, on the same stream, as the launches of that step. What the graph has room
for beyond the step's batch is padding. A drafter's graph makes its lengths and slots itself: its
launch is a gap of the pools that it uses.
"""

from __future__ import annotations

import sys
from typing import Any, List, NamedTuple

from .graphs import Graphs
from .vllm_launches import Launches


class Captured:
    """Of attention metadata what a launch's kernel goes on reading."""

    padded = True

    def __init__(self, metadata) -> None:
        self.block_table, self.seq_lens = metadata.block_table, metadata.seq_lens
        self.query_start_loc = metadata.query_start_loc
        self.slot_mapping = getattr(metadata, "slot_mapping", None)


class Held(NamedTuple):
    """A launch in a graph."""

    layer: Any
    kv_cache: Any
    slots: Any  # of a store; None: it reads
    metadata: Captured


class FullGraphs:
    def __init__(self, launches: Launches) -> None:
        self._launches = launches
        self._graphs = Graphs(self._launched, "_pagetape_vllm", ahead=True)
        self.hook = self._graphs.hook

    @property
    def capturing(self) -> bool:
        return self._graphs.capturing

    def captured(self, layer, kv_cache, metadata, slots=None) -> None:
        if all(hasattr(metadata, one) for one in ("block_table", "seq_lens", "query_start_loc")):
            self._graphs.captured(Held(layer, kv_cache, slots, Captured(metadata)))

    def _launched(self, held: List[Held]) -> None:
        launches, a_pass = self._launches, _pass()
        others = [one for one in held if not launches.is_batch(one.metadata)]
        if others:
            launches.unseen([one.layer for one in others],
                            "a CUDA graph that makes its own lengths and slots")
            return
        for layer, kv_cache, slots, metadata in held:
            if slots is not None:
                launches.store(layer, kv_cache, slots, metadata, a_pass)
            else:
                launches.attention(layer, kv_cache, metadata, a_pass)


def _pass():
    """The forward pass that launches a graph. V2 launches a FULL one without a context of any."""
    contexts = sys.modules.get("vllm.forward_context")
    if contexts is not None and contexts.is_forward_context_available():
        return contexts.get_forward_context()
    return object()
