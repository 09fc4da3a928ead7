# SPDX-License-Identifier: Apache-2.0
"""Drives SGLang's own frozen-KV MTP path, small enough to record: on a CPU, and with
$PAGETAPE_ON_GPU on a GPU.

Of the installed release and real: SWAKVPool, MHATokenToKVPool, SWATokenToKVPoolAllocator and the
paged allocators, ReqToTokenPool, ReqKvInfo, ForwardBatch, SWAChunkCache, RadixAttention,
ScheduleBatch.maybe_evict_swa, FrozenKVMTPContext, frozen_kv_target_view, target_kv_pool_view,
Gemma4AssistantForCausalLM.bind_frozen_kv_context and the backend that $PAGETAPE_BACKEND names
(construction, metadata, forward). On a CPU Triton kernels run in Triton's interpreter, those that
build tables and those of TritonAttnBackend's attention. Stand-ins: the attention kernels of the
others (standins.py), the model runner, the requests, the sampler and the models' other layers.

AiterAttnBackend is the one where none is named, since no published release has the defect in
TRTLLMHAAttnBackend: 0.5.12 asks the allocator, 0.5.13 has the final rule, what stood on the main
branch between was not released. SGLANG_USE_AITER_UNIFIED_ATTN keeps a draft that believes to have
no SWA pool on the paged kernel. $PAGETAPE_PLANT plants a fault: `stale`, which is that defect in
TRTLLMHAAttnBackend, `row` or `outside`.

The fixture keeps the geometry that matters: pages of 64, a window of 128, five sliding-window
layers to one full layer, 7 usable SWA pages (a buffer of 8) against 20 full pages.
"""

from __future__ import annotations

import importlib
import os
from contextlib import nullcontext
from types import SimpleNamespace

DEVICE = "cuda" if os.environ.get("PAGETAPE_ON_GPU") else "cpu"
os.environ.setdefault("TRITON_INTERPRET", "1" if DEVICE == "cpu" else "0")
os.environ.setdefault("SGLANG_USE_AITER_UNIFIED_ATTN", "1")
os.environ.setdefault("SGLANG_DISABLE_LEAN_ATTENTION", "1")  # It asks CUDA for its cores.
# Evict as soon as one page has left the window: the fixture is short.
os.environ.setdefault("SGLANG_SWA_EVICTION_INTERVAL", "1")

import standins  # noqa: E402
import torch  # noqa: E402

if os.environ["TRITON_INTERPRET"] == "1":
    standins.quicken_triton()

PAGE = 64
SWA_TOKENS, FULL_TOKENS = 7 * PAGE, 20 * PAGE
WINDOW = 128
CONTEXT, ROWS = 512, 4
SWA_LAYERS, FULL_LAYERS = [0, 1, 2, 3, 4], [5]
ASSISTANT_TO_TARGET = {0: 4, 1: 4, 2: 4, 3: 5}  # as Gemma-4: its SWA layers read one target layer
Q_HEADS, KV_HEADS, HEAD_DIM = 2, 1, 16
DRAFT_STEPS, DRAFT_TOKENS = 3, 4
OUTSIDE = 1 << 24
# Drafts accepted (of 3) in each verify step, over and over.
ACCEPTED = [3, 3, 1, 3, 2, 0, 3, 3]


def publish_config(**others):
    """The release's own context, with the arguments that the backends read from it."""
    from sglang.srt.runtime_context import get_context, get_parallel

    context = get_context()
    context.override_server_args(
        **{**dict(model_path="dummy", device=DEVICE, page_size=PAGE,
                  speculative_num_steps=DRAFT_STEPS, speculative_eagle_topk=1,
                  speculative_num_draft_tokens=DRAFT_TOKENS), **others}).install()
    parallel = get_parallel().override(
        attn_tp_size=1, attn_dcp_size=1, attn_cp_size=1, tp_size=1, tp_rank=0, attn_tp_rank=0,
        moe_ep_size=1)
    parallel.__enter__()
    return context, parallel


def there(tensor):
    """Where the engine has it, without waiting for what is done there."""
    return tensor if DEVICE == "cpu" else tensor.pin_memory().to(DEVICE, non_blocking=True)


class Engine:
    """The scheduler's and the workers' part, in the order of frozen_kv_mtp_worker.py."""
    request_class = SimpleNamespace

    def __init__(self, backend_class, recording, with_draft: bool = True) -> None:
        from sglang.srt.mem_cache.memory_pool import MHATokenToKVPool, ReqToTokenPool

        self.recording = recording
        shape = dict(dtype=torch.bfloat16, head_num=KV_HEADS, head_dim=HEAD_DIM, device=DEVICE)
        self.rows = ReqToTokenPool(size=ROWS, max_context_len=CONTEXT, device=DEVICE,
                                   enable_memory_saver=False)
        self.kv, self.allocator, self.cache = self.pools(shape)
        # The draft owns no K/V: the worker gives it a dummy pool of one page.
        draft_kv = MHATokenToKVPool(size=PAGE, page_size=PAGE, layer_num=4,
                                    enable_memory_saver=False, **shape) if with_draft else None
        self.target = backend_class(self._runner(self.kv, draft=False))
        self.draft = backend_class(self._runner(draft_kv, draft=True)) if with_draft else None
        self.target_layers = [self._layer(i, i in SWA_LAYERS)
                              for i in sorted(SWA_LAYERS + FULL_LAYERS)]
        if with_draft:
            self.assistant_layers = [self._layer(i, i < 3) for i in range(4)]
            self.context = self._bind_assistant()
        self.running = []
        self.steps = 0
        self.outcomes = 0

    def pools(self, shape):
        """K and V, their allocator and the cache before them."""
        from sglang.srt.mem_cache.allocator.swa import SWATokenToKVPoolAllocator
        from sglang.srt.mem_cache.chunk_cache import SWAChunkCache
        from sglang.srt.mem_cache.swa_memory_pool import SWAKVPool

        kv = SWAKVPool(size=FULL_TOKENS, size_swa=SWA_TOKENS, page_size=PAGE,
                       swa_attention_layer_ids=SWA_LAYERS, full_attention_layer_ids=FULL_LAYERS,
                       **shape)
        allocator = SWATokenToKVPoolAllocator(
            FULL_TOKENS, SWA_TOKENS, PAGE, torch.bfloat16, DEVICE, kv, need_sort=False)
        return kv, allocator, SWAChunkCache(SimpleNamespace(
            req_to_token_pool=self.rows, token_to_kv_pool_allocator=allocator,
            page_size=PAGE, sliding_window_size=WINDOW, chunked_prefill_size=-1))

    def _runner(self, pool, draft: bool):
        from sglang.srt.configs.model_config import AttentionArch
        from transformers import PretrainedConfig
        from sglang.srt.speculative.spec_info import SpeculativeAlgorithm

        config = SimpleNamespace(
            dtype=torch.bfloat16, is_multimodal=False, num_attention_heads=Q_HEADS,
            head_dim=HEAD_DIM, v_head_dim=HEAD_DIM, hidden_size=Q_HEADS * HEAD_DIM,
            context_len=CONTEXT, attention_arch=AttentionArch.MHA, is_encoder_decoder=False,
            get_num_kv_heads=lambda *a: KV_HEADS, hf_config=PretrainedConfig(architectures=[]),
            get_max_num_attention_heads=lambda: Q_HEADS, swa_v_head_dim=HEAD_DIM,
            linear_attn_registry_result=None, is_local_attention_model=False,
            hf_text_config=SimpleNamespace(num_attention_heads=Q_HEADS))
        runner = SimpleNamespace(
            model_config=config, device=DEVICE, dtype=torch.bfloat16,
            kv_cache_dtype=torch.bfloat16, kv_cache_dtype_str="auto", page_size=PAGE,
            ps=SimpleNamespace(attn_cp_size=1, tp_size=1), sliding_window_size=WINDOW,
            req_to_token_pool=self.rows, token_to_kv_pool=pool,
            token_to_kv_pool_allocator=self.allocator, is_draft_worker=draft,
            spec_algorithm=SpeculativeAlgorithm.FROZEN_KV_MTP, max_running_requests=ROWS,
            prefill_attention_backend_str="aiter", decode_attention_backend_str="aiter",
            gpu_id=0, server_args=SimpleNamespace(dllm_algorithm=None, enable_mis=False),
            model=SimpleNamespace(modules=lambda: []))
        runner.kv_index_translator = _translator(runner)
        return runner

    @staticmethod
    def _layer(layer: int, swa: bool):
        from sglang.srt.layers.radix_attention import RadixAttention

        return RadixAttention(Q_HEADS, HEAD_DIM, 1.0, KV_HEADS, layer,
                              sliding_window_size=WINDOW if swa else -1)

    def _bind_assistant(self):
        from sglang.srt.models.gemma4_mtp import Gemma4AssistantForCausalLM
        from sglang.srt.speculative.frozen_kv_mtp_info import FrozenKVMTPContext

        context = FrozenKVMTPContext(self.kv, ASSISTANT_TO_TARGET)
        model = SimpleNamespace(layers=[
            SimpleNamespace(self_attn=SimpleNamespace(attn=layer))
            for layer in self.assistant_layers])
        Gemma4AssistantForCausalLM.bind_frozen_kv_context(SimpleNamespace(model=model), context)
        return context

    # --- scheduler

    def step(self, mode: str, requests) -> None:
        self.steps += 1
        if self.recording is not None:
            self.recording.step(self.steps, mode, len(requests))

    def allocate(self, requests, ends) -> None:
        """Slots up to `ends`, written into the rows (alloc_for_extend in mem_cache/common.py)."""
        prefix = torch.tensor([r.kv.kv_allocated_len for r in requests])
        ends = torch.tensor(ends)
        last = torch.stack([
            self.rows.req_to_token[r.kv.req_pool_idx, n - 1].to(torch.int64) if n
            else torch.full((), -1, device=DEVICE) for r, n in zip(requests, prefix.tolist())])
        total = int((ends - prefix).sum())
        slots = self.allocator.alloc_extend(there(prefix), prefix, there(ends), ends, last, total)
        assert slots is not None, "the fixture is out of pages"
        at = 0
        for request, begin, end in zip(requests, prefix.tolist(), ends.tolist()):
            self.rows.write((request.kv.req_pool_idx, slice(begin, end)),
                            slots[at:at + end - begin].to(torch.int32))
            request.kv.kv_allocated_len = end
            at += end - begin

    @staticmethod
    def batch(requests, mode, lens, new: int, out):
        from sglang.srt.model_executor.forward_batch_info import ForwardBatch

        lens = torch.tensor(lens)
        rows = there(torch.tensor([r.kv.req_pool_idx for r in requests]))
        return ForwardBatch(
            forward_mode=mode, batch_size=len(requests),
            input_ids=torch.zeros(new, dtype=torch.int64, device=DEVICE), req_pool_indices=rows,
            seq_lens=there(lens), seq_lens_cpu=lens, seq_lens_sum=int(lens.sum()),
            out_cache_loc=out, rids=[r.rid for r in requests])

    def slots(self, requests, begins, ends):
        return torch.cat([
            self.rows.req_to_token[r.kv.req_pool_idx, b:e].to(torch.int64)
            for r, b, e in zip(requests, begins, ends)])

    def prefill(self, prompts) -> None:
        from sglang.srt.managers.schedule_batch import ReqKvInfo

        requests = [self.request_class(
            rid=rid, kv=ReqKvInfo(), seqlen=n, decode_batch_idx=0, extend_batch_idx=0,
            swa_prefix_lock_released=False, swa_uuid_for_lock=None, last_node=None)
            for rid, n in prompts]
        self.rows.alloc(requests)
        self.extend(requests)
        self.running += requests
        self.seed(requests)

    def extend(self, requests) -> None:
        """What is allocated of them is their prefix."""
        from sglang.srt.model_executor.forward_batch_info import ForwardMode

        begins = [r.kv.kv_allocated_len for r in requests]
        ends = [r.seqlen for r in requests]
        new = [end - begin for begin, end in zip(begins, ends)]
        self.step("extend", requests)
        self.allocate(requests, ends)
        batch = self.batch(requests, ForwardMode.EXTEND, ends, sum(new),
                           self.slots(requests, begins, ends))
        batch.extend_prefix_lens = there(torch.tensor(begins))
        batch.extend_prefix_lens_cpu = begins
        batch.extend_seq_lens = there(torch.tensor(new))
        batch.extend_seq_lens_cpu = new
        batch.extend_num_tokens = sum(new)
        self.forward_target(batch, sum(new))

    def forward_target(self, batch, tokens: int) -> None:
        self.target.init_forward_metadata(batch)
        for layer in self.target_layers:
            q, k, v = self.qkv(tokens)
            self.target.forward_extend(q, k, v, layer, batch)

    @staticmethod
    def qkv(tokens: int):
        q = torch.zeros(tokens, Q_HEADS * HEAD_DIM, dtype=torch.bfloat16, device=DEVICE)
        k = torch.zeros(tokens, KV_HEADS, HEAD_DIM, dtype=torch.bfloat16, device=DEVICE)
        return q, k, k.clone()

    # --- draft worker

    def seed(self, requests) -> None:
        """_run_assistant_seed_step: one eager forward after extend and after verify."""
        if self.draft is not None:
            self.draft_forwards(requests, 1)

    def draft_forwards(self, requests, count: int) -> None:
        from sglang.srt.model_executor.forward_batch_info import ForwardMode
        from sglang.srt.speculative.frozen_kv_mtp_utils import (
            frozen_kv_target_view, set_frozen_kv_positions, target_kv_pool_view)

        batch = self.batch(requests, ForwardMode.DECODE, [r.seqlen for r in requests],
                           len(requests), None)
        batch.spec_info = SimpleNamespace(is_draft_input=lambda: True)
        set_frozen_kv_positions(batch, 1)
        with frozen_kv_target_view(batch, self.context, self.draft):
            self.draft.init_forward_metadata(batch)
        for _ in range(count):
            with target_kv_pool_view(batch, self.context, self.draft):
                for layer in self.assistant_layers:
                    q = self.qkv(len(requests))[0]
                    self.draft.forward_decode(q, None, None, layer, batch, save_kv_cache=False)

    # --- one decode iteration: evict, draft, verify, accept, seed

    @staticmethod
    def verify_input(_batch):
        return SimpleNamespace(draft_token_num=DRAFT_TOKENS, custom_mask=None,
                               ragged_verify_layout=None, is_draft_input=lambda: False)

    def evict(self, requests) -> None:
        from sglang.srt.managers.schedule_batch import ScheduleBatch
        from sglang.srt.model_executor.forward_batch_info import ForwardMode

        scheduled = SimpleNamespace(
            tree_cache=self.cache, token_to_kv_pool_allocator=self.allocator,
            req_to_token_pool=self.rows, reqs=requests, forward_mode=ForwardMode.DECODE,
            enable_overlap=False)
        scheduled._evict_swa = lambda req, n: ScheduleBatch._evict_swa(scheduled, req, n)
        ScheduleBatch.maybe_evict_swa(scheduled)
        for request in requests:
            request.decode_batch_idx += 1

    def decode(self) -> None:
        from sglang.srt.model_executor.forward_batch_info import ForwardMode

        requests = list(self.running)
        self.step("decode", requests)
        self.evict(requests)
        if self.draft is not None:
            self.draft_forwards(requests, DRAFT_STEPS - 1)
        begins = [r.seqlen for r in requests]
        ends = [n + DRAFT_TOKENS for n in begins]
        self.allocate(requests, ends)
        batch = self.batch(requests, ForwardMode.TARGET_VERIFY, begins,
                           DRAFT_TOKENS * len(requests), self.slots(requests, begins, ends))
        batch.spec_info = self.verify_input(batch)
        self.forward_target(batch, DRAFT_TOKENS * len(requests))
        for request in requests:
            self.accept(request)
        self.seed(requests)

    def accept(self, request) -> None:
        """The sampled outcome is the drive's: accepted drafts and the token before them stay. Of
        the rejected slots whole pages go back, as the worker does where pages are larger than 1."""
        accepted = ACCEPTED[self.outcomes % len(ACCEPTED)]
        self.outcomes += 1
        end = request.kv.kv_allocated_len
        request.seqlen += accepted + 1
        if self.recording is not None:
            self.recording.accepted(request.rid, DRAFT_TOKENS - 1, accepted, request.seqlen)
        kept = -(-request.seqlen // PAGE) * PAGE
        if kept < end:
            self.allocator.free(self.slots([request], [kept], [end]))
        request.kv.kv_allocated_len = request.seqlen

    def finish(self, rid: str) -> None:
        """Releases a request as the chunk cache does: SWA pages that were evicted are unmapped
        already, so free() returns each page once."""
        request = next(r for r in self.running if r.rid == rid)
        self.running.remove(request)
        self.allocator.free(self.slots([request], [0], [request.seqlen]))
        self.rows.free(request)


def _translator(runner):
    """As ModelRunner.init_kv_index_translator builds it, where the release has one."""
    try:
        from sglang.srt.mem_cache.kv_index_translator import KVIndexTranslator
    except ImportError:
        return None
    return KVIndexTranslator(
        req_to_token=runner.req_to_token_pool.req_to_token,
        token_to_kv_pool_allocator=runner.token_to_kv_pool_allocator,
        token_to_kv_pool=runner.token_to_kv_pool, page_size=PAGE, device=DEVICE)


def run(engine: Engine, waits=None) -> None:
    """A's second window page is recycled while A and B go on: at first every full page maps to
    the SWA page of the same number, then one does not, then a number beyond the SWA pool is in
    a table."""
    engine.prefill([("A", 250), ("B", 112)])
    engine.decode()
    with waits or nullcontext():
        for _ in range(6):
            engine.decode()
    engine.finish("A")
    engine.prefill([("C", 100)])
    for _ in range(3):
        engine.decode()
    engine.finish("B")
    engine.finish("C")


# --- faults, planted from outside


def plant_stale(engine: Engine) -> None:
    """What the draft's trtllm_mha backend cached before releases asked the allocator: that its own
    pool, the dummy, has no sliding-window part."""
    engine.draft._swa_kv_pool = None
    engine.draft.use_sliding_window_kv_pool = False


def plant_row(engine: Engine) -> None:
    """The second verify step's tables are built while A's row names B's first page."""
    original, calls = engine.target.init_forward_metadata, [0]

    def init_forward_metadata(batch):
        calls[0] += batch.forward_mode.is_target_verify()
        if calls[0] != 2 or not batch.forward_mode.is_target_verify():
            return original(batch)
        rows = engine.rows.req_to_token
        mine, other = (request.kv.req_pool_idx for request in engine.running[:2])
        kept = rows[mine, :PAGE].clone()
        rows[mine, :PAGE] = rows[other, :PAGE]
        original(batch)
        rows[mine, :PAGE] = kept

    engine.target.init_forward_metadata = init_forward_metadata


def put_outside(data) -> None:
    table = data.page_table if hasattr(data, "page_table") else data.kv_indices
    table[(0,) * (table.dim() - 1) + (1,)] = OUTSIDE


def plant_outside(engine: Engine, put=put_outside) -> None:
    """The second verify step's table, once built, holds an id far beyond the full layer's pool."""
    original, calls = engine.target.init_forward_metadata, [0]

    def init_forward_metadata(batch):
        original(batch)
        calls[0] += batch.forward_mode.is_target_verify()
        if calls[0] == 2 and batch.forward_mode.is_target_verify():
            put(engine.target.forward_metadata)

    engine.target.init_forward_metadata = init_forward_metadata


PLANTS = {"stale": plant_stale, "row": plant_row, "outside": plant_outside}
BACKENDS = {"aiter": "aiter_backend.AiterAttnBackend",
            "triton": "triton_backend.TritonAttnBackend",
            "trtllm_mha": "trtllm_mha_backend.TRTLLMHAAttnBackend",
            "fa3": "flashattention_backend.FlashAttentionBackend",
            "flashinfer": "flashinfer_backend.FlashInferAttnBackend"}


def backend_class(**others):
    """The one that $PAGETAPE_BACKEND names, what it imports and does not find stood in for; and
    what is to be kept while it is used."""
    kind = os.environ.get("PAGETAPE_BACKEND") or "aiter"
    if kind == "aiter":
        standins.install_aiter()
    if DEVICE != "cpu":
        standins.install_absent("sgl_kernel", "deep_gemm")
        if kind not in ("trtllm_mha", "flashinfer"):
            standins.install_absent("flashinfer")
    held = publish_config(**others)  # dropped, it would withdraw what it set
    if kind == "fa3":
        standins.install_flash_attention()
    if kind in ("trtllm_mha", "flashinfer"):
        if DEVICE == "cpu":
            import sglang.srt.models.gemma4_mtp  # noqa: F401  What is there finds no FlashInfer.

        standins.install_flashinfer()
    module, name = BACKENDS[kind].split(".")
    return getattr(importlib.import_module("sglang.srt.layers.attention." + module), name), held


def main() -> None:
    import pagetape

    cls, held = backend_class()
    session = pagetape.active()
    engine = Engine(cls, session.sglang if session else None)
    if os.environ.get("PAGETAPE_PLANT"):
        PLANTS[os.environ["PAGETAPE_PLANT"]](engine)
    waits = None
    if DEVICE != "cpu":
        from waits import Waits

        waits = Waits()
    run(engine, waits)
    if waits is not None:
        print(waits)
    del held


if __name__ == "__main__":
    main()
