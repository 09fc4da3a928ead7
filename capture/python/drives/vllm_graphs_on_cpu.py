# SPDX-License-Identifier: Apache-2.0
"""CUDA graphs without a GPU, for vLLM's own classes that capture and launch them. A graph is the
call that was captured, on the tensors that it was captured with; a launch makes it again, without
the recorder's hooks, as a graph calls no Python.

Kernels for CPUs are given a plan with the metadata, made for each batch: what a graph makes again
gets that of its launch's step.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import Callable, Dict, Optional

import standins
import torch

SIZES = [2, 4, 8, 32]  # tokens: others are padded


class Graph:
    """In the place of torch.cuda.CUDAGraph."""

    now: Optional["Graph"] = None  # what is captured
    today: Dict[str, object] = {}  # metadata by layer of the step that runs
    launches = 0

    def __init__(self, keep_graph: bool = False) -> None:
        self.again: Callable[[], object] = lambda: None

    def capture_begin(self, pool=None, capture_error_mode="global", check_input_liveness=False):
        Graph.now = self

    def capture_end(self) -> None:
        Graph.now = None

    def replay(self) -> None:
        from pagetape.importhook import shield

        Graph.launches += 1
        stopped, shield.stopped = shield.stopped, True
        try:
            self.again()
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


class _Model:
    """V1's, which its CUDAGraphWrapper captures; what it returns stands where it stood then."""

    def __init__(self, model) -> None:
        self._model = model

    def __getattr__(self, name):
        return getattr(self._model, name)

    def __call__(self, *args, **kwargs):
        result = self._model(*args, **kwargs)
        if Graph.now is not None:
            Graph.now.again = lambda: result.copy_(self._model(*args, **kwargs))
        return result


def capture_first(runner) -> None:
    """Model runner V1's graphs, by its own CUDAGraphWrapper and dispatcher."""
    from vllm.compilation import cuda_graph
    from vllm.config import CUDAGraphMode
    from vllm.v1.worker import gpu_model_runner

    standins.keep_graphs_outputs()
    gpu_model_runner.graph_capture = lambda device: nullcontext()
    gpu_model_runner.lock_workspace = lambda: None
    runner.model = cuda_graph.CUDAGraphWrapper(_Model(runner.model), runner.vllm_config,
                                               runtime_mode=CUDAGraphMode.FULL)
    runner.capture_model()


def capture_second(runner) -> None:
    """Model runner V2's graphs, by its own CudaGraphManager."""
    from vllm.v1.worker.gpu import cudagraph_utils
    from vllm.v1.worker.gpu.model_states.default import DefaultModelState

    capture, to_capture = (cudagraph_utils.CudaGraphManager.capture,
                           cudagraph_utils.prepare_inputs_to_capture)
    prepare, given = DefaultModelState.prepare_attn, []

    def captured(manager, create_forward_fn, *args, **kwargs):
        def create(desc, warmup):
            forward = create_forward_fn(desc, warmup=warmup)
            metadata = given[-1]

            def run(mode):
                forward(mode)
                if Graph.now is not None:
                    Graph.now.again = lambda: (metadata.update(Graph.today), forward(mode))

            return run

        return capture(manager, create, *args, **kwargs)

    def prepared_to_capture(*args, **kwargs):
        state = to_capture(*args, **kwargs)
        given.append(state.attn_metadata)
        return state

    def prepared(*args, **kwargs):
        Graph.today = prepare(*args, **kwargs)
        return Graph.today

    cudagraph_utils.CudaGraphManager.capture = captured
    cudagraph_utils.prepare_inputs_to_capture = prepared_to_capture
    cudagraph_utils.graph_capture = lambda device: nullcontext()
    DefaultModelState.prepare_attn = prepared
    runner.capture_model(profile_only=True)  # Else it locks what there is on GPUs alone.
