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
from typing import Any, Dict, List, NamedTuple, Optional

from .devices import stream_of
from .graphs import Graphs
from .vllm_blocks import Group
from .vllm_launches import Launches, Worker, metadata_of, otherwise


class Captured:
    """Of attention metadata what a launch's kernel goes on reading."""

    padded = True

    def __init__(self, layer, metadata) -> None:
        self.left_out = otherwise(layer, metadata)
        self.block_table, self.seq_lens = metadata.block_table, metadata.seq_lens
        self.query_start_loc = metadata.query_start_loc
        self.slot_mapping = getattr(metadata, "slot_mapping", None)


class Held(NamedTuple):
    """A launch in a graph."""

    layer: Any
    kv_cache: Any
    slots: Any  # of a store; None: it reads
    metadata: Optional[Captured]  # None: a store's in a piece, which is the pass's then


class Frozen:
    """A graph, and whose memory it reads: of each group the runner's block table and the layers'
    K/V, a buffer that is said again where the runner has others by now."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.worker: Optional[Worker] = None
        self.groups: List[Group] = []


class FullGraphs:
    def __init__(self, launches: Launches) -> None:
        self._launches, self._recorder = launches, launches.recorder
        self._graphs = Graphs(self._launched, "_pagetape_vllm", ahead=True, ended=self._ended)
        self.hook = self._graphs.hook
        self._count = 0
        self._stood: Dict[str, tuple] = {}  # a group's memory, by its buffer's name
        self._last: Any = None  # the pass of which a graph was launched last
        self._looked: set = set()  # the groups' memory that was looked at in it

    @property
    def capturing(self) -> bool:
        return self._graphs.capturing

    def captured(self, layer, kv_cache, metadata, slots=None) -> None:
        """V1 captures pieces without metadata."""
        known = _captured(layer, metadata)
        if known is not None or slots is not None:
            if self._graphs.begins:
                self._graphs.captured(Frozen(f"graph{self._count}"))
                self._count += 1
            self._graphs.captured(Held(layer, kv_cache, slots, known))

    def _ended(self, held: list) -> None:
        """Of what is captured to profile, in a cache that is given back, nothing is told."""
        graph, *launches = held
        graph.worker = self._launches.worker_of(launches[0].layer)
        if graph.worker is not None:
            self._last, self._looked = None, set()
            groups = map(graph.worker.group_of.get, [one.layer.layer_name for one in launches])
            graph.groups = [one for one in dict.fromkeys(groups) if one is not None]
            self._recorder.emit("graph_capture", graph=graph.name, buffers=self._memory(graph))

    def _memory(self, graph: Frozen) -> List[str]:
        buffers = []
        for group in graph.groups:
            buffer = f"{graph.worker.name}.{group.pool}.memory"
            buffers.append(buffer)
            if buffer in self._looked:
                continue
            self._looked.add(buffer)
            stands = graph.worker.memory(group)
            if self._stood.get(buffer) != stands:
                self._stood[buffer] = stands
                self._recorder.emit("buffer", buffer=buffer)
        return buffers

    def _launched(self, held: list) -> None:
        graph, *calls = held
        launches, a_pass = self._launches, _pass()
        if graph.worker is None or not launches.steps(graph.worker):
            return
        if a_pass is not self._last:
            self._last, self._looked = a_pass, set()
        self._memory(graph)
        self._recorder.emit("graph_launch", graph=graph.name, **self._recorder.on_stream(
            stream_of(calls[0].kv_cache)))
        calls = [one._replace(metadata=one.metadata or _captured(
            one.layer, metadata_of(a_pass, one.layer))) for one in calls]
        known = [one for one in calls if one.metadata is not None]
        if not all(launches.is_batch(one.metadata) for one in known):
            layers = [one.layer for one in calls]
            return launches.unseen(layers, "a CUDA graph that makes its own lengths and slots")
        for layer, kv_cache, slots, metadata in known:
            if slots is not None:
                launches.store(layer, kv_cache, slots, metadata, a_pass)
            else:
                launches.attention(layer, kv_cache, metadata, a_pass)


def _captured(layer, metadata) -> Optional[Captured]:
    if all(hasattr(metadata, one) for one in ("block_table", "seq_lens", "query_start_loc")):
        return Captured(layer, metadata)
    return None


def _pass():
    """The forward pass that launches a graph. V2 launches a FULL one without a context of any."""
    contexts = sys.modules.get("vllm.forward_context")
    if contexts is not None and contexts.is_forward_context_available():
        return contexts.get_forward_context()
    return object()
