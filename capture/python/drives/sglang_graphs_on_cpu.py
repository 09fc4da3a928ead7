# SPDX-License-Identifier: Apache-2.0
"""torch.cuda.CUDAGraph on a CPU: what torch's operators and Triton's interpreter do between
capture_begin and capture_end is done again, on the same tensors, by each replay, and no Python of
the engine's with it. Other than on a GPU, it is done while it is captured, too.

The recorder takes what is captured, and index tensors, as it does on a GPU: the processor compares
them, by the same hooks (compare_where_they_are). What the guard does before a kernel while a graph
is captured is no operator, and no replay does it."""

from __future__ import annotations

import contextlib
import sys
from types import SimpleNamespace

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

CAPTURED: list = []  # The graph that is being captured.


def capturing(*_of) -> bool:
    return bool(CAPTURED)


def _tensors(tree) -> list:
    return [one for one in tree_leaves(tree) if isinstance(one, torch.Tensor)]


class _Operators(TorchDispatchMode):
    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = operator(*args, **kwargs)
        given = {one.untyped_storage()._cdata for one in _tensors((args, kwargs))}
        made = [one.untyped_storage()._cdata not in given for one in _tensors(out)]
        if any(made) or operator._schema.is_mutable:  # Else it is a view, which stands.
            CAPTURED[0].done.append((operator, args, kwargs, out, made))
        return out


class CUDAGraph:
    def __init__(self, keep_graph: bool = False) -> None:
        self.done: list = []

    def capture_begin(self, *_args, **_kwargs) -> None:
        CAPTURED.append(self)
        self._mode = _Operators()
        self._mode.__enter__()

    def capture_end(self) -> None:
        self._mode.__exit__(None, None, None)
        CAPTURED.clear()

    def replay(self) -> None:
        for call, args, kwargs, out, made in self.done:
            again = call(*args, **kwargs)
            for kept, new, is_made in zip(_tensors(out), _tensors(again), made):
                if is_made:
                    kept.copy_(new)


@contextlib.contextmanager
def graph(cuda_graph, pool=None, stream=None, **_other):
    cuda_graph.capture_begin()
    try:
        yield
    finally:
        cuda_graph.capture_end()


def install() -> None:
    """Before SGLang's runners are imported, and once Triton is there."""
    import torch.cuda.graphs as graphs
    from triton.runtime.interpreter import GridExecutor

    launch = GridExecutor.__call__

    def launched(executor, *args, **kwargs):
        with _disable_current_modes():
            launch(executor, *args, **kwargs)
        if CAPTURED:
            CAPTURED[0].done.append((lambda *a, **k: launch(executor, *a, **k), args, kwargs, (),
                                     ()))

    GridExecutor.__call__ = launched
    graphs.CUDAGraph = torch.cuda.CUDAGraph = CUDAGraph
    torch.cuda.is_current_stream_capturing = graphs.is_current_stream_capturing = capturing
    torch.cpu.graph, torch.cpu.is_current_stream_capturing = graph, capturing
    torch.cpu.graph_pool_handle = lambda: None
    torch.cpu.Event = lambda *_args, **_kwargs: SimpleNamespace(record=lambda *_a: None)


def compare_where_they_are() -> None:
    """But for who holds pages: the allocators' lists are looked at as on any CPU."""
    from pagetape.sglang_pools import Pools
    from pagetape.tensors import Tensors

    Tensors.takes = lambda self, _tensor: self.recorder.native() is not None
    Pools._keep_there = lambda *_args: None
    for name, module in list(sys.modules.items()):
        if name.startswith("pagetape.") and hasattr(module, "capturing"):
            module.capturing = capturing
