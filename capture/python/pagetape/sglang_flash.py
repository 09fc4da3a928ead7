# SPDX-License-Identifier: Apache-2.0
"""The calls by which SGLang's FlashAttentionBackend (fa3, fa4) and FlashInferAttnBackend start
their attention kernels. Windows count as in sglang_kernels.py.

Told is what is read by a table of the batch's requests, or of the branches of their drafts' trees
(topk above 1). Tables of anything else are left out, and a note says so: local chunks, an encoder's
tokens, what sliding layers of FlashAttentionBackend read to verify a tree, the prompts of
prefill-aware ones, copies that are made of a quantized pool.
"""

from __future__ import annotations

import inspect

from .devices import capturing
from .importhook import NotHere, expect, wrap
from .sglang_backends import BEHIND, Backends
from .sglang_guard import WRAPPERS
from .sglang_kernels import planned, window_of
from .sglang_on_gpu import Read

UPDATERS = ("FlashInferIndicesUpdaterDecode", "FlashInferIndicesUpdaterPrefill")


class FlashKernels:
    def __init__(self, backends: Backends) -> None:
        self.backends = backends

    def flash_attention(self, module) -> None:
        """flash_attn_with_kvcache(q, k_cache [pages, page_size, heads, dim], …, cache_seqlens,
        page_table, cu_seqlens_q, window_size (left, right)), as the backend's module has it. With
        return_softmax_lse a tree is read in two parts: what stood in the pool before its tokens,
        and by a table of its own what comes behind: of a page that both have, both."""

        def make(original):
            def call(*args, **kwargs):
                table = kwargs.get("page_table")
                told = None
                if table is not None and "k_cache" in kwargs:
                    told = self.backends.owned(table)
                if told is not None:
                    k = kwargs["k_cache"]
                    self.backends.attention(Read(
                        k, table, "flash_attn_with_kvcache", int(k.shape[1]),
                        window_of(kwargs.get("window_size", (-1, -1))[0]),
                        kwargs["cache_seqlens"], q_ends=kwargs["cu_seqlens_q"],
                        q_len=int(kwargs.get("max_seqlen_q") or 1),
                        cached=bool(kwargs.get("return_softmax_lse")) and
                        told.field != BEHIND))
                return original(*args, **kwargs)

            return call

        wrap(module, "flash_attn_with_kvcache", make)

    # FlashInfer: lists are planned in a wrapper before a pass, one wrapper for sliding layers and
    # one for full ones, and launched by it in each layer
    def flashinfer_lists(self, module) -> None:
        """call_begin_forward(wrapper or wrapper_paged, …, use_sliding_window_kv_pool): the lists
        are translated where the last is set."""
        for name in UPDATERS:
            updater = getattr(module, name)
            signature = inspect.signature(updater.call_begin_forward)
            expect(updater.call_begin_forward, "use_sliding_window_kv_pool", "spec_info")

            def make(original, signature=signature):
                def call_begin_forward(updater, *args, **kwargs):
                    result = original(updater, *args, **kwargs)
                    given = signature.bind(updater, *args, **kwargs).arguments
                    wrapper = given["wrapper_paged" if "wrapper_paged" in given else "wrapper"]
                    backend = updater.attn_backend
                    if given.get("custom_kv_indices") is None and \
                            getattr(backend.dispatch_reason, "name", "") != "CROSS_ATTENTION":
                        self.backends.listed(backend, wrapper, wrapper._paged_kv_indices_buf,
                                             bool(given.get("use_sliding_window_kv_pool")))
                    return result

                return call_begin_forward

            wrap(updater, "call_begin_forward", make)

    def flashinfer_wrappers(self, module) -> None:
        """forward(q, (k, v), …), and forward_return_lse with what stood in the pool before the new
        tokens: k [slots, heads, dim], one entry a token."""
        if not hasattr(module, WRAPPERS[0]):
            raise NotHere
        for name in WRAPPERS:
            for method, cached in (("forward", False), ("forward_return_lse", True)):
                def make(original, kernel=f"{name}.{method}", cached=cached):
                    def call(wrapper, q, kv_cache, *args, **kwargs):
                        self._launched(wrapper, kv_cache[0], kernel, cached)
                        return original(wrapper, q, kv_cache, *args, **kwargs)

                    return call

                wrap(getattr(module, name), method, make)

    def _launched(self, wrapper, k, kernel: str, cached: bool) -> None:
        lists, indptr = wrapper._paged_kv_indices_buf, wrapper._paged_kv_indptr_buf
        if not self.backends.launches or self.backends.owned(lists) is None:
            return
        backend, layer, batch = self.backends.launches[-1]
        lanes, requests = indptr.numel() - 1, int(batch.batch_size)
        if lanes != requests and not (planned(batch) and lanes % requests == 0):
            return self.backends.left_out(kernel)
        window = None
        if getattr(backend.dispatch_reason, "name", "") == "SLIDING_WINDOW":
            window = window_of(layer.sliding_window_size)
        q_ends = getattr(wrapper, "_qo_indptr_buf", None)
        lens, on_host = self._lens(batch, window, cached)
        self.backends.attention(Read(k, lists, kernel, 1, window, lens, on_host, q_ends=q_ends,
                                     indptr=indptr, ahead=planned(batch), cached=cached))

    @staticmethod
    def _lens(batch, window, cached: bool) -> tuple:
        """Tokens of the rows, and the same on the host; None where a list has all that is read of
        a row, as those of full layers and of a draft's steps have."""
        if window is None or planned(batch):
            return None, None
        if cached:
            return batch.extend_prefix_lens, batch.extend_prefix_lens_cpu
        lens, on_host = batch.seq_lens, batch.seq_lens_cpu
        if batch.forward_mode.is_target_verify():
            drafted = batch.input_ids.shape[0] // batch.batch_size
            # Behind a graph's launch the host's would be taken of today's batch, without drafts.
            known = on_host is not None and not capturing(lens)
            lens, on_host = lens + drafted, on_host + drafted if known else None
        return lens, on_host
