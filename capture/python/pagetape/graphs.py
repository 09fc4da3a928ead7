# SPDX-License-Identifier: Apache-2.0
"""CUDA graphs of torch's: what adapters saw captured is told at each of a graph's launches, behind
it on the same stream, so that a table which is built inside the graph is told as its launches read
it. Of a graph that was captured before this was there nothing is known."""

from __future__ import annotations

from typing import Any, Callable, List, Optional

from .importhook import wrap

ATTRIBUTE = "_pagetape_captured"


class Graphs:
    def __init__(self, launched: Callable[[List[Any]], None]) -> None:
        """`launched` gets what was captured, in its order."""
        self._launched = launched
        self._now: Optional[Any] = None  # the graph that is being captured

    def captured(self, what: Any) -> None:
        if self._now is not None:
            getattr(self._now, ATTRIBUTE).append(what)

    # torch/cuda/graphs.py
    def hook(self, module) -> None:
        def make_begin(original):
            def capture_begin(graph, *args, **kwargs):
                setattr(graph, ATTRIBUTE, [])
                self._now = graph
                return original(graph, *args, **kwargs)

            return capture_begin

        def make_end(original):
            def capture_end(graph, *args, **kwargs):
                self._now = None
                return original(graph, *args, **kwargs)

            return capture_end

        def make_replay(original):
            def replay(graph, *args, **kwargs):
                result = original(graph, *args, **kwargs)
                held = getattr(graph, ATTRIBUTE, None)
                if held:
                    self._launched(held)
                return result

            return replay

        wrap(module.CUDAGraph, "capture_begin", make_begin)
        wrap(module.CUDAGraph, "capture_end", make_end)
        wrap(module.CUDAGraph, "replay", make_replay)
