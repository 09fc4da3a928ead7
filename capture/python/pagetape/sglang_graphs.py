# SPDX-License-Identifier: Apache-2.0
"""SGLang's CUDA graphs: whose the lanes of a graph's launches are, each time it is launched."""

from __future__ import annotations

import sys
from copy import copy
from typing import Dict, List, Optional

from .graphs import Held
from .importhook import after, wrap
from .recording import ints


RUNNER = "_pagetape_runner"  # Of a graph backend.


def backends_of(runner) -> list:
    """Its attention backend; where that is one of several steps, theirs."""
    backend = getattr(runner, "attn_backend", None)
    return [] if backend is None else [backend, *getattr(backend, "attn_backends", ())]


def frontier(batch) -> int:
    """How many lanes of a frozen-KV draft are each request's, side by side; else 1."""
    spec = getattr(batch, "spec_info", None)
    return spec.topk_p.shape[-1] if type(spec).__name__ == "FrozenKVMTPDraftInput" else 1


def rids_of(batch) -> Optional[list]:
    """Whose its lanes are. None: the batch does not say."""
    rids = getattr(batch, "rids", None)
    each = range(frontier(batch) if rids else 1)
    return rids and [rid for rid in rids for _ in each]


def padded(launch, batch):
    """Today's batch in the shapes of the one that was captured: what is behind its requests are
    padding lanes. A prompt's graph is told without: how long its padding is no one says."""
    extends = getattr(batch.forward_mode, "is_extend_without_speculative", None)
    if extends is not None and extends():
        return batch
    told = copy(launch.batch)
    rids, lanes, each = list(batch.rids), int(launch.batch.batch_size), frontier(batch)
    told.rids = rids + [None] * (lanes // each - len(rids))
    told.seq_lens_cpu = told.extend_prefix_lens_cpu = None  # Those of the capture are nobody's.
    if batch.seq_lens_cpu is not None:
        fill = launch.backend.get_cuda_graph_seq_len_fill_value()
        known = len(rids) * each
        told.seq_lens_cpu = ints(batch.seq_lens_cpu)[:known] + [fill] * (lanes - known)
    new, captured = batch.extend_seq_lens_cpu, launch.batch.extend_seq_lens_cpu
    if new is not None and captured is not None:
        told.extend_seq_lens_cpu = [*list(new)[:len(rids)], *list(captured)[len(rids):]]
    return told


class Replays:
    def __init__(self, backends) -> None:
        self._backends = backends
        self.forwarding: List[tuple] = []  # Runner and batch of the passes that are under way.

    def requests_of(self, batch) -> Optional[List[str]]:
        """Of a batch that a prompt's graph runs in the place of the pass's: it has the same rows,
        and of whose they are nothing. None: it is another one."""
        _, passing = self.forwarding[-1] if self.forwarding else (None, None)
        same = passing is not None and passing.req_pool_indices is batch.req_pool_indices
        return rids_of(passing) if same else None

    def launched(self, captured: Held) -> None:
        """A graph that has these launches is on its stream. Whose its lanes are is known where its
        backends are those of the runner whose pass this is."""
        runner, batch = self.forwarding[-1] if self.forwarding else (None, None)
        its, on_gpu = {id(one) for one in backends_of(runner)}, self._backends.on_gpu
        if self._backends.recorder.native() is None or getattr(batch, "rids", None) is None or \
                any(id(launch.backend) not in its for launch, *_ in captured):
            return on_gpu.gap("a CUDA graph was launched of which the lanes are not known")
        self._backends.reads.forget()
        on_gpu.forget()
        told: Dict[int, object] = {}

        def today(launch):
            if id(launch.batch) not in told:
                told[id(launch.batch)] = padded(launch, batch)
            return launch._replace(batch=told[id(launch.batch)])

        frozen = self._backends.frozen(captured)
        for backend, pool in frozen:
            self._backends.bind(backend, pool)
        on_gpu.launched(captured, today)
        for backend, _pool in frozen:
            self._backends.bind(backend, backend.token_to_kv_pool)

    # runner_backend/full_cuda_graph_backend.py
    def graph_runners(self, module) -> None:
        """replay(shape_key, batch) of a graph runner: a draft's, unlike the target's, is in no pass
        of its ModelRunner. One without a backend of its own launches what the pass's has."""
        def make(original):
            def replay(graphs, shape_key, static_forward_batch, **kwargs):
                runner = getattr(graphs, RUNNER, None)
                if not backends_of(runner):
                    return original(graphs, shape_key, static_forward_batch, **kwargs)
                self.forwarding.append((runner, static_forward_batch))
                try:
                    return original(graphs, shape_key, static_forward_batch, **kwargs)
                finally:
                    self.forwarding.pop()

            return replay

        # Older releases do not keep it.
        after(module.FullCudaGraphBackend, "__init__",
              lambda graphs, _result, cuda_graph_runner=None, *args, **kwargs:
              setattr(graphs, RUNNER, cuda_graph_runner))
        wrap(module.FullCudaGraphBackend, "replay", make)

    def passes(self, module) -> None:
        """model_runner.py: a runner's pass, in which graphs may be launched."""
        graphs = sys.modules.get("torch.cuda.graphs")
        if graphs is not None:
            self._backends.graphs.hook(graphs)

        def make(original):
            def forward(runner, forward_batch, *args, **kwargs):
                self.forwarding.append((runner, forward_batch))
                try:
                    return original(runner, forward_batch, *args, **kwargs)
                finally:
                    self.forwarding.pop()

            return forward

        wrap(module.ModelRunner, "forward", make)
