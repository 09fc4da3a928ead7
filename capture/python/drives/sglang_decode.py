# SPDX-License-Identifier: Apache-2.0
"""Decode steps of many requests by SGLang's own classes, as sglang_frozen_kv_mtp.py has them but
without a draft: what a step takes of its thread's time, with or without a recorder, and on a GPU
what waits for it. $PAGETAPE_BACKEND names the backend (trtllm_mha where none is named)."""

from __future__ import annotations

import os
import statistics
import sys
import time

os.environ.setdefault("PAGETAPE_BACKEND", "trtllm_mha")

import sglang_frozen_kv_mtp as mtp  # noqa: E402
import torch  # noqa: E402

REQUESTS, PROMPT, WARM, STEPS = 64, 300, 8, 64
mtp.ROWS = REQUESTS
mtp.SWA_LAYERS = [layer for layer in range(42) if layer % 6 != 5]
mtp.FULL_LAYERS = [layer for layer in range(42) if layer % 6 == 5]
mtp.ASSISTANT_TO_TARGET = {0: 40, 1: 40, 2: 40, 3: 41}
mtp.FULL_TOKENS = mtp.SWA_TOKENS = REQUESTS * mtp.CONTEXT


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
        batch = engine.batch(requests, self.mode, on_host.tolist(), len(requests), slots)
        engine.target.init_forward_metadata(batch)
        for layer in engine.target_layers:
            engine.target.forward_decode(self.q, self.k, self.v, layer, batch)


def main() -> None:
    import pagetape

    cls, held = mtp.backend_class()
    session = pagetape.active()
    engine = mtp.Engine(cls, session.sglang if session else None)
    engine.prefill([(f"r{i}", PROMPT + i) for i in range(REQUESTS)])
    decode = Decode(engine)
    on_gpu = mtp.DEVICE != "cpu"
    for _ in range(WARM):
        decode.step()
    took = []
    for _ in range(STEPS if on_gpu else 3):
        if on_gpu:
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")  # A call that waits in the step ends it.
        begin = time.thread_time_ns()
        decode.step()
        took.append((time.thread_time_ns() - begin) / 1e6)
        if on_gpu:
            torch.cuda.set_sync_debug_mode("default")
    print(f"{REQUESTS} requests, {len(engine.target_layers)} layers, "
          f"{'recorded' if session else 'not recorded'}: {statistics.median(took):.2f} ms a step, "
          f"{min(took):.2f} to {max(took):.2f} in {len(took)}; nothing waited", file=sys.stderr)
    del held


if __name__ == "__main__":
    main()
