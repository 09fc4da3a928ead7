# SPDX-License-Identifier: Apache-2.0
"""Drives a server of SGLang that decodes what others prefilled, on a CPU: requests whose prompts
come from elsewhere, decode, and are retracted with their K and V kept in the host's memory.

As sglang_prefix_cache.py, with no prefix cache, and of the installed release and real besides:
DecodePreallocQueue, DecodeTransferQueue, DecodeReqToTokenPool, MetadataBuffers and the receiver
that SGLang has for requests which transfer nothing (FakeKVReceiver). The scheduler is a stand-in.

$PAGETAPE_PLANT plants a fault: `early` decodes a request before its prompt came, `freed` gives a
page back while a prompt is to come to it.
"""

from __future__ import annotations

import os
from types import SimpleNamespace

os.environ.setdefault("PAGETAPE_CACHE", "swa")

import sglang_prefix_cache as cached  # noqa: E402
import torch  # noqa: E402

PLANT = os.environ.get("PAGETAPE_PLANT")


class Server(cached.Server):
    def __init__(self, backend_class, recording) -> None:
        from sglang.srt.disaggregation import decode, utils

        super().__init__(backend_class, recording)
        self.scheduler = self._scheduler()
        buffers = utils.MetadataBuffers(8, 16, torch.float32, 1)
        places = utils.ReqToMetadataIdxAllocator(8)
        self.transfers = decode.DecodeTransferQueue(None, places, 0, buffers, self.scheduler,
                                                    self.cache)
        self.queue = decode.DecodePreallocQueue(
            self.rows, self.allocator, None, places, buffers, self.scheduler, self.transfers,
            self.cache, None, 0, 1, 1, 0, 0, cached.mtp.FULL_TOKENS, 0, 1,
            utils.TransferBackend.FAKE)
        self.scheduler.disagg_decode_prealloc_queue = self.queue

    def _rows(self, **shape):
        from sglang.srt.disaggregation.decode import DecodeReqToTokenPool

        return DecodeReqToTokenPool(**shape, pre_alloc_size=2)

    def _cache(self):
        from sglang.srt.mem_cache.cache_init_params import CacheInitParams
        from sglang.srt.mem_cache.chunk_cache import ChunkCache, SWAChunkCache

        params = CacheInitParams(
            disable=True, req_to_token_pool=self.rows, token_to_kv_pool_allocator=self.allocator,
            page_size=cached.PAGE, sliding_window_size=cached.mtp.WINDOW if cached.SWA else None)
        return (SWAChunkCache if cached.SWA else ChunkCache)(params)

    def _scheduler(self):
        from sglang.srt.runtime_context import get_server_args

        nothing = SimpleNamespace(enable_metrics=False)
        return SimpleNamespace(
            running_batch=SimpleNamespace(reqs=self.running), waiting_queue=[], last_batch=None,
            sliding_window_size=cached.mtp.WINDOW, enable_hisparse=False, enable_lora=False,
            enable_decode_hicache=False, enable_priority_scheduling=False,
            spec_algorithm=SimpleNamespace(is_none=lambda: True), metrics_reporter=nothing,
            ps=SimpleNamespace(dp_rank=0, pp_size=1, gpu_id=0), server_args=get_server_args(),
            tp_worker=SimpleNamespace(is_hybrid_swa=cached.SWA, model_runner=SimpleNamespace(
                kv_cache_dtype_str="bfloat16", swa_max_total_num_tokens=cached.mtp.SWA_TOKENS)),
            model_config=SimpleNamespace(num_hidden_layers=len(self.target_layers)),
            batch_result_processor=SimpleNamespace(
                _maybe_update_reasoning_tokens=lambda *_: None))

    def arrive(self, rid: str, tokens, new: int):
        request = self.request(rid, tokens, new)
        request.bootstrap_host, request.bootstrap_room = "2.2.2.2", 7
        request.vocab_size = self.model.vocab_size
        self.queue.add(request)
        return request

    def receive(self) -> None:
        """As process_decode_queue does: prompts are asked for, and those that came are served."""
        for request in self.queue.resume_retracted_reqs():
            self.running.append(request)
        self.transfers.extend(self.queue.pop_preallocated()[0])
        plant(self)
        for request in self.transfers.pop_transferred():
            request.todo -= 1  # Its first token came with the prompt.
            self.running.append(request)

    def decode(self, times: int = 1) -> None:
        super().decode(times)
        self.scheduler.running_batch.reqs = self.running

    def retract(self, request) -> None:
        super().retract(request)
        self.queue.add(request, is_retracted=True)


def run(server: Server) -> None:
    half = [7] * (cached.SCALE // 2)
    a = server.arrive("A", cached.prompt(1, 2, 3) + half, 64)
    server.arrive("B", cached.prompt(4), 6)
    server.receive()
    server.decode(2)
    server.arrive("C", cached.prompt(1, 2, 3, 4) + half[:1], 4)
    server.receive()
    server.decode(3)  # B and C end.
    server.retract(a)
    server.arrive("D", cached.prompt(5, 6), 3)
    server.receive()  # A has other pages from here on.
    server.decode(62)
    server.arrive("E", cached.prompt(8) + half, 9)
    server.receive()
    server.decode(3)


def plant(server: Server) -> None:
    if not PLANT or not server.transfers.queue or server.transfers.queue[0].req.rid != "E":
        return
    request = server.transfers.queue[0].req
    if PLANT == "early":
        server.running.append(request)
        request.output_ids.append(0)
        server.decode()
        server.running.remove(request)
        request.output_ids.pop()
        request.output_ids.pop()
    else:
        slots = server.rows.req_to_token[request.kv.req_pool_idx, :cached.SCALE]
        server.allocator.free_segment(slots, start_pos=0)


def main() -> None:
    import pagetape

    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0,
                                         world_size=1)
    cls, held = cached.mtp.backend_class(disaggregation_mode="decode",
                                         disaggregation_decode_retraction_backup="cpu_tensor")
    session = pagetape.active()
    run(Server(cls, session.sglang if session else None))
    del held


if __name__ == "__main__":
    main()
