# SPDX-License-Identifier: Apache-2.0
"""Drives SGLang's EAGLE on a CPU: a draft of several steps in a pool of its own, a tree of drafts
where $PAGETAPE_TOPK is above 1 (1 where nothing is said), verification, and the draft's extend.

Of the installed release and real: EagleDraftWorker (draft, draft_forward, both draft extends), the
multi-step backend that DraftBackendFactory would take for $PAGETAPE_BACKEND (triton where none is
named, fa3, flashinfer, trtllm_mha), generate_draft_decode_kv_indices and the other Triton kernels
in Triton's interpreter, prepare_for_draft with its copies for a tree's branches,
eagle_prepare_for_decode, eagle_prepare_for_verify, the tree's masks (by the Triton kernel of
build_tree_kernel_efficient), the move of what was accepted, ScheduleBatch, ForwardBatch.init_new,
RadixAttention. Stand-ins: as in sglang_frozen_kv_mtp.py, and the models and what they accept.

$PAGETAPE_PAGE is the page size, 64 or 1. $PAGETAPE_TARGET=full is a target without sliding layers,
$PAGETAPE_DRAFT=swa a draft with one.
With $PAGETAPE_GRAPH the target's DecodeCudaGraphRunner, EAGLEDraftCudaGraphRunner and (but for fa3,
of which a server captures none) EAGLEDraftExtendCudaGraphRunner capture and launch graphs
(sglang_graphs_on_cpu.py) for three requests, of which two are there. $PAGETAPE_PLANT is `row`,
`outside` or, in graphs, `padding`.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from types import SimpleNamespace

os.environ["PAGETAPE_BACKEND"] = os.environ.get("PAGETAPE_BACKEND") or "triton"
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import sglang_graphs_on_cpu  # noqa: E402
import sglang_frozen_kv_mtp as mtp  # noqa: E402
import standins  # noqa: E402
import torch  # noqa: E402

BACKEND = os.environ["PAGETAPE_BACKEND"]
TOPK = int(os.environ.get("PAGETAPE_TOPK") or 1)
PAGE = int(os.environ.get("PAGETAPE_PAGE") or 64)
GRAPH = bool(os.environ.get("PAGETAPE_GRAPH"))
HYBRID_TARGET = os.environ.get("PAGETAPE_TARGET") != "full"
HYBRID_DRAFT = os.environ.get("PAGETAPE_DRAFT") == "swa"
STEPS = 4
TOKENS = STEPS + 1 if TOPK == 1 else 8
VOCAB, HIDDEN = 64, 32
mtp.PAGE, mtp.DRAFT_STEPS, mtp.DRAFT_TOKENS = PAGE, STEPS, TOKENS
# A tree's branches have pages of their own, of which twice as many are taken as a step needs.
mtp.CONTEXT = 1024 if TOPK == 1 else 2048
mtp.FULL_TOKENS, mtp.SWA_TOKENS = (26 * 64, 20 * 64) if TOPK == 1 else (60 * 64, 56 * 64)
if HYBRID_TARGET:
    mtp.SWA_LAYERS, mtp.FULL_LAYERS = [0, 1], [2]
else:
    mtp.SWA_LAYERS, mtp.FULL_LAYERS = [], [0, 1]
MULTI_STEP = {"triton": "TritonMultiStepDraftBackend",
              "fa3": "FlashAttentionMultiStepBackend",
              "flashinfer": "FlashInferMultiStepDraftBackend",
              "trtllm_mha": "TRTLLMHAAttnMultiStepDraftBackend"}
# What ModelRunner.forward and ForwardBatch.init_new ask for besides the pass itself.
NO_OTHER_PART = dict(
    forward_pass_id=0, enable_elastic_ep=False, msprobe_debugger=None, canary_manager=None,
    eplb_manager=None, lora_manager=None, decode_cuda_graph_runner=None, device_timer=None,
    ngram_embedding_manager=SimpleNamespace(enabled=False), hisparse_coordinator=None,
    tp_group=SimpleNamespace(barrier=lambda: None), layer_info=SimpleNamespace(start_layer=0),
    capture_tail_hooks=[])


def model_runner(fields, layers):
    """A ModelRunner of these fields and layers; what its model computes is nothing."""
    from sglang.srt.layers.logits_processor import LogitsProcessorOutput
    from sglang.srt.model_executor.forward_context import (ForwardContext, forward_context,
                                                           get_attn_backend, has_forward_context)
    from sglang.srt.model_executor.model_runner import ModelRunner

    class Runner(ModelRunner):
        def __init__(self) -> None:
            vars(self).update(fields, **NO_OTHER_PART)

        def _forward_raw(self, batch, *_args):
            graphs = self.decode_cuda_graph_runner
            if graphs and batch.forward_mode.is_cuda_graph() and graphs.can_run_graph(batch):
                return SimpleNamespace(logits_output=graphs.execute(batch), can_run_graph=True)
            context = nullcontext() if has_forward_context() else \
                forward_context(ForwardContext(attn_backend=self.attn_backend))
            with context:
                if batch.needs_forward_metadata_init():
                    get_attn_backend().init_forward_metadata(batch)
                return SimpleNamespace(can_run_graph=False, logits_output=self.model.forward(
                    batch.input_ids, batch.positions, batch))

    def forward(input_ids, _positions, batch):
        tokens = input_ids.shape[0]
        for layer in layers:
            layer(*mtp.Engine.qkv(tokens), batch)
        return LogitsProcessorOutput(
            next_token_logits=torch.arange(VOCAB, dtype=torch.float32).expand(tokens, -1) / 8,
            hidden_states=torch.zeros(tokens, HIDDEN, dtype=torch.bfloat16))

    runner = Runner()
    runner.model = SimpleNamespace(forward=forward, modules=lambda: [])
    return runner


class Asked(SimpleNamespace):
    """What it is asked for and was not given it has not."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return None


class Engine(mtp.Engine):
    """The scheduler's part, and that of EAGLEWorkerV2."""
    request_class = Asked

    def __init__(self, backend_class, recording) -> None:
        super().__init__(backend_class, recording, with_draft=False)
        self.target_runner = self.runner(self.kv, False, self.target_layers)
        self.target_runner.attn_backend = self.target
        layers = [self._layer(0, False)]
        if HYBRID_DRAFT:
            layers.append(self._layer(1, True))
        self.draft_runner = self.runner(self._draft_pool(), True, layers)
        self.worker = self._worker(backend_class)

    def _draft_pool(self):
        """Of its own, as large as the target's, whose slots are allocated for both."""
        from sglang.srt.mem_cache.memory_pool import MHATokenToKVPool
        from sglang.srt.mem_cache.swa_memory_pool import SWAKVPool

        shape = dict(dtype=torch.bfloat16, head_num=mtp.KV_HEADS, head_dim=mtp.HEAD_DIM,
                     device="cpu", enable_kv_cache_copy=TOPK > 1, page_size=PAGE)
        if not HYBRID_DRAFT:
            return MHATokenToKVPool(size=mtp.FULL_TOKENS, layer_num=1, enable_memory_saver=False,
                                    **shape)
        pool = SWAKVPool(size=mtp.FULL_TOKENS, size_swa=mtp.SWA_TOKENS,
                         swa_attention_layer_ids=[1], full_attention_layer_ids=[0], **shape)
        pool.register_mapping(self.allocator.full_to_swa_index_mapping)
        return pool

    def pools(self, shape):
        shape["enable_kv_cache_copy"] = TOPK > 1  # As a server's are, to move what was accepted.
        if HYBRID_TARGET:
            return super().pools(shape)
        from sglang.srt.mem_cache.allocator.paged import PagedTokenToKVPoolAllocator
        from sglang.srt.mem_cache.allocator.token import TokenToKVPoolAllocator
        from sglang.srt.mem_cache.chunk_cache import ChunkCache
        from sglang.srt.mem_cache.memory_pool import MHATokenToKVPool

        kv = MHATokenToKVPool(size=mtp.FULL_TOKENS, page_size=PAGE, enable_memory_saver=False,
                              layer_num=len(mtp.FULL_LAYERS), **shape)
        paged = () if PAGE == 1 else (PAGE,)
        of_pages = PagedTokenToKVPoolAllocator if paged else TokenToKVPoolAllocator
        allocator = of_pages(mtp.FULL_TOKENS, *paged, torch.bfloat16, "cpu", kv, need_sort=False)
        return kv, allocator, ChunkCache(SimpleNamespace(
            req_to_token_pool=self.rows, token_to_kv_pool_allocator=allocator, page_size=PAGE))

    def runner(self, pool, draft: bool, layers):
        return model_runner(vars(self._runner(pool, draft)), layers)

    def _runner(self, pool, draft: bool):
        from sglang.srt.speculative.spec_info import SpeculativeAlgorithm

        runner = super()._runner(pool, draft)
        if not (HYBRID_DRAFT if draft else HYBRID_TARGET):
            runner.sliding_window_size = None
        runner.server_args = Asked(enable_mamba_extra_buffer=lambda: False)  # 0.5.19 asks it.
        vars(runner.model_config).update(vocab_size=VOCAB, model_is_mrope=False,
                                         spec_hidden_size=HIDDEN)
        runner.model_config.hf_config.architectures = ["LlamaForCausalLMEagle"]
        vars(runner.ps).update(attn_dcp_size=1, attn_dp_size=1, pp_size=1, pp_rank=0)
        runner.spec_algorithm = SpeculativeAlgorithm.EAGLE
        return runner

    def _worker(self, backend_class):
        """What EagleDraftWorker.__init__ and init_attention_backend leave behind."""
        import sys

        from sglang.kernels.ops.speculative import cache_locs
        from sglang.srt.speculative import eagle_utils
        from sglang.srt.speculative.eagle_worker_v2 import EagleDraftWorker
        from sglang.srt.speculative.spec_info import SpeculativeAlgorithm

        cache_locs._is_cuda = True  # Its Triton kernels, which run here as well.
        eagle_utils.sgl_build_tree_kernel_efficient = eagle_utils.sgl_build_tree_kernel_triton
        multi_step = getattr(sys.modules[backend_class.__module__], MULTI_STEP[BACKEND])
        runner = self.draft_runner
        worker = EagleDraftWorker.__new__(EagleDraftWorker)
        vars(worker).update(
            server_args=None, device="cpu", topk=TOPK, speculative_num_steps=STEPS,
            speculative_num_draft_tokens=TOKENS, speculative_algorithm=SpeculativeAlgorithm.EAGLE,
            target_worker=SimpleNamespace(model_runner=self.target_runner),
            draft_runner=runner, req_to_token_pool=self.rows, hot_token_id=None,
            token_to_kv_pool_allocator=self.allocator, cuda_graph_runner=None,
            cuda_graph_runner_for_draft_extend=None, index_share_for_mtp_iteration=False,
            seed_dsa_topk_from_draft_extend=False, plan_stream=None,
            plan_stream_ctx=nullcontext(), dsa_seed_topk_width=None,
            tree_mask_mode=eagle_utils.default_tree_mask_mode(),
            draft_attn_backend=multi_step(runner, TOPK, STEPS),
            draft_extend_attn_backend=backend_class(runner))
        runner.attn_backend = worker.draft_extend_attn_backend
        runner.draft_attn_backend = worker.draft_attn_backend
        worker._rebuild_topk1_chain_buffers()
        if GRAPH:
            self._graphs(worker)
        return worker

    def _graphs(self, worker) -> None:
        """As EagleDraftWorker._capture_cuda_graphs and the target's ModelRunner have them."""
        from sglang.srt.model_executor.graph_shared_output import GraphSharedOutput
        from sglang.srt.model_executor.runner import decode_cuda_graph_runner

        shared = GraphSharedOutput(device="cpu", max_rows=3 * TOKENS)
        self.target_runner.graph_shared_output = self.draft_runner.graph_shared_output = shared
        decode_cuda_graph_runner.graph_capture = lambda stream: nullcontext(
            SimpleNamespace(stream=stream))
        self.target_runner.decode_cuda_graph_runner = \
            decode_cuda_graph_runner.DecodeCudaGraphRunner(self.target_runner)
        self._drafts_graphs(worker)

    def _drafts_graphs(self, worker) -> None:
        from sglang.srt.speculative.eagle_draft_cuda_graph_runner import EAGLEDraftCudaGraphRunner
        from sglang.srt.speculative.eagle_draft_extend_cuda_graph_runner import (
            EAGLEDraftExtendCudaGraphRunner)

        worker.cuda_graph_runner = EAGLEDraftCudaGraphRunner(worker)
        if BACKEND != "fa3":  # Whose draft extend a server captures not either.
            worker.cuda_graph_runner_for_draft_extend = EAGLEDraftExtendCudaGraphRunner(worker)

    # --- batches

    def scheduled(self, requests, mode, lens, **fields):
        from sglang.srt.managers.schedule_batch import ScheduleBatch

        batch = ScheduleBatch(
            reqs=requests, req_to_token_pool=self.rows, tree_cache=self.cache,
            token_to_kv_pool_allocator=self.allocator, forward_mode=mode, device="cpu",
            model_config=self.target_runner.model_config, enable_overlap=False,
            spec_algorithm=self.target_runner.spec_algorithm)
        batch.seq_lens_cpu = torch.tensor(lens)
        batch.seq_lens = batch.seq_lens_cpu.clone()
        batch.orig_seq_lens = batch.seq_lens_cpu.int()
        batch.seq_lens_sum = sum(lens)
        batch.req_pool_indices = torch.tensor([one.kv.req_pool_idx for one in requests])
        batch.sampling_info = SimpleNamespace(
            penalizer_orchestrator=SimpleNamespace(is_required=False), grammars=None)
        batch.has_grammar = False
        vars(batch).update(fields)
        return batch

    def allocate(self, requests, ends) -> None:
        if PAGE > 1:
            return super().allocate(requests, ends)
        for one, end in zip(requests, ends):
            begin, one.kv.kv_allocated_len = one.kv.kv_allocated_len, end
            self.rows.write((one.kv.req_pool_idx, slice(begin, end)),
                            self.allocator.alloc(end - begin).to(torch.int32))

    def extend(self, requests) -> None:
        """The prompts, by the target and then by the draft."""
        from sglang.srt.model_executor.forward_batch_info import ForwardBatch, ForwardMode

        begins = [one.kv.kv_allocated_len for one in requests]
        ends = [one.seqlen for one in requests]
        new = [end - begin for begin, end in zip(begins, ends)]
        self.step("extend", requests)
        self.allocate(requests, ends)
        batch = self.scheduled(
            requests, ForwardMode.EXTEND, ends, extend_lens=new, prefix_lens=begins,
            extend_num_tokens=sum(new), input_ids=torch.zeros(sum(new), dtype=torch.int64),
            out_cache_loc=self.slots(requests, begins, ends), extend_logprob_start_lens=[0] * 9)
        forward = ForwardBatch.init_new(batch, self.target_runner,
                                        return_hidden_states_before_norm=False)
        out = self.target_runner.forward(forward).logits_output
        self.worker._draft_extend_for_prefill(
            batch, out.hidden_states, torch.zeros(len(requests), dtype=torch.int64))
        for one in requests:
            one.kv.kv_committed_len = one.seqlen

    def decode(self) -> None:
        from sglang.srt.model_executor.forward_batch_info import ForwardMode
        from sglang.srt.speculative.eagle_utils import (eagle_prepare_for_decode,
                                                        eagle_prepare_for_verify)
        from sglang.srt.speculative.eagle_worker_common import _finalize_accept_tree_path

        requests = list(self.running)
        count = len(requests)
        self.step("decode", requests)
        batch = self.scheduled(requests, ForwardMode.DECODE, [one.seqlen for one in requests])
        batch.spec_info = self.seeded(count)
        eagle_prepare_for_decode(batch)
        batch.spec_info = verify = self.worker.draft(batch)
        forward, _ = eagle_prepare_for_verify(verify, self.rows, batch,
                                              self.worker.target_worker)
        out = self.target_runner.forward(forward).logits_output
        index, lens = self.accepted(verify, count)
        predict = torch.zeros(count * TOKENS, dtype=torch.int64)
        if TOPK > 1:
            predict = _finalize_accept_tree_path(
                batch, index, lens, predict, out, count,
                token_to_kv_pool_allocator=self.allocator, num_draft_tokens=TOKENS)
        for one, length in zip(requests, lens.tolist()):
            one.seqlen += length
            one.kv.kv_committed_len = one.seqlen
        result = SimpleNamespace(logits_output=out, accept_lens=lens, next_token_ids=predict,
                                 next_draft_input=self.seeded(count))
        self.worker._draft_extend_for_decode(batch, result)
        for one, length in zip(requests, lens.tolist()):
            if self.recording is not None:
                self.recording.accepted(one.rid, TOKENS - 1, length - 1, one.seqlen)

    @staticmethod
    def seeded(count: int):
        from sglang.srt.speculative.eagle_info import EagleDraftInput

        return EagleDraftInput(
            topk_p=torch.full((count, TOPK), 1 / TOPK),
            topk_index=torch.arange(TOPK).repeat(count, 1),
            hidden_states=torch.zeros(count, HIDDEN, dtype=torch.bfloat16),
            bonus_tokens=torch.zeros(count, dtype=torch.int64))

    def accepted(self, verify, count: int):
        """The tree's nodes that count, of each request: -1 behind them; and how many they are."""
        index = torch.full((count, STEPS + 1), -1, dtype=torch.int64)
        lens = []
        for lane in range(count):
            node, taken = 0, 0
            most = mtp.ACCEPTED[self.outcomes % len(mtp.ACCEPTED)]
            self.outcomes += 1
            while node >= 0 and taken <= most:
                index[lane, taken] = lane * TOKENS + node
                node, taken = int(verify.retrieve_next_token[lane, node]), taken + 1
            lens.append(taken)
        return index, torch.tensor(lens, dtype=torch.int32)

    def finish(self, rid: str) -> None:
        request = next(one for one in self.running if one.rid == rid)
        self.running.remove(request)
        self.cache.free_kv_row(request.kv, [(0, request.kv.kv_allocated_len)])
        self.rows.free(request)


def run(engine: Engine) -> None:
    engine.prefill([("A", 250), ("B", 112)])
    for _ in range(4):
        engine.decode()
    engine.finish("A")
    engine.prefill([("C", 100)])
    for _ in range(3):
        engine.decode()
    engine.finish("B")
    engine.finish("C")


# --- faults, planted from outside while the second draft's lists are made


def plant(engine: Engine, before, after) -> None:
    backend, calls = engine.worker.draft_attn_backend, [0]
    name = "init_forward_metadata_out_graph" if GRAPH else "init_forward_metadata"
    original = getattr(backend, name)

    def planned(batch):
        calls[0] += 1
        kept = before() if calls[0] == 2 else None
        original(batch)
        if calls[0] == 2:
            after(kept)

    setattr(backend, name, planned)


def plant_cells(engine: Engine, change) -> None:
    """In the first request's row."""
    rows = engine.rows.req_to_token

    def before():
        mine, other = (one.kv.req_pool_idx for one in engine.running[:2])
        kept = mine, rows[mine].clone()
        change(rows[mine], rows[other])
        return kept

    def after(kept):
        rows[kept[0]] = kept[1]

    plant(engine, before, after)


def plant_row(engine: Engine) -> None:
    """It names the second request's first page."""
    def change(mine, other):
        mine[:PAGE] = other[:PAGE]

    plant_cells(engine, change)


def plant_outside(engine: Engine) -> None:
    """Its second page lies far beyond the pool."""
    def change(mine, _other):
        mine[PAGE:2 * PAGE] = mtp.OUTSIDE * PAGE

    plant_cells(engine, change)


def plant_padding(engine: Engine) -> None:
    """A graph's padding lanes store where a request's first token is."""
    def before():
        return engine.slots(engine.running[:1], [0], [1])

    def after(slot):
        slots = engine.worker.cuda_graph_runner.buffers.out_cache_loc
        slots[len(engine.running) * TOPK * STEPS:] = slot

    plant(engine, before, after)


PLANTS = {"row": plant_row, "outside": plant_outside, "padding": plant_padding}


def graph_config() -> dict:
    """Of batches of so many requests: those of two have a padding lane."""
    if not GRAPH:
        return {}
    from sglang.srt.model_executor.cuda_graph_config import CudaGraphConfig

    return {"cuda_graph_config": CudaGraphConfig.from_dict({"decode": {"bs": [3], "max_bs": 3}})}


def main(engine_class=Engine, plants=None, algorithm: str = "EAGLE") -> None:
    import pagetape

    if GRAPH:
        sglang_graphs_on_cpu.install()
    cls, held = mtp.backend_class(
        speculative_algorithm=algorithm, speculative_eagle_topk=TOPK,
        max_running_requests=mtp.ROWS, **graph_config())
    if BACKEND == "flashinfer":
        standins.keep_on_cpu()
    standins.install_absent("fastapi", "uvicorn", "setproctitle")  # A server, which is imported.
    session = pagetape.active()
    if GRAPH:
        sglang_graphs_on_cpu.compare_where_they_are()
    engine = engine_class(cls, session.sglang if session else None)
    if os.environ.get("PAGETAPE_PLANT"):
        (plants or PLANTS)[os.environ["PAGETAPE_PLANT"]](engine)
    run(engine)
    del held


if __name__ == "__main__":
    main()
