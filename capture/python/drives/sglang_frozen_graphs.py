# SPDX-License-Identifier: Apache-2.0
"""Drives SGLang's frozen-KV draft as a server does, on a CPU: FrozenKVMTPDraftWorker with
TritonAttnBackend, a frontier of $PAGETAPE_TOPK drafts (1 where nothing is said), and verification.

Real and stood in for is what sglang_eagle.py says, of whose engine this is one. With
$PAGETAPE_GRAPH the target's DecodeCudaGraphRunner and the draft's FrozenKVMTPCudaGraphRunner
capture and launch graphs. $PAGETAPE_PLANT is `untranslated`: what the draft reads is looked up
while its own pool is bound, as in tests/engines/untranslated_server.py.
"""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import sglang_eagle as eagle
import sglang_frozen_kv_mtp as mtp
import torch

# The assistant's sliding layers read the target's last one of their kind.
mtp.ASSISTANT_TO_TARGET = {0: 1, 1: 1, 2: 1, 3: 2}


class Engine(eagle.Engine):
    def __init__(self, backend_class, recording) -> None:
        from sglang.srt.mem_cache.memory_pool import MHATokenToKVPool

        mtp.Engine.__init__(self, backend_class, recording, with_draft=False)
        self.target_runner = self.runner(self.kv, False, self.target_layers)
        self.target_runner.attn_backend = self.target
        self.assistant_layers = [self._layer(i, i < 3) for i in range(4)]
        self.context = self._bind_assistant()
        dummy = MHATokenToKVPool(
            size=mtp.PAGE, page_size=mtp.PAGE, layer_num=4, enable_memory_saver=False,
            dtype=torch.bfloat16, head_num=mtp.KV_HEADS, head_dim=mtp.HEAD_DIM, device="cpu")
        self.draft_runner = self.runner(dummy, True, [
            lambda q, _k, _v, batch, layer=layer: layer(q, None, None, batch, save_kv_cache=False)
            for layer in self.assistant_layers])
        self.draft_runner.model.backbone_hidden_size = eagle.HIDDEN
        self.worker = self._worker(backend_class)

    def _runner(self, pool, draft: bool):
        from sglang.srt.speculative.spec_info import SpeculativeAlgorithm

        runner = super()._runner(pool, draft)
        runner.sliding_window_size = mtp.WINDOW
        runner.spec_algorithm = SpeculativeAlgorithm.FROZEN_KV_MTP
        return runner

    def _worker(self, backend_class):
        """What FrozenKVMTPDraftWorker.__init__ and init_attention_backends leave behind."""
        from sglang.kernels.ops.speculative import cache_locs
        from sglang.srt.speculative import eagle_utils
        from sglang.srt.speculative.frozen_kv_mtp_worker_v2 import FrozenKVMTPDraftWorker

        cache_locs._is_cuda = True  # Its Triton kernels, which run here as well.
        eagle_utils.sgl_build_tree_kernel_efficient = eagle_utils.sgl_build_tree_kernel_triton
        worker = FrozenKVMTPDraftWorker.__new__(FrozenKVMTPDraftWorker)
        vars(worker).update(
            server_args=None, device="cpu", topk=eagle.TOPK, page_size=mtp.PAGE,
            speculative_num_steps=eagle.STEPS, speculative_num_draft_tokens=eagle.TOKENS,
            target_worker=SimpleNamespace(model_runner=self.target_runner),
            _model_runner=self.draft_runner, req_to_token_pool=self.rows,
            token_to_kv_pool_allocator=self.allocator, kv_context=self.context,
            cuda_graph_runner=None)
        self.draft_runner.attn_backend = backend_class(self.draft_runner)
        worker._resolve_draft_backend_type = lambda: eagle.BACKEND
        worker.draft_attn_backend = worker._init_draft_attn_backend()
        self.draft_runner.draft_attn_backend = worker.draft_attn_backend
        if eagle.GRAPH:
            self._graphs(worker)
        return worker

    def _drafts_graphs(self, worker) -> None:
        from sglang.srt.speculative.frozen_kv_mtp_cuda_graph_runner import (
            FrozenKVMTPCudaGraphRunner)

        worker.cuda_graph_runner = FrozenKVMTPCudaGraphRunner(worker)

    def seeded(self, count: int):
        return self.worker._build_seed_draft_input(
            torch.zeros(count, dtype=torch.int64),
            torch.zeros(count, eagle.HIDDEN, dtype=torch.bfloat16))


def plant_untranslated(engine: Engine) -> None:
    @contextlib.contextmanager
    def its_own_view(forward_batch):
        saved, forward_batch.spec_info = forward_batch.spec_info, None
        try:
            yield
        finally:
            forward_batch.spec_info = saved

    engine.worker._frozen_kv_target_view = its_own_view


if __name__ == "__main__":
    eagle.main(Engine, {"untranslated": plant_untranslated}, "FROZEN_KV_MTP")
