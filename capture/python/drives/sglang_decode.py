# SPDX-License-Identifier: Apache-2.0
"""Decode steps of many requests by SGLang's own classes, as sglang_frozen_kv_mtp.py has them but
without a draft: what a step takes of its thread's time, with or without a recorder, and on a GPU
what waits for it. $PAGETAPE_BACKEND names the backend (trtllm_mha where none is named).

With $PAGETAPE_GRAPH the layers of a step are in a CUDA graph, in the order of 0.5.20's
DecodeCudaGraphRunner and for two lanes more than there are requests; ModelRunner.forward launches
it. The backend's buffers and the kernel that builds its tables within the graph are its own.
$PAGETAPE_PLANT=row: one step's tables are built while the first request's row names the second's
first page."""

from __future__ import annotations

import os
import statistics
import sys
import time
from types import SimpleNamespace

os.environ.setdefault("PAGETAPE_BACKEND", "trtllm_mha")

import sglang_frozen_kv_mtp as mtp  # noqa: E402
import standins  # noqa: E402
import torch  # noqa: E402

REQUESTS, PROMPT, WARM, STEPS = 64, 300, 8, 64
PADDING, PLANT_AT = 2, 20
mtp.ROWS = REQUESTS
mtp.SWA_LAYERS = [layer for layer in range(42) if layer % 6 != 5]
mtp.FULL_LAYERS = [layer for layer in range(42) if layer % 6 == 5]
mtp.ASSISTANT_TO_TARGET = {0: 40, 1: 40, 2: 40, 3: 41}
mtp.FULL_TOKENS = mtp.SWA_TOKENS = REQUESTS * mtp.CONTEXT

# What ModelRunner.forward asks for besides the pass itself.
NO_OTHER_PART = dict(forward_pass_id=0, is_draft_worker=False, enable_elastic_ep=False,
                     msprobe_debugger=None, canary_manager=None, eplb_manager=None)


class Decode:
    def __init__(self, engine) -> None:
        from sglang.srt.model_executor.forward_batch_info import ForwardMode

        self.engine = engine
        self.mode = ForwardMode.DECODE
        self.requests = engine.running
        self.rows = mtp.there(torch.tensor([one.kv.req_pool_idx for one in self.requests]))
        self.q, self.k, self.v = engine.qkv(len(self.requests))

    def step(self) -> None:
        engine, requests = self.engine, self.requests
        for one in requests:
            one.seqlen += 1
            one.kv.kv_allocated_len = one.seqlen
        engine.step("decode", requests)
        on_host = torch.tensor([one.seqlen for one in requests])
        lens = mtp.there(on_host)
        cells = engine.rows.req_to_token
        slots = engine.allocator.alloc_decode(lens, on_host, cells[self.rows, lens - 2].long())
        engine.rows.write((self.rows, lens - 1), slots.to(torch.int32))
        self.forward(engine.batch(requests, self.mode, on_host.tolist(), len(requests), slots))

    def forward(self, batch) -> None:
        self.engine.target.init_forward_metadata(batch)
        self.layers(batch)

    def layers(self, batch) -> None:
        for layer in self.engine.target_layers:
            self.engine.target.forward_decode(self.q, self.k, self.v, layer, batch)

    def planted_step(self) -> None:
        rows = self.engine.rows.req_to_token
        mine, other = (one.kv.req_pool_idx for one in self.requests[:2])
        kept = rows[mine, :mtp.PAGE].clone()
        rows[mine, :mtp.PAGE] = rows[other, :mtp.PAGE]
        self.step()
        rows[mine, :mtp.PAGE] = kept


class InAGraph(Decode):
    def __init__(self, engine) -> None:
        standins.install_absent("fastapi", "uvicorn")  # A server, that the runner's module imports.
        from sglang.srt.model_executor.model_runner import ModelRunner

        super().__init__(engine)
        lanes = len(self.requests) + PADDING
        self.q, self.k, self.v = engine.qkv(lanes)
        self.static = engine.batch(self.requests, self.mode, [1] * lanes, lanes,
                                   torch.zeros(lanes, dtype=torch.int64, device=mtp.DEVICE))
        self.static.batch_size, self.static.rids = lanes, None
        self.static.req_pool_indices = torch.zeros(lanes, dtype=torch.int64, device=mtp.DEVICE)
        self.static.positions = torch.zeros(lanes, dtype=torch.int64, device=mtp.DEVICE)
        engine.target.init_cuda_graph_state(lanes, lanes)
        engine.target.init_forward_metadata_out_graph(self.static, in_capture=True)
        stream, self.graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.captured()
        torch.cuda.synchronize()
        with torch.cuda.graph(self.graph, stream=stream):
            self.captured()

        class Runner(ModelRunner):
            """Its pass, in which the graph is launched."""

            def __init__(runner) -> None:
                vars(runner).update(attn_backend=engine.target, **NO_OTHER_PART)

            def _forward_raw(runner, batch, *_args):
                self.launch(batch)
                return SimpleNamespace(can_run_graph=True)

        self.runner = Runner()

    def captured(self) -> None:
        self.engine.target.init_forward_metadata_in_graph(self.static)
        self.layers(self.static)

    def forward(self, batch) -> None:
        self.runner.forward(batch)

    def launch(self, batch) -> None:
        static = self.static
        for to, of, fill in ((static.seq_lens, batch.seq_lens, 1),
                             (static.req_pool_indices, batch.req_pool_indices, 0),
                             (static.out_cache_loc, batch.out_cache_loc, 0)):
            to[:len(of)].copy_(of)
            to[len(of):].fill_(fill)
        self.engine.target.init_forward_metadata_out_graph(static)
        self.graph.replay()


def main() -> None:
    import pagetape

    cls, held = mtp.backend_class()
    session = pagetape.active()
    engine = mtp.Engine(cls, session.sglang if session else None)
    engine.prefill([(f"r{i}", PROMPT + i) for i in range(REQUESTS)])
    in_a_graph = bool(os.environ.get("PAGETAPE_GRAPH"))
    decode = InAGraph(engine) if in_a_graph else Decode(engine)
    on_gpu = mtp.DEVICE != "cpu"
    for _ in range(WARM):
        decode.step()
    took = []
    for step in range(STEPS if on_gpu else 3):
        if on_gpu:
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")  # A call that waits in the step ends it.
        begin = time.thread_time_ns()
        if step == PLANT_AT and os.environ.get("PAGETAPE_PLANT") == "row":
            decode.planted_step()
        else:
            decode.step()
        took.append((time.thread_time_ns() - begin) / 1e6)
        if on_gpu:
            torch.cuda.set_sync_debug_mode("default")
    print(f"{REQUESTS} requests, {len(engine.target_layers)} layers, "
          f"{'in a graph, ' if in_a_graph else ''}"
          f"{'recorded' if session else 'not recorded'}: {statistics.median(took):.2f} ms a step, "
          f"{min(took):.2f} to {max(took):.2f} in {len(took)}; nothing waited", file=sys.stderr)
    del held


if __name__ == "__main__":
    main()
