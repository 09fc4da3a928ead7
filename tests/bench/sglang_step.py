# SPDX-License-Identifier: Apache-2.0
"""What SGLang's hooks take of the scheduler's thread in a decode step, on a CPU: as on a GPU, but
for what the GPU would do.

    python3 tests/bench/sglang_step.py --engines ~/.cache/pagetape/engines

Processes that record and processes that do not take turns. Each has twelve layers (ten sliding),
pages of one token, TritonAttnBackend, its layers in a graph with four padding lanes
(drives/sglang_decode.py); of a server's step what concerns memory is there: eviction out of the
window, alloc_for_decode, a group of frees, the graph's metadata and its launch. Kernels do nothing,
those of the backend's metadata neither, so the trace is good for nothing else. Time is the
thread's own, by step.

The processor compares tables, which on a GPU is a kernel's launch each: that is measured apart and
taken off the hooks' figure. What their other operators take is the processor's time, too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from types import SimpleNamespace

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PYTHON = os.path.join(ROOT, "capture/python")
LAYERS, PADDING, CONTEXT, PROMPT, WARM = 12, 4, 1024, 300, 20


def as_on_a_gpu() -> None:
    """Before SGLang's modules are imported."""
    import sglang_graphs_on_cpu as graphs
    import torch
    from triton.runtime.interpreter import GridExecutor

    class Stream:
        cuda_stream = 0

        def wait_stream(self, _other) -> None:
            pass

    GridExecutor.__call__ = lambda *_args, **_kwargs: None
    torch.set_num_threads(1)
    torch.cuda.Stream, torch.cuda.synchronize = Stream, lambda *_: None
    torch.cuda.current_stream = lambda _device=None: Stream
    torch.cuda.stream = lambda _stream: nullcontext()
    graphs.install()
    torch.cuda.graph = graphs.graph
    from pagetape import sglang_owners, sglang_pools
    from pagetape.tensors import Tensors

    Tensors.takes = lambda tensors, _tensor: tensors.recorder.native() is not None
    sglang_owners.to_device = sglang_pools.to_device = \
        lambda lists, _device: sglang_owners.on_host(lists)
    for name, module in list(sys.modules.items()):
        if name.startswith("pagetape.") and hasattr(module, "capturing"):
            module.capturing = graphs.capturing


def compares_apart() -> list:
    """What compares have taken since, in the one entry of a list."""
    from pagetape.devices import DeviceTable

    compare, took = DeviceTable.compare, [0]

    def timed(table, stream, view=None):
        begin = time.thread_time_ns()
        try:
            return compare(table, stream, view)
        finally:
            took[0] += time.thread_time_ns() - begin

    DeviceTable.compare = timed
    return took


def engine_of(requests: int):
    import sglang_frozen_kv_mtp as mtp
    import sglang_decode as decode
    from pagetape import active
    from pagetape.sglang_owners import Lanes

    decode.REQUESTS, decode.PROMPT, decode.PADDING = requests, PROMPT, PADDING
    mtp.PAGE, mtp.ROWS, mtp.CONTEXT = 1, requests + PADDING, CONTEXT
    mtp.SWA_LAYERS = [layer for layer in range(LAYERS) if layer % 6 != 5]
    mtp.FULL_LAYERS = [layer for layer in range(LAYERS) if layer % 6 == 5]
    mtp.FULL_TOKENS = mtp.SWA_TOKENS = requests * CONTEXT
    session = active()

    class Engine(mtp.Engine):
        def allocate(self, requests, ends) -> None:
            """alloc_for_extend() for pages of one token."""
            begins = [one.kv.kv_allocated_len for one in requests]
            if session:
                session.sglang.pools.lanes = Lanes([one.rid for one in requests], begins, ends)
            slots, at = self.allocator.alloc(sum(ends) - sum(begins)), 0
            for one, begin, end in zip(requests, begins, ends):
                self.rows.write((one.kv.req_pool_idx, slice(begin, end)),
                                slots[at:at + end - begin].int())
                one.kv.kv_allocated_len, at = end, at + end - begin

    class Steps(decode.InAGraph):
        def step(self) -> None:
            import torch
            from sglang.srt.managers import schedule_batch

            engine, requests = self.engine, self.requests
            lens = torch.tensor([one.seqlen for one in requests])
            engine.cache.token_to_kv_pool_allocator = engine.allocator
            batch = SimpleNamespace(
                reqs=requests, seq_lens=lens, seq_lens_cpu=lens, req_pool_indices=self.rows,
                req_pool_indices_cpu=self.rows, req_to_token_pool=engine.rows,
                tree_cache=engine.cache, token_to_kv_pool_allocator=engine.allocator,
                model_config=SimpleNamespace(is_encoder_decoder=False), is_dllm=lambda: False,
                maybe_evict_swa=lambda: engine.evict(requests))
            engine.step("decode", requests)
            slots = schedule_batch.alloc_for_decode(batch, 1)
            for one in requests:
                one.seqlen += 1
            self.forward(engine.batch(requests, self.mode, [one.seqlen for one in requests],
                                      len(requests), slots))
            if session:
                session.recorder.launch_done(session.recorder.last_launch())
            engine.allocator.free_group_begin()
            engine.allocator.free_group_end()

    backend, held = mtp.backend_class()
    import sglang.srt.managers.schedule_batch  # noqa: F401

    engine = Engine(backend, session.sglang if session else None, with_draft=False)
    engine.prefill([(f"r{i}", PROMPT + i) for i in range(requests)])
    steps = Steps(engine)
    steps.graph.done.clear()
    return steps, held


def child(requests: int, count: int) -> None:
    """In one process: the steps' times and the compares', of each step, as JSON."""
    sys.path[:0] = [PYTHON, os.path.join(PYTHON, "drives")]
    as_on_a_gpu()
    steps, _held = engine_of(requests)
    compared, took = compares_apart(), []
    for _ in range(WARM + count):
        compared[0] = 0
        begin = time.thread_time_ns()
        steps.step()
        took.append(((time.thread_time_ns() - begin) / 1e6, compared[0] / 1e6))
    print("STEPS " + json.dumps(took[WARM:]))


def run(arguments, recorded: bool, folder: str):
    environment = {
        **os.environ, "PAGETAPE_BACKEND": "triton", "PAGETAPE_GRAPH": "1", "TRITON_INTERPRET": "1",
        "TORCHDYNAMO_DISABLE": "1", "SGLANG_SWA_EVICTION_INTERVAL": "128",  # As it comes.
        "PYTHONPATH": os.pathsep.join([PYTHON, os.path.join(PYTHON, "drives"), os.path.join(
            arguments.engines, f"sglang-{arguments.release}")])}
    how = []
    if recorded:
        how = ["-m", "pagetape", "run"]
        environment.update(PAGETAPE_OUT=os.path.join(folder, "trace.ptape"),
                           PAGETAPE_LIBRARY=arguments.library, PAGETAPE_STRICT="1")
    done = subprocess.run(
        [os.path.join(arguments.engines, "venv/bin/python"), "-W", "ignore", *how, __file__,
         "--child", "--requests", str(arguments.requests), "--steps", str(arguments.steps)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    said = [line for line in done.stdout.splitlines() if line.startswith("STEPS ")]
    if done.returncode or not said:
        sys.exit(done.stdout)
    return json.loads(said[0][len("STEPS "):])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    options.add_argument("--engines", default=os.path.expanduser("~/.cache/pagetape/engines"))
    options.add_argument("--release", default="fixed", choices=("defect", "fixed"))
    options.add_argument("--library", default=os.path.join(
        ROOT, "bazel-bin/capture/libpagetape_capture.so"))
    options.add_argument("--requests", type=int, default=64)
    options.add_argument("--steps", type=int, default=300)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.child:
        return child(arguments.requests, arguments.steps)
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.rounds):
            plain = statistics.median(step for step, _ in run(arguments, False, folder))
            recorded = run(arguments, True, folder)
            compares = statistics.median(one for _, one in recorded)
            hooks = statistics.median(step - one for step, one in recorded) - plain
            rounds.append((plain, hooks, compares))
    for what, of in zip(("a step that is not recorded", "the hooks", "compares, besides"),
                        zip(*rounds)):
        print(f"{what}: {statistics.median(of):.2f} ms ({min(of):.2f} to {max(of):.2f})")


if __name__ == "__main__":
    main()
