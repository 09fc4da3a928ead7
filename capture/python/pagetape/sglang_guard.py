# SPDX-License-Identifier: Apache-2.0
"""The guard before SGLang's attention kernels: which of their arguments is the table, and what it
is read for. Each stands within the recorder's own wrapper of the kernel, so that what is recorded
is the engine's table and what the kernel gets is the copy.

Windows count as in sglang_kernels.py. Of kernels that read a row's last entries for several new
tokens the longest row's number is taken: of the others some columns more are looked at.
"""

from __future__ import annotations

from typing import Optional

from .guarding import LaunchGuard, Read
from .importhook import NotHere, PostImportHooks, after, wrap
from .sglang_on_gpu import lanes_each

MARK = "_pagetape_guard"
WRAPPERS = ("BatchDecodeWithPagedKVCacheWrapper", "BatchPrefillWithPagedKVCacheWrapper")


def _window(left) -> int:
    return int(left) + 1 if left is not None and left >= 0 else 0


class SglangGuard(LaunchGuard):
    def __init__(self, backends) -> None:
        super().__init__(backends.recorder, self._request)
        self._backends = backends

    def _request(self, batch, row: int) -> Optional[str]:
        rows = getattr(batch, "req_pool_indices", None)
        if rows is None or row >= rows.numel():
            return None
        return self._backends.pools.request_of(int(rows[row]))

    def given_in(self, table, **read):
        """Within a layer's forward call, whose the kernel is."""
        if not self._backends.launches:
            return table
        call = self._backends.launches[-1]
        lanes = read["lens"].numel() if read.get("starts") is None else read["starts"].numel() - 1
        return self.given(table, Read(layer=int(call.layer.layer_id), batch=call.batch,
                                      each=lanes_each(call.batch, lanes), **read))

    # --- kernels

    def _trtllm(self, module, kernel: str, q_len) -> None:
        def make(original):
            def call(query, kv_cache, *args, **kwargs):
                pages, _, page_size, _ = kv_cache[0].shape
                kwargs["block_tables"] = self.given_in(
                    kwargs["block_tables"], bound=pages, page_size=page_size,
                    window=_window(kwargs.get("window_left")), lens=kwargs["seq_lens"],
                    q_len=int(q_len(kwargs)))
                return original(query, kv_cache, *args, **kwargs)

            return call

        wrap(module, kernel, make, MARK)

    def flashinfer_decode(self, module) -> None:
        self._trtllm(module, "trtllm_batch_decode_with_kv_cache", lambda given: given.get(
            "q_len_per_req") or given.get("max_q_len") or 1)

    def flashinfer_prefill(self, module) -> None:
        self._trtllm(module, "trtllm_batch_context_with_kv_cache",
                     lambda given: given["max_q_len"])

    def triton_decode(self, module) -> None:
        def make(original):
            def call(q, k_buffer, v_buffer, o, kv_indptr, kv_indices, *args, **kwargs):
                given = self.given_in(kv_indices, bound=int(k_buffer.shape[0]), starts=kv_indptr)
                return original(q, k_buffer, v_buffer, o, kv_indptr, given, *args, **kwargs)

            return call

        wrap(module, "decode_attention_fwd", make, MARK)

    def triton_extend(self, module) -> None:
        def make(original):
            def call(q, k, v, o, k_buffer, v_buffer, qo_indptr, kv_indptr, kv_indices, *args,
                     **kwargs):
                given = self.given_in(kv_indices, bound=int(k_buffer.shape[0]), starts=kv_indptr)
                return original(q, k, v, o, k_buffer, v_buffer, qo_indptr, kv_indptr, given,
                                *args, **kwargs)

            return call

        wrap(module, "extend_attention_fwd", make, MARK)

    def aiter_unified(self, module) -> None:
        def make(original):
            def call(*args, **kwargs):
                pages, page_size = kwargs["k"].shape[:2]
                kwargs["block_table"] = self.given_in(
                    kwargs["block_table"], bound=pages, page_size=page_size,
                    window=_window(kwargs["window_size"][0]), lens=kwargs["seqused_k"],
                    q_len=int(kwargs["max_seqlen_q"]))
                return original(*args, **kwargs)

            return call

        wrap(module, "unified_attention", make, MARK)

    def aiter_lists(self, module) -> None:
        """mha_batch_prefill_func(q, k, v, qo_indptr, kv_indptr, kv_indices, …) and
        paged_attention_ragged(out, workspace, q, k, v, scale, kv_indptr, kv_indices, …)."""

        def make_prefill(original):
            def call(q, k, v, qo_indptr, kv_indptr, kv_indices, *args, **kwargs):
                given = self.given_in(kv_indices, bound=int(k.shape[0]), starts=kv_indptr)
                return original(q, k, v, qo_indptr, kv_indptr, given, *args, **kwargs)

            return call

        def make_ragged(original):
            def call(out, workspace, q, k, v, scale, kv_indptr, kv_indices, *args, **kwargs):
                given = self.given_in(kv_indices, bound=int(k.shape[0]), starts=kv_indptr)
                return original(out, workspace, q, k, v, scale, kv_indptr, given, *args, **kwargs)

            return call

        wrap(module, "mha_batch_prefill_func", make_prefill, MARK)
        wrap(module, "paged_attention_ragged", make_ragged, MARK)

    def flash_attention(self, module) -> None:
        """fa3: flash_attn_with_kvcache(q, k_cache [pages, page_size, heads, dim], …, page_table,
        cache_seqlens) as the backend's module has it."""

        def make(original):
            def call(*args, **kwargs):
                table = kwargs.get("page_table")
                if table is not None and "k_cache" in kwargs:
                    pages, page_size = kwargs["k_cache"].shape[:2]
                    kwargs["page_table"] = self.given_in(
                        table, bound=pages, page_size=page_size, lens=kwargs["cache_seqlens"],
                        window=_window(kwargs.get("window_size", (-1, -1))[0]),
                        q_len=int(kwargs.get("max_seqlen_q") or 1))
                return original(*args, **kwargs)

            return call

        wrap(module, "flash_attn_with_kvcache", make, MARK)

    def flashinfer_wrappers(self, module) -> None:
        """forward(q, (k, v), …) and forward_return_lse: their lists are what was planned into the
        wrapper, entries are pages of its view."""
        if not hasattr(module, WRAPPERS[0]):
            raise NotHere

        def make(original):
            def call(wrapper, q, kv_cache, *args, **kwargs):
                lists = wrapper._paged_kv_indices_buf
                wrapper._paged_kv_indices_buf = self.given_in(
                    lists, bound=int(kv_cache[0].shape[0]), starts=wrapper._paged_kv_indptr_buf)
                try:
                    return original(wrapper, q, kv_cache, *args, **kwargs)
                finally:
                    wrapper._paged_kv_indices_buf = lists

            return call

        for name in WRAPPERS:
            for method in ("forward", "forward_return_lse"):
                if hasattr(getattr(module, name), method):
                    wrap(getattr(module, name), method, make, MARK)

    # --- steps

    def runner(self, module) -> None:
        """A forward pass begins, which may replay a graph."""

        def make(original):
            def forward(runner, forward_batch, *args, **kwargs):
                self.batch = forward_batch
                result = original(runner, forward_batch, *args, **kwargs)
                self.report()
                return result

            return forward

        wrap(module.ModelRunner, "forward", make, MARK)

    def graphs(self, module) -> None:
        """A draft's graphs are launched in no forward pass."""

        def make(original):
            def replay(graphs, shape_key, static_forward_batch, **kwargs):
                self.batch = static_forward_batch
                result = original(graphs, shape_key, static_forward_batch, **kwargs)
                self.report()
                return result

            return replay

        wrap(module.FullCudaGraphBackend, "replay", make, MARK)

    def scheduler(self, module) -> None:
        """A batch's results are on the host, and with them its checks."""
        after(module.Scheduler, "process_batch_result", lambda *_args, **_kwargs: self.report(),
              MARK)


def install(hooks: PostImportHooks, backends) -> SglangGuard:
    """Before the recorder's hooks of the same kernels."""
    guard = SglangGuard(backends)
    if guard.mode is None:
        return guard
    attention, ops = "sglang.srt.layers.attention.", "sglang.kernels.ops.attention."
    for module, hook in (
            ("flashinfer.decode", guard.flashinfer_decode),
            ("flashinfer.prefill", guard.flashinfer_prefill),
            (ops + "decode_attention", guard.triton_decode),
            (ops + "extend_attention", guard.triton_extend),
            (attention + "aiter_backend", guard.aiter_unified),
            (attention + "aiter_backend", guard.aiter_lists),
            (attention + "flashattention_backend", guard.flash_attention),
            (attention + "flashinfer_backend", guard.flashinfer_wrappers),
            ("sglang.srt.model_executor.model_runner", guard.runner),
            ("sglang.srt.model_executor.runner_backend.full_cuda_graph_backend", guard.graphs),
            ("sglang.srt.managers.scheduler", guard.scheduler)):
        hooks.on(module, hook)
    return guard
