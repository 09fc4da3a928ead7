# SPDX-License-Identifier: Apache-2.0
"""Drives SGLang's prefix caches, on a CPU, and with $PAGETAPE_ON_GPU on a GPU: requests that share
prompts, finish, are found in the cache, evicted from it, retracted, and prefilled in chunks.

Of the installed release and real: Req, ScheduleBatch (prepare_for_extend, prepare_for_decode,
maybe_evict_swa, release_req), alloc_for_extend and alloc_for_decode, release_kv_cache,
maybe_cache_unfinished_req, the allocators and pools, and the cache that $PAGETAPE_CACHE names:
`radix` (RadixCache), `swa` (SWARadixCache), `unified` and `unified_swa` (UnifiedRadixCache, what a
server of 0.5.19 or 0.5.20 takes by default). Not real, as in sglang_frozen_kv_mtp.py: the model
runner, the model's other layers, the sampler; and the scheduler's loop, whose order is kept.

$PAGETAPE_PAGE is the page size, 64 or 1; of 1 the attention backend is triton, else trtllm_mha.
$PAGETAPE_PLANT=freed gives a page back behind the cache's back, which goes on to offer it.
"""

from __future__ import annotations

import os
from array import array
from types import SimpleNamespace

PAGE = int(os.environ.get("PAGETAPE_PAGE") or 64)
CACHE = os.environ.get("PAGETAPE_CACHE") or "radix"
os.environ["PAGETAPE_BACKEND"] = "triton" if PAGE == 1 else "trtllm_mha"

import sglang_frozen_kv_mtp as mtp  # noqa: E402
import torch  # noqa: E402
from sglang_frozen_kv_mtp import there  # noqa: E402

SCALE = 64 if PAGE == 64 else 8  # Tokens of a unit of the prompts below.
mtp.PAGE = PAGE
mtp.WINDOW = 2 * SCALE
mtp.CONTEXT = 16 * SCALE
mtp.FULL_TOKENS, mtp.SWA_TOKENS = 22 * SCALE, 16 * SCALE
SWA = CACHE in ("swa", "unified_swa")
if not SWA:
    mtp.SWA_LAYERS, mtp.FULL_LAYERS = [], [0, 1]
else:
    mtp.SWA_LAYERS, mtp.FULL_LAYERS = [0, 1], [2]


class Server(mtp.Engine):
    """The scheduler's part of one server."""

    def __init__(self, backend_class, recording) -> None:
        from sglang.srt.mem_cache.allocator.paged import PagedTokenToKVPoolAllocator
        from sglang.srt.mem_cache.allocator.swa import SWATokenToKVPoolAllocator
        from sglang.srt.mem_cache.allocator.token import TokenToKVPoolAllocator
        from sglang.srt.mem_cache.memory_pool import MHATokenToKVPool
        from sglang.srt.mem_cache.swa_memory_pool import SWAKVPool

        self.recording = recording
        self.steps = 0
        shape = dict(dtype=torch.bfloat16, head_num=mtp.KV_HEADS, head_dim=mtp.HEAD_DIM,
                     device=mtp.DEVICE)
        self.rows = self._rows(size=mtp.ROWS, max_context_len=mtp.CONTEXT, device=mtp.DEVICE,
                               enable_memory_saver=False)
        if SWA:
            self.kv = SWAKVPool(size=mtp.FULL_TOKENS, size_swa=mtp.SWA_TOKENS, page_size=PAGE,
                                swa_attention_layer_ids=mtp.SWA_LAYERS,
                                full_attention_layer_ids=mtp.FULL_LAYERS, **shape)
            self.allocator = SWATokenToKVPoolAllocator(
                mtp.FULL_TOKENS, mtp.SWA_TOKENS, PAGE, torch.bfloat16, mtp.DEVICE, self.kv,
                need_sort=False)
        else:
            self.kv = MHATokenToKVPool(size=mtp.FULL_TOKENS, page_size=PAGE,
                                       layer_num=len(mtp.FULL_LAYERS), enable_memory_saver=False,
                                       **shape)
            paged = () if PAGE == 1 else (PAGE,)
            allocator = PagedTokenToKVPoolAllocator if paged else TokenToKVPoolAllocator
            self.allocator = allocator(mtp.FULL_TOKENS, *paged, torch.bfloat16, mtp.DEVICE, self.kv,
                                       need_sort=False)
        self.cache = self._cache()
        self.target = backend_class(self._runner(self.kv, draft=False))
        self.target_layers = [self._layer(i, i in mtp.SWA_LAYERS)
                              for i in sorted(mtp.SWA_LAYERS + mtp.FULL_LAYERS)]
        self.model = SimpleNamespace(is_encoder_decoder=False, vocab_size=1 << 17,
                                     is_multimodal=False, hf_config=None)
        self.running = []

    def _runner(self, pool, draft: bool):
        runner = super()._runner(pool, draft)
        vars(runner.server_args).update(enable_mis=False, enable_lean_attention=False,
                                        triton_attention_split_tile_size=None)
        return runner

    def _rows(self, **shape):
        from sglang.srt.mem_cache.memory_pool import ReqToTokenPool

        return ReqToTokenPool(**shape)

    def _cache(self):
        from sglang.srt.mem_cache.cache_init_params import CacheInitParams
        from sglang.srt.mem_cache.radix_cache import RadixCache
        from sglang.srt.mem_cache.swa_radix_cache import SWARadixCache
        from sglang.srt.mem_cache.unified_cache.components import ComponentType
        from sglang.srt.mem_cache.unified_radix_cache import UnifiedRadixCache

        params = CacheInitParams(
            disable=False, req_to_token_pool=self.rows, token_to_kv_pool_allocator=self.allocator,
            page_size=PAGE, sliding_window_size=mtp.WINDOW if SWA else None,
            tree_components=(ComponentType.FULL,) + ((ComponentType.SWA,) if SWA else ()))
        return {"radix": RadixCache, "swa": SWARadixCache}.get(CACHE, UnifiedRadixCache)(params)

    # --- one iteration of the scheduler

    def request(self, rid: str, tokens, new: int):
        from sglang.srt.managers.schedule_batch import Req
        from sglang.srt.sampling.sampling_params import SamplingParams

        request = Req(rid, "", array("q", tokens), SamplingParams(max_new_tokens=new))
        request.todo = new
        return request

    def schedule(self, requests):
        from sglang.srt.managers.schedule_batch import ScheduleBatch
        from sglang.srt.speculative.spec_info import SpeculativeAlgorithm

        return ScheduleBatch.init_new(
            requests, self.rows, self.allocator, self.cache, self.model, False,
            SpeculativeAlgorithm.NONE)

    def prefill(self, requests, chunk: int = 0) -> None:
        """As get_new_batch_prefill, run_batch and process_batch_result_prefill do."""
        from sglang.srt.managers.schedule_policy import PrefillAdder

        for request in requests:
            if not request.kv.holds_kv:
                request.init_next_round_input(self.cache)
                PrefillAdder._req_inc_lock_ref(
                    SimpleNamespace(tree_cache=self.cache, is_hybrid_swa=SWA), request)
            else:
                request.init_next_round_input()
            begin, end = len(request.prefix_indices), len(request.full_untruncated_fill_ids)
            request.set_extend_range(begin, min(end, begin + chunk) if chunk else end)
        batch = self.schedule(requests)
        batch.prepare_for_extend()
        self.forward(batch, "extend")
        self.allocator.free_group_begin()
        for request in requests:
            if request.extend_range.end < len(request.full_untruncated_fill_ids):
                self.cache_unfinished(request, chunked=True)
                continue
            self.sampled(request)
            self.running.append(request)
            if request.todo:
                self.cache_unfinished(request)
        self.allocator.free_group_end()
        self.running = [one for one in self.running if one.kv.holds_kv]

    def cache_unfinished(self, request, **how) -> None:
        from sglang.srt.mem_cache.common import maybe_cache_unfinished_req

        maybe_cache_unfinished_req(request, self.cache, **how)

    def sampled(self, request) -> None:
        """Another token, which its number and the request's give; the last one ends it."""
        from sglang.srt.mem_cache.common import release_kv_cache

        request.output_ids.append(1000 + len(request.output_ids))
        request.todo -= 1
        if not request.todo:
            release_kv_cache(request, self.cache)

    def decode(self, times: int = 1) -> None:
        for _ in range(times):
            if not self.running:
                return
            batch = self.schedule(list(self.running))
            batch.seq_lens_cpu = torch.tensor([one.kv.kv_committed_len for one in self.running])
            batch.seq_lens = there(batch.seq_lens_cpu.clone())
            batch.orig_seq_lens = batch.seq_lens.int()
            batch.seq_lens_sum = int(batch.seq_lens_cpu.sum())
            rows = torch.tensor([one.kv.req_pool_idx for one in self.running])
            batch.req_pool_indices, batch.req_pool_indices_cpu = there(rows), rows
            batch.output_ids = torch.zeros(len(rows), dtype=torch.int64, device=mtp.DEVICE)
            batch.sampling_info = SimpleNamespace(
                penalizer_orchestrator=SimpleNamespace(is_required=False))
            batch.prepare_for_decode()
            self.forward(batch, "decode")
            self.allocator.free_group_begin()
            for request in self.running:
                self.sampled(request)
            self.allocator.free_group_end()
            self.running = [one for one in self.running if one.kv.holds_kv]

    def forward(self, batch, mode: str) -> None:
        self.step(mode, batch.reqs)
        lens = batch.seq_lens_cpu.tolist()
        tokens = batch.extend_num_tokens if mode == "extend" else len(batch.reqs)
        forward = self.batch(batch.reqs, batch.forward_mode, lens, tokens, batch.out_cache_loc)
        if mode == "extend":
            forward.extend_prefix_lens = there(torch.tensor(batch.prefix_lens))
            forward.extend_prefix_lens_cpu = list(batch.prefix_lens)
            forward.extend_seq_lens = there(torch.tensor(batch.extend_lens))
            forward.extend_seq_lens_cpu = list(batch.extend_lens)
            forward.extend_num_tokens = tokens
            return self.forward_target(forward, tokens)
        self.target.init_forward_metadata(forward)
        for layer in self.target_layers:
            q, k, v = self.qkv(tokens)
            self.target.forward_decode(q, k, v, layer, forward)

    def retract(self, request) -> None:
        batch = self.schedule(list(self.running))
        batch.release_req(self.running.index(request), len(self.running) - 1)
        self.running.remove(request)
        request.todo = max(request.todo, 1)


def prompt(*parts: int):
    """Tokens of so many units: equal numbers begin equal parts."""
    return [part * 10000 + i for part in parts for i in range(SCALE)]


def run(server: Server) -> None:
    a = server.request("A", prompt(1, 2, 3) + [7] * (SCALE // 2), 4)
    b = server.request("B", prompt(1, 2, 4), 6)
    server.prefill([a, b])  # At once: both store units 1 and 2, the cache keeps A's.
    server.decode(3)  # A ends, what it had is the cache's.
    c = server.request("C", prompt(1, 2, 3, 5), 64)
    server.prefill([c])  # It finds all of A's whole pages, and B holds two of them as well.
    server.decode(2)  # B ends.
    d = server.request("D", prompt(6, 7, 8, 9) + [9], 3)
    server.prefill([d], chunk=SCALE + SCALE // 4)  # Chunks that end within a page.
    while d not in server.running:
        server.prefill([d], chunk=SCALE + SCALE // 4)
    e = server.request("E", prompt(1, 2, 4) + [5], 3)
    plant(server)
    server.prefill([e])  # It finds what B left.
    server.decode(1)
    server.retract(e)
    server.decode(SCALE // 2)  # C's window moves over what it found; D ends.
    server.prefill([e])  # Retracted: found again.
    server.decode(2)
    for i in range(5):  # More than there is room for: the cache has to give pages back.
        server.prefill([server.request(f"F{i}", prompt(20 + i, 30 + i, 40 + i, 50 + i) + [i], 2)])
        server.decode(1)
    server.prefill([server.request("G", prompt(1, 2, 3, 5) + [3], 2)])
    server.decode(64)  # With pages of one token C's window moves over its own ones.


def plant(server: Server) -> None:
    """The last unit of B's prompt, which the cache has, goes back to the allocator."""
    if os.environ.get("PAGETAPE_PLANT") != "freed":
        return
    from sglang.srt.mem_cache.base_prefix_cache import MatchPrefixParams
    from sglang.srt.mem_cache.radix_cache import RadixKey

    found = server.cache.match_prefix(MatchPrefixParams(
        key=RadixKey(array("q", prompt(1, 2, 4))))).device_indices
    server.allocator.free_segment(found[-SCALE:], start_pos=0)


def main() -> None:
    import pagetape

    cls, held = mtp.backend_class()
    session = pagetape.active()
    run(Server(cls, session.sglang if session else None))
    del held


if __name__ == "__main__":
    main()
