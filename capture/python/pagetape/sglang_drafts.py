# SPDX-License-Identifier: Apache-2.0
"""What SGLang's EAGLE worker does with the pools beside its passes.

Before a tree of drafts (topk above 1) with pages of several tokens it gives each branch pages of
its own, into the first of which it copies the tokens of the prefix's last page: kernels read
branches by whole pages. That copy is told as a store of the request whose branches they are.
"""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Optional

from .importhook import NotHere, expect, wrap
from .recording import ints
from .sglang_backends import Backends, Forward

UNTOLD = "tokens of prefixes were copied for the branches of drafts: whose is not known"


class _Copied:
    """Neither a decode's mode nor a verification's: rows are told by their numbers of tokens."""

    @staticmethod
    def is_decode_or_idle() -> bool:
        return False

    is_target_verify = is_decode_or_idle


class Drafts:
    def __init__(self, backends: Backends) -> None:
        self.backends = backends
        self.drafting: Optional[dict] = None  # What prepare_for_draft was given, while it runs.

    # speculative/eagle_worker_common.py
    def preparation(self, module) -> None:
        if not hasattr(module, "prepare_for_draft"):
            raise NotHere
        signature = inspect.signature(module.prepare_for_draft)
        expect(module.prepare_for_draft, "batch", "draft_model_runner", "topk")

        def make(original):
            def prepare_for_draft(*args, **kwargs):
                self.drafting = signature.bind(*args, **kwargs).arguments
                try:
                    return original(*args, **kwargs)
                finally:
                    self.drafting = None

            return prepare_for_draft

        wrap(module, "prepare_for_draft", make)

    # memory_pool.py: move_kv_cache(tgt_loc, src_loc), slots of all the layers
    def moves(self, module) -> None:
        def make(original):
            def move_kv_cache(pool, tgt_loc, src_loc):
                if self.drafting is not None:
                    self._copied(pool, tgt_loc)
                return original(pool, tgt_loc, src_loc)

            return move_kv_cache

        wrap(module.MHATokenToKVPool, "move_kv_cache", make)

    def _copied(self, pool, slots) -> None:
        """Of each request its last page's tokens, once for each branch but the first. What is not
        told is a gap: kernels read it."""
        batch, runner = self.drafting["batch"], self.drafting["draft_model_runner"]
        backend, pools = getattr(runner, "attn_backend", None), self.backends.pools
        known = [pools.of_tensor(k) for k in pool.k_buffer]
        if None in known or not known:
            return
        # Without lengths on the host: the preparation itself has just waited for the GPU's.
        lengths = batch.seq_lens if batch.seq_lens_cpu is None else batch.seq_lens_cpu
        others = int(self.drafting["topk"]) - 1
        counts = [length % int(pool.page_size) * others for length in ints(lengths)]
        if id(backend) not in self.backends.built or sum(counts) != slots.numel():
            pools.settle()
            return self.backends.recorder.emit("gap", why=UNTOLD, pools=[known[0][0]])
        told = SimpleNamespace(
            forward_mode=_Copied, batch_size=len(counts), extend_seq_lens_cpu=counts,
            rids=[one.rid for one in batch.reqs], req_pool_indices=batch.req_pool_indices)
        windows = pool is getattr(backend.token_to_kv_pool, "swa_kv_pool", None)
        for (_, _, layer), k in zip(known, pool.k_buffer):
            self.backends.launches.append(Forward(backend, SimpleNamespace(layer_id=layer), told))
            try:
                self.backends.store(k, slots, windows)
            finally:
                self.backends.launches.pop()
