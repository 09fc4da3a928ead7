# SPDX-License-Identifier: Apache-2.0
"""The calls by which SGLang's backends start attention and store kernels.

Each wrapper notes what the kernel is given and then calls it. Window conventions differ: all of
them count tokens to the left of the query, the trace counts the query's own token too.
"""

from __future__ import annotations

import sys

from .devices import capturing
from .importhook import NotHere, wrap
from .sglang_backends import Backends
from .sglang_on_gpu import Read


def window_of(left: int):
    """What a window is in the trace that a kernel counts without the query's own token."""
    return left + 1 if left is not None and left >= 0 else None


def planned(batch) -> int:
    """Where a multi-step draft backend made the lists of all its steps, how many these are: a list
    has all that is read of a lane then, with the tokens that were drafted before."""
    if getattr(batch.spec_info, "kv_indptr", None) is None:
        return 0
    context = sys.modules.get("sglang.srt.runtime_context")  # Earlier releases have none.
    return 0 if context is None else int(context.get_spec().speculative_num_steps)


class Kernels:
    def __init__(self, backends: Backends) -> None:
        self.backends = backends

    # flashinfer.decode: kv_cache = (k, v), k [pages, heads, page_size, dim]
    def flashinfer_decode(self, module) -> None:
        def make(original):
            def call(query, kv_cache, *args, **kwargs):
                self.backends.attention(Read(
                    kv_cache[0], kwargs["block_tables"], "trtllm_batch_decode_with_kv_cache",
                    int(kv_cache[0].shape[2]), window_of(kwargs.get("window_left", -1)),
                    kwargs["seq_lens"], q_len=int(kwargs.get("q_len_per_req") or 1)))
                return original(query, kv_cache, *args, **kwargs)

            return call

        wrap(module, "trtllm_batch_decode_with_kv_cache", make)

    def flashinfer_prefill(self, module) -> None:
        def make(original):
            def call(query, kv_cache, *args, **kwargs):
                self.backends.attention(Read(
                    kv_cache[0], kwargs["block_tables"], "trtllm_batch_context_with_kv_cache",
                    int(kv_cache[0].shape[2]), window_of(kwargs.get("window_left", -1)),
                    kwargs["seq_lens"], q_ends=kwargs["cum_seq_lens_q"]))
                return original(query, kv_cache, *args, **kwargs)

            return call

        wrap(module, "trtllm_batch_context_with_kv_cache", make)

    def flashinfer_fmha_v2(self, module) -> None:
        """trtllm_fmha_v2_prefill((query, K and V), …) of compute capabilities 9.0 and 12.0. It gets
        copies of the pool's K and V, page by page: what is bound is the pool."""
        if not hasattr(module, "trtllm_fmha_v2_prefill"):
            raise NotHere

        def make(original):
            def call(given, *args, **kwargs):
                if self.backends.launches:
                    backend, layer, _ = self.backends.launches[-1]
                    k = backend.token_to_kv_pool.get_key_buffer(layer.layer_id)
                    size = int(given[1].shape[2])
                    self.backends.attention(Read(
                        k.view(-1, size, *k.shape[-2:]), kwargs["block_tables"],
                        "trtllm_fmha_v2_prefill", size, window_of(kwargs.get("window_left", -1)),
                        kwargs["seq_lens"], q_ends=kwargs["cum_seq_lens_q"]))
                return original(given, *args, **kwargs)

            return call

        wrap(module, "trtllm_fmha_v2_prefill", make)

    # aiter: names that aiter_backend imported into its own namespace
    def aiter_unified(self, module) -> None:
        """unified_attention: k [pages, page_size, heads, dim], window (left, right)."""

        def make(original):
            def call(*args, **kwargs):
                self.backends.attention(Read(
                    kwargs["k"], kwargs["block_table"], "unified_attention",
                    int(kwargs["k"].shape[1]), window_of(kwargs["window_size"][0]),
                    kwargs["seqused_k"], q_ends=kwargs["cu_seqlens_q"]))
                return original(*args, **kwargs)

            return call

        wrap(module, "unified_attention", make)

    def aiter_prefill(self, module) -> None:
        """mha_batch_prefill_func(q, k, v, qo_indptr, kv_indptr, kv_indices, …): k [slots, heads,
        dim], one entry a token; the indptrs are cut to the batch's lanes and one more."""

        def make(original):
            def call(q, k, v, qo_indptr, kv_indptr, kv_indices, *args, **kwargs):
                self.backends.attention(Read(
                    k, kv_indices, "mha_batch_prefill_func", 1, window_of(kwargs["window_size"][0]),
                    q_ends=qo_indptr, indptr=kv_indptr))
                return original(q, k, v, qo_indptr, kv_indptr, kv_indices, *args, **kwargs)

            return call

        wrap(module, "mha_batch_prefill_func", make)

    def aiter_ragged(self, module) -> None:
        """paged_attention_ragged(out, workspace, q, k, v, scale, kv_indptr, kv_indices, …): k
        [slots, 1, heads, dim]. It takes no window."""

        def make(original):
            def call(out, workspace, q, k, v, scale, kv_indptr, kv_indices, *args, **kwargs):
                self.backends.attention(Read(k, kv_indices, "paged_attention_ragged", 1,
                                             indptr=kv_indptr))
                return original(out, workspace, q, k, v, scale, kv_indptr, kv_indices, *args,
                                **kwargs)

            return call

        wrap(module, "paged_attention_ragged", make)

    def aiter_store(self, module) -> None:
        """launch_reshape_and_cache_flash(k, v, k_cache, v_cache, slot_mapping, swa_mapping):
        the kernel itself translates where it is given the map."""

        def make(original):
            def call(key, value, k_cache, v_cache, slot_mapping, swa_mapping=None, **kwargs):
                slots = slot_mapping
                if swa_mapping is not None and not capturing(slots):
                    slots = self.backends.reads.once(slot_mapping, ("swa", id(swa_mapping)),
                                                     lambda: swa_mapping[slot_mapping])
                self.backends.store(k_cache, slots, swa_mapping is not None)
                return original(key, value, k_cache, v_cache, slot_mapping, swa_mapping, **kwargs)

            return call

        wrap(module, "launch_reshape_and_cache_flash", make)

    # ops/attention/decode_attention.py: k [slots, heads, dim], one entry a token, CSR
    def triton_decode(self, module) -> None:
        """It takes no window: a sliding layer's indices are of the window's tokens."""

        def make(original):
            def call(q, k_buffer, v_buffer, o, kv_indptr, kv_indices, *args, **kwargs):
                if self.backends.launches:
                    backend, layer, batch = self.backends.launches[-1]
                    sliding = window_of(layer.sliding_window_size) is not None
                    steps = planned(batch)
                    lens = (None, None) if steps else (batch.seq_lens, batch.seq_lens_cpu)
                    self.backends.attention(Read(
                        k_buffer, kv_indices, "decode_attention_fwd", 1,
                        backend.sliding_window_size if sliding else None, *lens, indptr=kv_indptr,
                        ahead=steps))
                return original(q, k_buffer, v_buffer, o, kv_indptr, kv_indices, *args, **kwargs)

            return call

        wrap(module, "decode_attention_fwd", make)

    # ops/attention/extend_attention.py
    def triton_extend(self, module) -> None:
        """The new tokens are in k and v; of what the pool holds before them a sliding layer is
        given the last `sliding_window_size` tokens."""

        def make(original):
            def call(q, k, v, o, k_buffer, v_buffer, qo_indptr, kv_indptr, kv_indices, *args,
                     **kwargs):
                if self.backends.launches:
                    _, layer, batch = self.backends.launches[-1]
                    verify = batch.forward_mode.is_target_verify()
                    lens = (batch.seq_lens, batch.seq_lens_cpu) if verify else (
                        batch.extend_prefix_lens, batch.extend_prefix_lens_cpu)
                    self.backends.attention(Read(
                        k_buffer, kv_indices, "extend_attention_fwd", 1,
                        window_of(layer.sliding_window_size), *lens, q_ends=qo_indptr,
                        indptr=kv_indptr, cached=True))
                return original(q, k, v, o, k_buffer, v_buffer, qo_indptr, kv_indptr, kv_indices,
                                *args, **kwargs)

            return call

        wrap(module, "extend_attention_fwd", make)

    # pools: SWAKVPool.set_kv_buffer calls MHATokenToKVPool.set_kv_buffer of a pool of its own
    def set_store(self, module) -> None:
        def make(original):
            def set_kv_buffer(pool, layer, loc_info, *args, **kwargs):
                self.backends.store_space.append(
                    (pool.swa_kv_pool, getattr(loc_info, "swa_loc", None)))
                try:
                    return original(pool, layer, loc_info, *args, **kwargs)
                finally:
                    self.backends.store_space.pop()

            return set_kv_buffer

        wrap(module.SWAKVPool, "set_kv_buffer", make)

    def pool_store(self, module) -> None:
        def make(original):
            def set_kv_buffer(pool, layer, loc_info, *args, **kwargs):
                slots = getattr(loc_info, "loc", loc_info)
                index = kwargs.get("layer_id_override")
                if index is None:
                    index = layer.layer_id - (pool.start_layer or 0)
                # SWAKVPool hands its SWA pool translated slots and its full pool the plain ones.
                translated = bool(self.backends.store_space) and \
                    self.backends.store_space[-1][0] is pool
                self.backends.store(pool.k_buffer[index], slots, translated)
                return original(pool, layer, loc_info, *args, **kwargs)

            return set_kv_buffer

        wrap(module.MHATokenToKVPool, "set_kv_buffer", make)

    # models/utils.py: the kernel of a layer's rotary embedding stores K and V, too
    def fused_store(self, module) -> None:
        """Here it is learnt to which tensor; the store is told with the layer's attention, where
        that saves nothing itself: the model's code does not run where a graph's segments do. ROCm's
        kernel, whose argument is a dictionary, is not told."""

        def make(original):
            def argument(value, layer, *args, **kwargs):
                made = original(value, layer, *args, **kwargs)
                if hasattr(made, "k_buffer"):
                    # As one head of all heads' elements.
                    self.backends.fused[id(layer)] = made.k_buffer.unsqueeze(1)
                return made

            return argument

        wrap(module, "create_fused_set_kv_buffer_arg", make)
