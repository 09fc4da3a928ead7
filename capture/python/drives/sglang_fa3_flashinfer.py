# SPDX-License-Identifier: Apache-2.0
"""The passes of FlashAttentionBackend (fa3) and FlashInferAttnBackend on a CPU, by the classes of
sglang_frozen_kv_mtp.py: prompts, a chunk of one, decode steps, verified drafts. $PAGETAPE_BACKEND
names one: fa3, where none is named, or flashinfer. Drafts are verified by the release's own
DFlashVerifyInput; $PAGETAPE_VERIFY=eagle takes EagleVerifyInput.

fa3: the kernel's function is SGLang's; what it calls of `sgl_kernel` is a stand-in. FlashInfer's
wrappers are stand-ins that keep the lists that they are planned with. A chunk is read as the
release does where nothing is set; $SGLANG_FLASHINFER_USE_PAGED=1 is its switch to lists alone.

With $PAGETAPE_DRAFT it is the other drive's frozen-KV draft, by the same backend, which the
release's worker takes of triton and trtllm_mha alone: fa3 looks at the draft's own pool there.
$PAGETAPE_PLANT is `row` or `outside`, with a draft `stale`: it believes to have no SWA pool.
"""

from __future__ import annotations

import os

os.environ["PAGETAPE_BACKEND"] = os.environ.get("PAGETAPE_BACKEND") or "fa3"

import sglang_frozen_kv_mtp as mtp  # noqa: E402
import standins  # noqa: E402
import torch  # noqa: E402


DRAFT = bool(os.environ.get("PAGETAPE_DRAFT"))


class Target(mtp.Engine):
    def __init__(self, backend_class, recording) -> None:
        super().__init__(backend_class, recording, with_draft=DRAFT)

    @staticmethod
    def verify_input(batch):
        if os.environ.get("PAGETAPE_VERIFY") == "eagle":
            from sglang.srt.speculative.eagle_info import EagleVerifyInput

            return EagleVerifyInput.create_idle_input(1, mtp.DRAFT_STEPS, mtp.DRAFT_TOKENS, "cpu")
        from sglang.srt.speculative.dflash_info import DFlashVerifyInput

        tokens = torch.zeros(int(batch.batch_size) * mtp.DRAFT_TOKENS, dtype=torch.int64)
        return DFlashVerifyInput(draft_token=tokens, positions=tokens,
                                 draft_token_num=mtp.DRAFT_TOKENS)

    def chunk(self, rid: str, tokens: int) -> None:
        """The next chunk of a prompt: what came before is its prefix."""
        [request] = [one for one in self.running if one.rid == rid]
        request.seqlen += tokens
        self.evict([request])
        self.extend([request])

    def one_token(self) -> None:
        from sglang.srt.model_executor.forward_batch_info import ForwardMode

        requests = list(self.running)
        self.step("decode", requests)
        self.evict(requests)
        begins = [one.seqlen for one in requests]
        for one in requests:
            one.seqlen += 1
        ends = [one.seqlen for one in requests]
        self.allocate(requests, ends)
        batch = self.batch(requests, ForwardMode.DECODE, ends, len(requests),
                           self.slots(requests, begins, ends))
        self.target.init_forward_metadata(batch)
        for layer in self.target_layers:
            q, k, v = self.qkv(len(requests))
            self.target.forward_decode(q, k, v, layer, batch)


def run(engine: Target) -> None:
    engine.prefill([("A", 250), ("B", 112)])
    engine.decode()
    for _ in range(3):
        engine.one_token()
    engine.chunk("B", 70)
    for _ in range(4):
        engine.decode()
    engine.finish("A")
    engine.prefill([("C", 100)])
    for _ in range(3):
        engine.one_token()
    for _ in range(2):
        engine.decode()
    engine.finish("B")
    engine.finish("C")


def plant_stale(engine: Target) -> None:
    mtp.plant_stale(engine)
    for updater in (engine.draft.indices_updater_decode, engine.draft.indices_updater_prefill):
        updater._swa_kv_pool = None


def plant_outside(engine: Target) -> None:
    def put(data) -> None:
        if hasattr(data, "page_table"):
            return mtp.put_outside(data)
        data.prefill_wrappers[1]._paged_kv_indices_buf[1] = mtp.OUTSIDE

    mtp.plant_outside(engine, put)


PLANTS = {"stale": plant_stale, "row": mtp.plant_row, "outside": plant_outside}


def main() -> None:
    import pagetape

    cls, held = mtp.backend_class()
    if os.environ["PAGETAPE_BACKEND"] == "flashinfer":
        standins.keep_on_cpu()
    session = pagetape.active()
    engine = Target(cls, session.sglang if session else None)
    if os.environ.get("PAGETAPE_PLANT"):
        PLANTS[os.environ["PAGETAPE_PLANT"]](engine)
    (mtp.run if DRAFT else run)(engine)
    del held


if __name__ == "__main__":
    main()
