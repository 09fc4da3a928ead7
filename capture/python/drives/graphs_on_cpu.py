# SPDX-License-Identifier: Apache-2.0
"""CUDA graphs without a GPU, for vLLM's own classes that capture and launch them. A graph is the
call that was captured, on the tensors that it was captured with; a launch makes it again, without
the recorder's hooks, as a graph calls no Python.

Kernels for CPUs are given a plan with the metadata, made for each batch: what a graph makes again
gets that of its launch's step.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import Callable, Dict, List, Optional

import torch

SIZES = [2, 4, 8]  # tokens: others are padded


class Graph:
    """In the place of torch.cuda.CUDAGraph."""

    call: Optional[Callable[[], None]] = None  # what is about to be captured,
    given: Dict[str, object] = {}  # with this metadata by layer
    today: Dict[str, object] = {}  # of the step that runs
    launches = 0

    def __init__(self, keep_graph: bool = False) -> None:
        self._captured: List[tuple] = []

    def capture_begin(self, pool=None, capture_error_mode="global", check_input_liveness=False):
        self._captured = [(Graph.call, Graph.given)]

    def capture_end(self) -> None:
        """Just then is a graph one."""

    def replay(self) -> None:
        from pagetape.importhook import shield

        Graph.launches += 1
        [(call, given)] = self._captured
        given.update(Graph.today)
        stopped, shield.stopped = shield.stopped, True
        try:
            call()
        finally:
            shield.stopped = stopped


@contextmanager
def _capture(graph, pool=None, stream=None):
    graph.capture_begin(pool=pool)
    try:
        yield
    finally:
        graph.capture_end()


def install() -> None:
    """Before vLLM is imported."""
    torch.cuda.CUDAGraph = torch.cuda.graphs.CUDAGraph = Graph
    torch.cuda.graph = torch.cuda.graphs.graph = _capture


def configure(config) -> None:
    """An engine's config, once it is made: vLLM takes graphs out of one for CPUs."""
    from vllm.config import CUDAGraphMode
    from vllm.platforms import current_platform
    from vllm.v1.attention.backend import AttentionCGSupport
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionMetadataBuilder

    CPUAttentionMetadataBuilder._cudagraph_support = AttentionCGSupport.ALWAYS
    type(current_platform).graph_pool_handle = lambda _platform: (0, 0)
    compilation = config.compilation_config
    compilation.cudagraph_mode = CUDAGraphMode.FULL_DECODE_ONLY
    compilation.cudagraph_capture_sizes = SIZES
    compilation.max_cudagraph_capture_size = SIZES[-1]


def capture_second(runner) -> None:
    """Model runner V2's graphs, by its own CudaGraphManager."""
    from vllm.config import CUDAGraphMode
    from vllm.v1.worker.gpu import cudagraph_utils
    from vllm.v1.worker.gpu.model_states.default import DefaultModelState

    capture, to_capture = (cudagraph_utils.CudaGraphManager.capture,
                           cudagraph_utils.prepare_inputs_to_capture)
    prepare = DefaultModelState.prepare_attn

    def captured(manager, create_forward_fn, *args, **kwargs):
        def create(desc, warmup):
            forward = create_forward_fn(desc, warmup=warmup)
            Graph.call = lambda: forward(CUDAGraphMode.NONE)
            return forward

        return capture(manager, create, *args, **kwargs)

    def prepared_to_capture(*args, **kwargs):
        state = to_capture(*args, **kwargs)
        Graph.given = state.attn_metadata
        return state

    def prepared(*args, **kwargs):
        Graph.today = prepare(*args, **kwargs)
        return Graph.today

    cudagraph_utils.CudaGraphManager.capture = captured
    cudagraph_utils.prepare_inputs_to_capture = prepared_to_capture
    cudagraph_utils.graph_capture = lambda device: nullcontext()
    DefaultModelState.prepare_attn = prepared
    runner.capture_model(profile_only=True)  # That locks a workspace which there is on GPUs alone.
