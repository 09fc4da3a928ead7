# SPDX-License-Identifier: Apache-2.0
"""CUDA graphs of torch's: what adapters saw captured is told at each of a graph's launches: behind
it on the same stream, so that a table which is built inside the graph is told as its launches read
it, or ahead of it, so that a launch that ends the process was told. Of a graph that was captured
before this was there nothing is known."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional

from .importhook import wrap


class Held(list):
    """What was captured in a graph, in its order, and what an adapter makes of it once."""

    made: Any = None

    def __init__(self, *what) -> None:
        super().__init__(*what)
        self.bound: Dict[int, Any] = {}  # What an adapter knows of those that were captured.


class Graphs:
    def __init__(self, launched: Callable[[Held], None], mark: str = "_pagetape",
                 ahead: bool = False,
                 ended: Callable[[Held], None] = lambda held: None,
                 waited: Optional[Callable[[], None]] = None) -> None:
        """`launched` gets what was captured, in its order, `ended` the same once it is. `waited`:
        all that the GPU was given is complete, as before a graph is captured the passes by which
        an engine warms up, whose results nobody reads. `mark`: whose hooks these are; adapters of
        one process have marks of their own."""
        self._launched, self._ahead, self._ended, self._waited = launched, ahead, ended, waited
        self._mark = mark
        self._attribute = mark + "_captured"
        self._now: Optional[Any] = None  # the graph that is being captured

    @property
    def capturing(self) -> bool:
        return self._now is not None

    @property
    def begins(self) -> bool:
        """Is a graph captured of which nothing is held yet?"""
        return self._now is not None and not getattr(self._now, self._attribute)

    def captured(self, what: Any) -> Optional[Held]:
        """With what else the graph has; None where none is captured."""
        held = getattr(self._now, self._attribute, None)
        if held is not None:
            held.append(what)
        return held

    # torch/cuda/graphs.py
    def hook(self, module) -> None:
        def make_begin(original):
            def capture_begin(graph, *args, **kwargs):
                setattr(graph, self._attribute, Held())
                result = original(graph, *args, **kwargs)
                self._now = graph  # Else nothing is captured.
                return result

            return capture_begin

        def make_end(original):
            def capture_end(graph, *args, **kwargs):
                self._now = None
                result = original(graph, *args, **kwargs)
                held = getattr(graph, self._attribute, None)
                if held:
                    self._ended(held)
                return result

            return capture_end

        def make_replay(original):
            def replay(graph, *args, **kwargs):
                held = getattr(graph, self._attribute, None)
                if held and self._ahead:
                    self._launched(held)
                result = original(graph, *args, **kwargs)
                if held and not self._ahead:
                    self._launched(held)
                return result

            return replay

        if self._waited is not None:  # torch.cuda.graph calls it, too, before it captures.
            torch = module.torch

            def make_synchronize(original):
                def synchronize(device=None):
                    original(device)
                    if device is None or torch.device(device).index in (
                            None, torch.cuda.current_device()):
                        self._waited()

                return synchronize

            wrap(torch.cuda, "synchronize", make_synchronize, self._mark)
        wrap(module.CUDAGraph, "capture_begin", make_begin, self._mark)
        wrap(module.CUDAGraph, "capture_end", make_end, self._mark)
        wrap(module.CUDAGraph, "replay", make_replay, self._mark)
